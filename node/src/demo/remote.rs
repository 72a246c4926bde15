//! What the controllers tell of a run while it happens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorumfence_machine::{ControllerId, Event, EventRecord, LogIndex, WallMillis};
use quorumfence_proto::pb;
use quorumfence_proto::pb::cluster_client::ClusterClient;
use quorumfence_proto::pb::timing_client::TimingClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use crate::api::grpc::timing::from_wire;
use crate::cli::client::{Client, understood};
use crate::cli::{Exit, Failure};
use crate::cluster::identity::Peer;
use crate::cluster::operator::Context;
use crate::controller::{Kind, Moment};
use crate::wiring::dial::connect;

/// Longest call of the demo's own.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a connection on the same machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(20);

/// Before a controller that does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// The controllers, and every moment that they told.
#[derive(Debug)]
pub(super) struct Remote {
    context: Context,
    client: Client,
    channels: BTreeMap<ControllerId, Channel>,
    told: Arc<Mutex<Told>>,
    followers: JoinSet<()>,
}

type Told = BTreeMap<(ControllerId, u64), Moment>;

/// One committed entry that is about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    /// The entry.
    pub(super) at: LogIndex,
    /// When the first controller applied it.
    pub(super) wall: WallMillis,
    /// What changed.
    pub(super) event: Event,
}

impl Remote {
    /// Reads the operator's context and begins to listen to every controller in it.
    pub(super) fn open(context: &Path) -> Result<Self, Failure> {
        let loaded = Context::load(context).map_err(|error| Failure::of(Exit::Failed, &error))?;
        let client = Client::new(loaded.clone(), context.into(), CALL_LIMIT);
        let told = Arc::default();
        let mut followers = JoinSet::new();
        for id in loaded.controllers.keys() {
            followers.spawn(follow(loaded.clone(), *id, Arc::clone(&told)));
        }
        Ok(Self { context: loaded, client, channels: BTreeMap::new(), told, followers })
    }

    /// Returns how many controllers are listened to.
    pub(super) fn controllers(&self) -> usize {
        self.followers.len()
    }

    /// Asks whichever controller answers for the state of the cluster.
    pub(super) async fn status(&mut self) -> Result<pb::StatusReply, Failure> {
        let request = pb::ReadRequest { local: false };
        self.client.read(request, |mut client, request| async move { client.status(request).await }).await
    }

    /// Returns the hosts with what the leader knows of them.
    pub(super) async fn hosts(&mut self) -> Result<Vec<pb::HostReport>, Failure> {
        let request = pb::ReadRequest { local: false };
        let reply = self.client.read(request, |mut client, request| async move { client.host_list(request).await });
        Ok(reply.await?.hosts)
    }

    /// Asks each controller for its own state, without a quorum. Those that do not answer are left out.
    pub(super) async fn own_states(&mut self) -> Vec<pb::StatusReply> {
        let ids: Vec<ControllerId> = self.context.controllers.keys().copied().collect();
        let mut replies = Vec::new();
        for id in ids {
            let asked = timeout(CONNECT_LIMIT, self.own_state(id)).await;
            match asked {
                Ok(Ok(reply)) => replies.push(reply),
                Ok(Err(_)) | Err(_) => {
                    self.channels.remove(&id);
                }
            }
        }
        replies
    }

    /// Returns the controller that leads, as most of them see it.
    pub(super) async fn leader(&mut self) -> Result<ControllerId, Failure> {
        let leader = self.status().await?.leader.map(|leader| ControllerId(leader.id));
        leader.ok_or_else(|| Failure::new(Exit::Failed, "the cluster has no leader, so the lesson cannot begin"))
    }

    /// Returns every moment since `from`, by wall clock.
    pub(super) fn moments(&self, from: WallMillis) -> Vec<(ControllerId, Moment)> {
        let told = lock(&self.told);
        let recent = told.iter().filter(|(_, moment)| moment.wall >= from);
        let mut moments: Vec<_> = recent.map(|((id, _), moment)| (*id, moment.clone())).collect();
        moments.sort_by_key(|(id, moment)| (moment.wall, *id, moment.sequence));
        moments
    }

