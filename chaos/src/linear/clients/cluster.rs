//! The way to each controller by itself: the command line asks whichever answers, and a judge wants to know who did.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use quorumfence_machine::ControllerId;
use quorumfence_node::cluster::identity::Peer;
use quorumfence_node::cluster::operator::{self, Context};
use quorumfence_node::wiring::dial::connect;
use quorumfence_proto::pb::cluster_client::ClusterClient;
use quorumfence_proto::status::{self, Detail};
use quorumfence_proto::{CONTROL_MESSAGE_BYTES_MAX, pb};
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Status};

/// A cluster as an operator reaches it, controller by controller.
#[derive(Debug, Clone)]
pub struct Cluster {
    context: Context,
    channels: BTreeMap<ControllerId, Channel>,
}

/// Why a cluster cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator context is of no use.
    #[error(transparent)]
    Context(#[from] operator::Error),
    /// The address belongs to no controller that the context knows.
    #[error("{address} is no controller of cluster {cluster}; its operator context knows {known}")]
    Stranger {
        /// The address.
        address: String,
        /// The cluster.
        cluster: String,
        /// The controllers that are known.
        known: String,
    },
    /// The controller did not tell who belongs to the cluster.
    #[error("{address} does not answer: {why}")]
    Silent {
        /// The address.
        address: String,
        /// What it said.
        why: String,
    },
}

/// What a status that is no answer means.
pub(super) enum Meaning {
    Refused(quorumfence_machine::Rejected),
    Nothing(String),
    Unknown(String),
}

impl Cluster {
    /// Opens the cluster of an operator context. Connects with the first call.
    ///
    /// # Errors
    /// When the context cannot be read.
    pub fn open(context: &Path) -> Result<Self, Error> {
        Ok(Self { context: Context::load(context)?, channels: BTreeMap::new() })
    }

    /// Opens the cluster of an operator context through one of its controllers, which tells who the others are.
    ///
    /// # Errors
    /// When the address is none of its controllers', or when it does not answer.
    pub async fn open_through(context: &Path, address: &str) -> Result<Self, Error> {
        let mut cluster = Self::open(context)?;
        let known = &cluster.context.controllers;
        let Some(id) = known.iter().find(|(_, known)| *known == address).map(|(id, _)| *id) else {
            let known: Vec<&str> = known.values().map(String::as_str).collect();
            let (cluster, known) = (cluster.context.cluster_name.clone(), known.join(", "));
            return Err(Error::Stranger { address: address.into(), cluster, known });
        };
        let silent = |status: Status| Error::Silent { address: address.into(), why: told(&status) };
        cluster.follow(id, Duration::from_secs(10)).await.map_err(silent)?;
        Ok(cluster)
    }

    /// Learns from a controller who belongs to the cluster, and forgets everybody else.
    ///
    /// # Errors
    /// The controller does not answer, or has no quorum behind it. Then nothing is learned.
    pub(super) async fn follow(&mut self, id: ControllerId, limit: Duration) -> Result<(), Status> {
        let asked = async {
            let mut client = self.client(id, limit).await?;
            client.status(pb::ReadRequest { local: false }).await
        };
        let Ok(answered) = tokio::time::timeout(limit, asked).await else {
            return Err(Status::deadline_exceeded("no answer in time"));
        };
        let belongs = |member: &pb::Member| member.role() != pb::MemberRole::Outside;
        let peers = answered?.into_inner().members.into_iter().filter(belongs).filter_map(|member| member.peer);
        self.context.controllers = peers.map(|peer| (ControllerId(peer.id), peer.address)).collect();
        self.channels.retain(|id, _| self.context.controllers.contains_key(id));
        Ok(())
    }

    /// Returns what operators call the cluster.
    pub fn name(&self) -> &str {
        &self.context.cluster_name
    }

    /// Returns the controllers.
    pub fn controllers(&self) -> Vec<ControllerId> {
        self.context.controllers.keys().copied().collect()
    }

    pub(super) fn address(&self, id: ControllerId) -> String {
        self.context.controllers.get(&id).cloned().unwrap_or_default()
    }

    pub(super) async fn client(&mut self, id: ControllerId, limit: Duration) -> Result<ClusterClient<Channel>, Status> {
        let channel = match self.channels.get(&id) {
            Some(channel) => channel.clone(),
            None => {
                let tls = self.context.identity.client_tls(&Peer::Controller(id));
                let channel = connect(&self.address(id), tls, limit).await?;
                self.channels.insert(id, channel.clone());
                channel
            }
        };
        Ok(ClusterClient::new(channel).max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX))
    }
}

/// Tells what a status means. Only what certainly was not done is nothing: a connection that broke may have carried
/// the request.
pub(super) fn meaning(status: &Status) -> Meaning {
    match status::detail(status) {
        Some(Detail::Rejected(rejected)) => return Meaning::Refused(rejected),
        Some(Detail::NotLeader { .. }) => return Meaning::Nothing(told(status)),
        None => {}
    }
    // A controller's own word that it is unavailable comes without a cause: it did nothing.
    let own_word = status.code() == Code::Unavailable && status.source().is_none();
    if own_word || never_connected(status) { Meaning::Nothing(told(status)) } else { Meaning::Unknown(told(status)) }
}

fn never_connected(status: &Status) -> bool {
    std::iter::successors(status.source(), |&cause| cause.source()).any(|cause| cause.is::<ConnectError>())
}

fn told(status: &Status) -> String {
    let deepest = std::iter::successors(status.source(), |&cause| cause.source()).last();
    let words = deepest.map_or_else(|| status.message().to_string(), |cause| format!("{} ({cause})", status.message()));
    format!("{:?}: {words}", status.code())
}
