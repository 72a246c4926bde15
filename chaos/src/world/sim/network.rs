//! A simulated network: every message takes its own time, and cut lines lose it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use quorumfence_drivers::lab::Laboratory;
use quorumfence_machine::{ControllerId, Doubt, Holder, HostId, InstanceId, Outcome};
use quorumfence_node::agent::{AgentMessage, ControllerMessage};
use quorumfence_node::controller::Controller;
use quorumfence_node::environment::{Link, LinkError};
use quorumfence_raft::{CallError, HandleError, Lane, Peer, Replica, Request, Response, Transport};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::environment::SimEnvironment;
use super::runtime::{Node, in_the_world};

/// Somebody who sends and receives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A controller.
    Controller(ControllerId),
    /// A host.
    Host(HostId),
}

/// A controller as the network reaches it.
#[derive(Clone)]
pub(super) struct Station {
    pub(super) node: Arc<Node>,
    pub(super) replica: Replica<SimEnvironment>,
    pub(super) controller: Option<Controller<SimEnvironment>>,
}

/// What everything in one simulation shares.
pub struct Ether {
    pub(super) laboratory: Laboratory,
    opened: Instant,
    /// Draws delays: the network's own chance.
    chance: Arc<Node>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    stations: BTreeMap<ControllerId, Station>,
    cut: BTreeSet<Place>,
    trace: Vec<String>,
}

impl Ether {
    pub(super) fn new(laboratory: Laboratory, seed: u64) -> Arc<Self> {
        Arc::new(Self { laboratory, opened: Instant::now(), chance: Node::new(seed), inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn install(&self, id: ControllerId, station: Station) {
        self.lock().stations.insert(id, station);
    }

    pub(super) fn station(&self, id: ControllerId) -> Option<Station> {
        self.lock().stations.get(&id).cloned()
    }

    pub(super) fn remove(&self, id: ControllerId) -> Option<Station> {
        self.lock().stations.remove(&id)
    }

    /// Cuts everything from and to a place.
    pub fn cut(&self, place: Place) {
        self.note(format_args!("cut {place:?}"));
        self.lock().cut.insert(place);
    }

    /// Writes a line into the trace, with the simulated time.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        let at = self.opened.elapsed().as_millis();
        self.lock().trace.push(format!("{at} {line}"));
    }

    /// Returns everything that was noted so far.
    pub fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    /// A host without power is as good as cut off.
    fn is_cut(&self, place: &Place) -> bool {
        let dark = match place {
            Place::Host(host) => !self.laboratory.is_on(host),
            Place::Controller(id) => !self.lock().stations.contains_key(id),
        };
        dark || self.lock().cut.contains(place)
    }

    /// Takes one message from a place to another; returns whether it arrived.
    async fn carry(&self, from: &Place, to: &Place, what: &str) -> bool {
        let delay = 1 + self.chance.draw() % 3;
        if self.is_cut(from) {
            return false;
        }
        sleep(Duration::from_millis(delay)).await;
        let arrived = !self.is_cut(to);
        self.note(format_args!("{from:?} -> {to:?} {what} {}", if arrived { "arrived" } else { "lost" }));
        arrived
    }
}

impl fmt::Debug for Ether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ether").finish_non_exhaustive()
    }
}

/// Calls replicas over the simulated network. What is under way arrives even when its sender dies meanwhile.
#[derive(Debug, Clone)]
pub struct SimTransport {
    pub(super) ether: Arc<Ether>,
    pub(super) me: ControllerId,
}

impl Transport for SimTransport {
    async fn call(&self, peer: &Peer, lane: Lane, request: Request, deadline: Duration) -> Result<Response, CallError> {
        let (me, to) = (Place::Controller(self.me), Place::Controller(peer.id));
        let (ether, from, peer) = (Arc::clone(&self.ether), self.me, peer.id);
        let (reply, replied) = oneshot::channel();
        in_the_world(async move {
            if !ether.carry(&me, &to, &format!("{lane:?} {}", name(&request))).await {
                return;
            }
            let Some(station) = ether.station(peer) else { return };
            let handling = station.node.spawn(async move { station.replica.handle(from, request).await });
            let Ok(handled) = handling.await else { return };
            if ether.carry(&to, &me, "reply").await {
                // The caller may have given up; then nobody wants the answer.
                drop(reply.send(handled));
            }
        });
        match timeout(deadline, replied).await {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(error))) => Err(refusal(&error)),
            Ok(Err(_)) => {
                sleep(deadline).await;
                Err(CallError::TimedOut)
            }
            Err(_) => Err(CallError::TimedOut),
        }
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::AppendEntries(_) => "append",
        Request::Vote(_) => "vote",
        Request::PreVote(_) => "pre-vote",
        Request::InstallSnapshot(_) => "snapshot",
        Request::TransferLeader(_) => "transfer",
        Request::Propose(_) => "propose",
        Request::ReadIndex(_) => "read-index",
    }
}

