//! Lines between agents and controllers over the simulated network.
//!
//! ```text
//!  agent ─outbound─▶ rise ──deliver──▶ heard ─▶ Controller::attend     two tasks of the world, one a direction;
//!  agent ◀─inbound── fall ◀──deliver── said  ◀──────────┘              what the controller does runs on its node
//! ```
//!
//! A stream keeps its order: a message that is lost is sent again, and those behind it wait.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use quorumfence_machine::{BootId, Doubt, Holding, HostId, InstanceId, Outcome};
use quorumfence_node::agent::{AgentMessage, ControllerMessage};
use quorumfence_node::environment::{Link, LinkError};
use quorumfence_raft::Peer;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;

use super::super::runtime::{Node, in_the_world};
use super::{Arrives, Errand, Ether, Place, Station};

/// Messages that wait on a line, in each direction.
const LINE_MAX: usize = 64;

/// After this long a message that did not arrive is sent again.
const RESEND: Duration = Duration::from_millis(200);

/// A stream whose oldest message did not arrive for this long carries no more.
const BROKEN_AFTER: Duration = Duration::from_secs(15);

/// How long one end believes in a stream whose other end is gone without a word.
const HALF_OPEN: Duration = Duration::from_secs(3600);

/// Reaches controllers from one host.
#[derive(Debug, Clone)]
pub struct SimLink {
    pub(in crate::world::sim) ether: Arc<Ether>,
    pub(in crate::world::sim) host: HostId,
}

impl Link for SimLink {
    async fn attend(
        &self,
        controller: &Peer,
        outbound: mpsc::Receiver<AgentMessage>,
        inbound: mpsc::Sender<ControllerMessage>,
    ) -> Result<(), LinkError> {
        let (here, there) = (Place::Host(self.host.clone()), Place::Controller(controller.id));
        let boot = self.ether.laboratory.boot(&self.host);
        if !self.ether.carry(&here, &there, "connect").await {
            return Err(LinkError("no route".into()));
        }
        let station = self.ether.station(controller.id).filter(|station| station.controller.is_some());
        let Some(Station { node, controller: Some(attended), .. }) = station else {
            return Err(LinkError("connection refused".into()));
        };
        let (to_controller, heard) = mpsc::channel(LINE_MAX);
        let (to_agent, said) = mpsc::channel(LINE_MAX);
        let host = self.host.clone();
        node.spawn(async move {
            let mut answers = Box::pin(attended.attend(host, ReceiverStream::new(heard)));
            while let Some(message) = answers.next().await {
                if to_agent.send(message).await.is_err() {
                    return;
                }
            }
        });
        let ether = Arc::clone(&self.ether);
        let stream =
            Arc::new(Stream { ether, host: self.host.clone(), boot, here, there, node, closed: Notify::new() });
        in_the_world(Arc::clone(&stream).rise(outbound, to_controller));
        in_the_world(Arc::clone(&stream).fall(said, inbound));
        stream.closed.notified().await;
        Err(LinkError("the controller ended the connection".into()))
    }

    async fn holder(&self, controller: &Peer, instance: InstanceId, deadline: Duration) -> Outcome<Holding> {
        let to = controller.id;
        let errand = Errand {
            from: Place::Host(self.host.clone()),
            to: Place::Controller(to),
            what: "holder".into(),
            arrives: Arrives::PerhapsTwice,
        };
        let serve = || {
            let ether = Arc::clone(&self.ether);
            async move {
                let station = ether.station(to)?;
                let attended = station.controller?;
                station.node.spawn(async move { attended.holder(instance).await }).await.ok()
            }
        };
        match self.ether.ask(errand, deadline, serve).await {
            Some(Ok(holder)) => Outcome::Observed(holder),
            Some(Err(_)) => Outcome::Unknown(Doubt::Unreachable),
            None => Outcome::Unknown(Doubt::Timeout),
        }
    }
}

/// One connection between an agent and a controller.
struct Stream {
    ether: Arc<Ether>,
    host: HostId,
    /// The boot of the host in which the agent opened it.
    boot: Option<BootId>,
    here: Place,
    there: Place,
    /// The controller's process.
    node: Arc<Node>,
    /// The agent's end heard that the stream ended.
    closed: Notify,
}

/// Which way a message of a stream goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    ToController,
    ToAgent,
}

impl Stream {
    /// Carries what the agent says, until it or the controller is gone.
    async fn rise(self: Arc<Self>, mut outbound: mpsc::Receiver<AgentMessage>, heard: mpsc::Sender<AgentMessage>) {
        let mut is_whole = true;
        while let Some(message) = outbound.recv().await {
            is_whole = self.deliver(Way::ToController, "from agent").await;
            if !is_whole {
                break;
            }
            if heard.send(message).await.is_err() {
                // Nobody listens there any more: whoever runs there says so.
                if self.ether.carry(&self.there, &self.here, "reset").await {
                    self.closed.notify_one();
                }
                return;
            }
        }
        let is_told = is_whole && self.deliver(Way::ToController, "close").await;
        if !is_told {
            drop(outbound);
            // A host that loses its power, or its line, closes no connection.
            sleep(HALF_OPEN).await;
        }
    }

    /// Carries what the controller says, until it or the agent is gone.
    async fn fall(
        self: Arc<Self>,
        mut said: mpsc::Receiver<ControllerMessage>,
        inbound: mpsc::Sender<ControllerMessage>,
    ) {
        while let Some(message) = said.recv().await {
            if !self.deliver(Way::ToAgent, "to agent").await || inbound.send(message).await.is_err() {
                return;
            }
        }
        if self.deliver(Way::ToAgent, "close").await {
            self.closed.notify_one();
        }
    }

    /// Takes one message to the other end, as often as it needs; returns false once the stream is broken.
    async fn deliver(&self, way: Way, what: &str) -> bool {
        let (from, to) = match way {
            Way::ToController => (&self.here, &self.there),
            Way::ToAgent => (&self.there, &self.here),
        };
        let end = Instant::now() + BROKEN_AFTER;
        while Instant::now() < end && self.has_sender(way) {
            if self.ether.carry(from, to, what).await {
                return true;
            }
            sleep(RESEND).await;
        }
        false
    }

    /// Returns whether the sender of this way is the one that opened the stream. Whoever came after it, in a new boot or
    /// a new process, knows nothing of the stream.
    fn has_sender(&self, way: Way) -> bool {
        match way {
            Way::ToController => self.ether.laboratory.boot(&self.host) == self.boot,
            Way::ToAgent => !self.node.is_dead(),
        }
    }
}