    /// Returns the entries about hosts that were committed since `from`, each event once, in the order of the log.
    pub(super) fn committed(&self, from: WallMillis) -> Vec<Committed> {
        let mut entries: Vec<Committed> = Vec::new();
        for (_, moment) in self.moments(from) {
            let Kind::Committed { at, event } = moment.kind else { continue };
            if !entries.iter().any(|known| known.at == at && known.event == event) {
                entries.push(Committed { at, wall: moment.wall, event });
            }
        }
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// Returns the events from number `first` on that one controller has applied.
    pub(super) async fn events(&mut self, id: ControllerId, first: u64) -> Result<Vec<EventRecord>, Failure> {
        let asked = timeout(CALL_LIMIT, self.own_events(id, first)).await;
        let late = |_| Failure::new(Exit::TimedOut, format!("{id} did not list its events in time"));
        let rows = asked.map_err(late).and_then(|answer| answer.map_err(Failure::from));
        if rows.is_err() {
            self.channels.remove(&id);
        }
        rows?.into_iter().map(understood).collect()
    }

    async fn own_events(&mut self, id: ControllerId, first: u64) -> Result<Vec<pb::EventRecord>, Status> {
        let channel = self.channel(id).await?;
        let request = pb::EventListRequest { from: first, follow: false };
        let mut rows = ClusterClient::new(channel).event_list(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(row) = rows.message().await? {
            events.push(row);
        }
        Ok(events)
    }

    async fn own_state(&mut self, id: ControllerId) -> Result<pb::StatusReply, Status> {
        let channel = self.channel(id).await?;
        let reply = ClusterClient::new(channel).status(pb::ReadRequest { local: true }).await?;
        Ok(reply.into_inner())
    }

    async fn channel(&mut self, id: ControllerId) -> Result<Channel, Status> {
        if let Some(channel) = self.channels.get(&id) {
            return Ok(channel.clone());
        }
        let channel = dial(&self.context, id).await?;
        self.channels.insert(id, channel.clone());
        Ok(channel)
    }
}

/// Waits until `holds`, and says what did not happen when it does not.
pub(super) async fn until(
    what: &str,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let began = Instant::now();
    while !holds().await? {
        if began.elapsed() > patience {
            let message = format!("{what} did not happen within {} s, so the demo ends here", patience.as_secs());
            return Err(Failure::new(Exit::TimedOut, message));
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Listens to one controller until dropped; one that does not answer may come back.
async fn follow(context: Context, id: ControllerId, told: Arc<Mutex<Told>>) {
    loop {
        if let Err(status) = listen(&context, id, &told).await {
            tracing::debug!(controller = %id, reason = status.message(), "a controller tells no moments");
        }
        sleep(AGAIN).await;
    }
}

async fn listen(context: &Context, id: ControllerId, told: &Mutex<Told>) -> Result<(), Status> {
    let channel = dial(context, id).await?;
    let from = lock(told).range((id, 0)..=(id, u64::MAX)).next_back().map_or(0, |((_, newest), _)| newest + 1);
    let request = pb::MomentListRequest { from, follow: true };
    let mut moments = TimingClient::new(channel).moment_list(request).await?.into_inner();
    while let Some(moment) = moments.message().await? {
        let moment = from_wire(moment)?;
        lock(told).insert((id, moment.sequence), moment);
    }
    Ok(())
}

async fn dial(context: &Context, id: ControllerId) -> Result<Channel, Status> {
    let address = context.controllers.get(&id).ok_or_else(|| Status::not_found("this controller is not known"))?;
    connect(address, context.identity.client_tls(&Peer::Controller(id)), CONNECT_LIMIT).await
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().expect("nobody panics while holding the moments")
}