fn refusal(error: &HandleError) -> CallError {
    match error {
        HandleError::Impostor { .. } | HandleError::NotAMember(_) | HandleError::Malformed(_) => {
            CallError::Refused(error.to_string())
        }
        HandleError::Unknown(why) => CallError::Broken(why.clone()),
        HandleError::Stopped => CallError::Broken(error.to_string()),
    }
}

/// Reaches controllers from one host.
#[derive(Debug, Clone)]
pub struct SimLink {
    pub(super) ether: Arc<Ether>,
    pub(super) host: HostId,
}

impl Link for SimLink {
    async fn attend(
        &self,
        controller: &Peer,
        mut outbound: mpsc::Receiver<AgentMessage>,
        inbound: mpsc::Sender<ControllerMessage>,
    ) -> Result<(), LinkError> {
        let (here, there) = (Place::Host(self.host.clone()), Place::Controller(controller.id));
        if !self.ether.carry(&here, &there, "connect").await {
            return Err(LinkError("no route".into()));
        }
        let station = self.ether.station(controller.id).filter(|station| station.controller.is_some());
        let Some(Station { node, controller: Some(attended), .. }) = station else {
            return Err(LinkError("connection refused".into()));
        };
        let (to_controller, heard) = mpsc::channel(64);
        let (ended, end) = oneshot::channel::<()>();
        let (ether, host) = (Arc::clone(&self.ether), self.host.clone());
        let (back_here, back_there) = (here.clone(), there.clone());
        node.spawn(async move {
            let mut answers = Box::pin(attended.attend(host, ReceiverStream::new(heard)));
            while let Some(message) = answers.next().await {
                let arrived = ether.carry(&back_there, &back_here, "to agent").await;
                if arrived && inbound.send(message).await.is_err() {
                    break;
                }
            }
            drop(ended);
        });
        let ether = Arc::clone(&self.ether);
        // The world holds the sending end: a host that loses its power closes no connection.
        let pump = in_the_world(async move {
            while let Some(message) = outbound.recv().await {
                let arrived = ether.carry(&here, &there, "from agent").await;
                if arrived && to_controller.send(message).await.is_err() {
                    return;
                }
            }
            if ether.is_cut(&here) {
                sleep(Duration::from_secs(3600)).await;
            }
        });
        drop(end.await);
        pump.abort();
        Err(LinkError("the controller ended the connection".into()))
    }

    async fn holder(&self, controller: &Peer, instance: InstanceId, deadline: Duration) -> Outcome<Option<Holder>> {
        let (here, there) = (Place::Host(self.host.clone()), Place::Controller(controller.id));
        let asked = async {
            if !self.ether.carry(&here, &there, "holder").await {
                return None;
            }
            let station = self.ether.station(controller.id)?;
            let attended = station.controller?;
            let held = station.node.spawn(async move { attended.holder(instance).await }).await.ok()?;
            self.ether.carry(&there, &here, "held").await.then_some(held)
        };
        match timeout(deadline, asked).await {
            Ok(Some(Ok(holder))) => Outcome::Observed(holder),
            Ok(Some(Err(_)) | None) => Outcome::Unknown(Doubt::Unreachable),
            Err(_) => Outcome::Unknown(Doubt::Timeout),
        }
    }
}

/// Waits until something holds, looking every simulated 20 ms; returns whether it did within `deadline`.
pub(super) async fn wait_until<F>(deadline: Duration, mut holds: impl FnMut() -> F) -> bool
where
    F: Future<Output = bool>,
{
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        if holds().await {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}
