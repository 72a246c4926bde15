//! The moments that this controller saw, for timelines and figures.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use quorumfence_machine::{HostId, InstanceId, LogIndex, Millis, Token, WallMillis};
use quorumfence_proto::{convert, pb};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::super::Node;
use super::caller;
use crate::controller::{Kind, Moment};
use crate::environment::Environment;

/// Answers operators who ask how long things took.
#[derive(Debug)]
pub(super) struct Clockwork<E: Environment> {
    node: Arc<Node<E>>,
}

impl<E: Environment> Clockwork<E> {
    pub(super) fn new(node: Arc<Node<E>>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl<E: Environment> pb::timing_server::Timing for Clockwork<E> {
    type MomentListStream = Pin<Box<dyn Stream<Item = Result<pb::Moment, Status>> + Send>>;

    async fn moment_list(
        &self,
        request: Request<pb::MomentListRequest>,
    ) -> Result<Response<Self::MomentListStream>, Status> {
        caller::operator(&request)?;
        let pb::MomentListRequest { from, follow } = request.into_inner();
        let node = Arc::clone(&self.node);
        let newest = node.controller.moments();
        let reader = Reader { node, newest, follow, next: from, portion: VecDeque::new() };
        Ok(Response::new(Box::pin(stream::unfold(reader, |mut reader| async move {
            let moment = reader.next().await?;
            Some((Ok(to_wire(moment)), reader))
        }))))
    }
}

struct Reader<E: Environment> {
    node: Arc<Node<E>>,
    newest: watch::Receiver<u64>,
    follow: bool,
    next: u64,
    portion: VecDeque<Moment>,
}

impl<E: Environment> Reader<E> {
    async fn next(&mut self) -> Option<Moment> {
        loop {
            if let Some(moment) = self.portion.pop_front() {
                self.next = moment.sequence + 1;
                return Some(moment);
            }
            // Seen before the read: a moment after it wakes the wait below.
            self.newest.borrow_and_update();
            self.portion = self.node.controller.moments_from(self.next).into();
            if self.portion.is_empty() {
                if !self.follow {
                    return None;
                }
                self.newest.changed().await.ok()?;
            }
        }
    }
}

fn to_wire(moment: Moment) -> pb::Moment {
    use pb::moment::{Committed, OffSent, StartAnswered, StartOrdered};
    type Wire = pb::moment::Kind;
    let kind = match moment.kind {
        Kind::LastHeartbeat => Wire::LastHeartbeat(pb::Unit {}),
        Kind::BmcAsked => Wire::BmcAsked(pb::Unit {}),
        Kind::BmcRead(power) => Wire::BmcRead(power.into()),
        Kind::Voted(verdict) => Wire::Voted(verdict.into()),
        Kind::Committed { at, event } => Wire::Committed(Committed { at: at.0, event: Some(event.into()) }),
        Kind::OffSent { device, since_lost } => {
            Wire::OffSent(OffSent { device, since_lost_ms: since_lost.map(|time| time.0) })
        }
        Kind::OffAccepted { device } => Wire::OffAccepted(device),
        Kind::OffRead { device } => Wire::OffRead(device),
        Kind::OffConfirmed { device } => Wire::OffConfirmed(device),
        Kind::StartOrdered { instance, to, since_proof } => Wire::StartOrdered(StartOrdered {
            instance: instance.0.into(),
            to: to.to_string(),
            since_proof_ms: since_proof.map(|time| time.0),
        }),
        Kind::StartAnswered { instance, to, outcome } => Wire::StartAnswered(StartAnswered {
            instance: instance.0.into(),
            to: to.to_string(),
            outcome: Some(outcome.into()),
        }),
    };
    pb::Moment {
        sequence: moment.sequence,
        at_ms: moment.at.0,
        wall_ms: moment.wall.0,
        host: moment.host.to_string(),
        token: moment.token.map(|token| token.0.0),
        kind: Some(kind),
    }
}

/// Returns the moment that a controller told.
pub(crate) fn from_wire(moment: pb::Moment) -> Result<Moment, convert::Error> {
    type Wire = pb::moment::Kind;
    let missing = || convert::Error { field: "kind".into(), problem: convert::Problem::Missing };
    let kind = match moment.kind.ok_or_else(missing)? {
        Wire::LastHeartbeat(pb::Unit {}) => Kind::LastHeartbeat,
        Wire::BmcAsked(pb::Unit {}) => Kind::BmcAsked,
        Wire::BmcRead(power) => Kind::BmcRead(power.try_into()?),
        Wire::Voted(verdict) => Kind::Voted(verdict.try_into()?),
        Wire::Committed(committed) => {
            Kind::Committed { at: LogIndex(committed.at), event: convert::required(committed.event, "event")? }
        }
        Wire::OffSent(sent) => Kind::OffSent { device: sent.device, since_lost: sent.since_lost_ms.map(Millis) },
        Wire::OffAccepted(device) => Kind::OffAccepted { device },
        Wire::OffRead(device) => Kind::OffRead { device },
        Wire::OffConfirmed(device) => Kind::OffConfirmed { device },
        Wire::StartOrdered(ordered) => Kind::StartOrdered {
            instance: InstanceId(convert::uuid(ordered.instance, "instance")?),
            to: convert::name(ordered.to, "to")?,
            since_proof: ordered.since_proof_ms.map(Millis),
        },
        Wire::StartAnswered(answered) => Kind::StartAnswered {
            instance: InstanceId(convert::uuid(answered.instance, "instance")?),
            to: convert::name(answered.to, "to")?,
            outcome: convert::required(answered.outcome, "outcome")?,
        },
    };
    let host: HostId = convert::name(moment.host, "host")?;
    Ok(Moment {
        sequence: moment.sequence,
        at: Millis(moment.at_ms),
        wall: WallMillis(moment.wall_ms),
        host,
        token: moment.token.map(|token| Token(LogIndex(token))),
        kind,
    })
}
