//! One question to one controller, and what was heard.

use std::time::Duration;

use quorumfence_machine::{ControllerId, EventRecord, Rejected};
use quorumfence_node::cluster::authority::Fingerprint;
use quorumfence_node::cluster::pin::fetch_authority;
use quorumfence_node::wiring::dial::connect;
use quorumfence_proto::pb;
use quorumfence_proto::pb::cluster_client::ClusterClient;
use quorumfence_proto::pb::join_client::JoinClient;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use super::super::history::Answer;
use super::super::once::GIFT;
use super::cluster::{Cluster, Meaning, meaning};
use super::name;

/// What can be asked. A change carries its request id, so that it can be asked again.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Arm(pb::Mutation),
    Disarm(pb::Mutation),
    Settings(Box<pb::SettingsSetRequest>),
    Maintenance(pb::HostMaintenanceRequest),
    Segment(pb::SegmentCreateRequest),
    Token(pb::TokenCreateRequest),
    Join {
        request: Box<pb::JoinRequest>,
        authority: Fingerprint,
    },
    ReadArmed {
        local: bool,
    },
    ReadSettings,
    ReadMaintenance(String),
    ReadSegment(String),
    /// The events from this number on.
    Events {
        from: u64,
    },
    /// This value, when the log tells of these words in the events from this number on.
    ReadEvent {
        words: String,
        value: String,
        from: u64,
    },
    /// Only how far the controller is.
    ReadIndex {
        local: bool,
    },
}

/// What was heard from one controller.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    Told(Told),
    /// It certainly was not done.
    Nothing(String),
    Unknown(String),
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) answer: Answer,
    /// What a request that is sent again must be answered with; nothing for reads.
    pub(super) reply: Option<String>,
    pub(super) index: Option<u64>,
    /// The secret of a join token and the authority that signs for it.
    pub(super) secret: Option<(pb::TokenCreateReply, Fingerprint)>,
    /// The number of the first event, and what the events say.
    pub(super) first: Option<u64>,
    pub(super) effects: Vec<String>,
}

impl Told {
    fn value(value: Option<String>, index: Option<u64>) -> Self {
        Self { answer: Answer::Value(value), reply: None, index, secret: None, first: None, effects: Vec::new() }
    }

    fn done(reply: String, index: Option<u64>) -> Self {
        Self { answer: Answer::Done, reply: Some(reply), ..Self::value(None, index) }
    }

    fn changed(reply: pb::MutationReply) -> Self {
        Self::done(format!("{:?}", reply.reply.and_then(|reply| reply.kind)), Some(reply.at))
    }
}

impl Ask {
    /// Whether it may change something.
    pub(super) fn is_change(&self) -> bool {
        match self {
            Self::Arm(_)
            | Self::Disarm(_)
            | Self::Settings(_)
            | Self::Maintenance(_)
            | Self::Segment(_)
            | Self::Token(_)
            | Self::Join { .. } => true,
            Self::ReadArmed { .. }
            | Self::ReadSettings
            | Self::ReadMaintenance(_)
            | Self::ReadSegment(_)
            | Self::Events { .. }
            | Self::ReadEvent { .. }
            | Self::ReadIndex { .. } => false,
        }
    }

    /// Asks one controller once. A refusal is an answer where the judge knows what it says, and unknown otherwise.
    pub(super) async fn send(&self, cluster: &mut Cluster, controller: ControllerId, limit: Duration) -> Heard {
        let asked = async {
            if let Self::Join { request, authority } = self {
                return join(&cluster.address(controller), request, *authority, limit).await;
            }
            match cluster.client(controller, limit).await {
                Ok(client) => self.through(client).await.map_err(|status| meaning(&status)),
                Err(status) => Err(Meaning::Nothing(status.message().into())),
            }
        };
        match timeout(limit, asked).await {
            Ok(Ok(told)) => Heard::Told(told),
            Ok(Err(Meaning::Refused(why @ (Rejected::SegmentExists(_) | Rejected::JoinToken(_))))) => {
                Heard::Told(Told { answer: Answer::Refused, reply: Some(why.to_string()), ..Told::value(None, None) })
            }
            Ok(Err(Meaning::Refused(why))) => Heard::Unknown(format!("{} refused: {why}", name(controller))),
            Ok(Err(Meaning::Nothing(why))) => Heard::Nothing(why),
            Ok(Err(Meaning::Unknown(why))) => Heard::Unknown(why),
            Err(_) => Heard::Unknown(format!("no answer in {} ms", limit.as_millis())),
        }
    }

    async fn through(&self, mut client: ClusterClient<Channel>) -> Result<Told, Status> {
        match self {
            Self::Arm(mutation) => client.arm(mutation.clone()).await.map(changed),
            Self::Disarm(mutation) => client.disarm(mutation.clone()).await.map(changed),
            Self::Settings(request) => client.settings_set(*request.clone()).await.map(changed),
            Self::Maintenance(request) => client.host_maintenance(request.clone()).await.map(changed),
            Self::Segment(request) => client.segment_create(request.clone()).await.map(changed),
            Self::Token(request) => {
                let reply = client.token_create(request.clone()).await?.into_inner();
                let authority = reply.ca_fingerprint.clone().try_into().map(Fingerprint);
                let secret = authority.ok().map(|authority| (reply.clone(), authority));
                // The secret stays out of the history: its hash tells two of them apart.
                let words = format!("{GIFT}join token {} with secret {:016x}", reply.id, folded(&reply.secret));
                Ok(Told { secret, ..Told::done(words, Some(reply.at)) })
            }
            Self::Join { .. } => Err(Status::internal("a joiner has no certificate to connect with")),
            Self::ReadArmed { local } => {
                let status = client.status(pb::ReadRequest { local: *local }).await?.into_inner();
                let record = status.cluster.unwrap_or_default();
                Ok(Told::value(Some(armed(record.armed, &record.armed_reason)), Some(record.applied)))
            }
            Self::ReadSettings => {
                let status = client.status(pb::ReadRequest { local: false }).await?.into_inner();
                let record = status.cluster.unwrap_or_default();
                Ok(Told::value(Some(settings_words(&record.settings.unwrap_or_default())), Some(record.applied)))
            }
            Self::ReadMaintenance(host) => {
                let request = pb::HostRequest { host: host.clone(), local: false };
                let host = client.host_show(request).await?.into_inner().host.and_then(|report| report.host);
                Ok(Told::value(host.and_then(|host| host.maintenance).map(|maintenance| maintenance.reason), None))
            }
            Self::ReadSegment(id) => {
                let segments = client.segment_list(pb::ReadRequest { local: false }).await?.into_inner().segments;
                let found = segments.into_iter().find(|segment| segment.id == *id);
                Ok(Told::value(found.map(|segment| segment_words(&segment)), None))
            }
            Self::Events { from } => events(client, *from).await,
            Self::ReadEvent { words, value, from } => {
                let told = events(client, *from).await?;
                Ok(Told::value(told.effects.contains(words).then(|| value.clone()), None))
            }
            Self::ReadIndex { local } => {
                // The record's own entry, which is of one state with the record; the status tells another beside it.
                let status = client.status(pb::ReadRequest { local: *local }).await?.into_inner();
                Ok(Told::value(None, Some(status.cluster.unwrap_or_default().applied)))
            }
        }
    }
}

fn changed(reply: tonic::Response<pb::MutationReply>) -> Told {
    Told::changed(reply.into_inner())
}

/// Returns the events as the log tells them; the answer's index is the number of the newest.
async fn events(mut client: ClusterClient<Channel>, from: u64) -> Result<Told, Status> {
    let mut stream = client.event_list(pb::EventListRequest { from, follow: false }).await?.into_inner();
    let mut told = Told::value(None, None);
    while let Some(event) = stream.message().await? {
        let event = EventRecord::try_from(event).map_err(|error| Status::data_loss(error.to_string()))?;
        told.first.get_or_insert(event.sequence);
        told.index = Some(event.sequence);
        told.effects.push(event.event.to_string());
    }
    Ok(told)
}

async fn join(
    address: &str,
    request: &pb::JoinRequest,
    authority: Fingerprint,
    limit: Duration,
) -> Result<Told, Meaning> {
    // Neither of the two has sent the request.
    let nothing = |why: String| Meaning::Nothing(why);
    let pinned = fetch_authority(address, authority, limit).await.map_err(|error| nothing(error.to_string()))?;
    let channel =
        connect(address, pinned.client_tls(), limit).await.map_err(|status| nothing(status.message().into()))?;
    let joined = JoinClient::new(channel).join(request.clone()).await;
    joined.map(|_| Told::done("admitted".into(), None)).map_err(|status| meaning(&status))
}

/// Returns what the cluster's record says about arming; the event says the same.
pub(super) fn armed(armed: bool, reason: &str) -> String {
    format!("{}: {reason}", if armed { "armed" } else { "disarmed" })
}

/// Returns two numbers of the settings, which every write sets together.
pub(super) fn settings_words(settings: &pb::Settings) -> String {
    format!("storm {}, pause {}", settings.storm_fences_max, settings.human_retry_pause_ms)
}

/// Returns what makes a segment its creator's.
pub(super) fn segment_words(segment: &pb::Segment) -> String {
    format!("interval {}", segment.check_interval_ms)
}

fn folded(secret: &str) -> u64 {
    secret.bytes().fold(0, |sum, byte| crate::chance::mix(sum ^ u64::from(byte)).wrapping_add(1))
}
