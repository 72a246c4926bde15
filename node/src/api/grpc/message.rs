//! What agents and controllers say to each other, on the wire and inside. Both ends are here, so that they agree.

use std::sync::Arc;

use quorumfence_machine::{BootId, ControllerId, LogIndex, Millis};
use quorumfence_proto::convert::{self, Error};
use quorumfence_proto::pb;
use quorumfence_proto::pb::agent_message::Kind as FromAgent;
use quorumfence_proto::pb::controller_message::Kind as FromController;
use quorumfence_raft::Peer;

use crate::agent::{Ack, AgentMessage, Beat, ControllerMessage, Controllers};

pub(crate) fn agent_to_wire(message: AgentMessage) -> pb::AgentMessage {
    let kind = match message {
        AgentMessage::Beat(beat) => FromAgent::Heartbeat(pb::Heartbeat {
            sequence: beat.sequence,
            boot: beat.boot.0.to_vec(),
            sent_ms: beat.sent.0,
            lease_left_ms: beat.lease_left.0,
            laboratory: beat.laboratory.then_some(true),
            next_within_ms: beat.next_within.0,
        }),
        AgentMessage::Report(report) => FromAgent::Report(Arc::unwrap_or_clone(report).into()),
        AgentMessage::Answer(answer) => FromAgent::Answer(answer.into()),
    };
    pb::AgentMessage { kind: Some(kind) }
}

/// Returns what an agent said; `None` for a kind that a later version knows.
pub(crate) fn agent_from_wire(message: pb::AgentMessage) -> Result<Option<AgentMessage>, Error> {
    Ok(match message.kind {
        Some(FromAgent::Heartbeat(beat)) => Some(AgentMessage::Beat(Beat {
            sequence: beat.sequence,
            boot: BootId(convert::uuid(beat.boot, "heartbeat.boot")?),
            sent: Millis(beat.sent_ms),
            lease_left: Millis(beat.lease_left_ms),
            laboratory: beat.laboratory.unwrap_or(false),
            next_within: Millis(beat.next_within_ms),
        })),
        Some(FromAgent::Report(report)) => Some(AgentMessage::Report(Arc::new(report.try_into()?))),
        Some(FromAgent::Answer(answer)) => Some(AgentMessage::Answer(answer.try_into()?)),
        None => None,
    })
}

pub(crate) fn controller_to_wire(message: ControllerMessage) -> pb::ControllerMessage {
    let kind = match message {
        ControllerMessage::Ack(ack) => FromController::Ack(pb::HeartbeatAck {
            sequence: ack.sequence,
            sent_ms: ack.sent.0,
            admitted: ack.admitted.map(|boot| boot.0.to_vec()),
            controllers: ack.controllers.peers.iter().map(super::refusal::peer).collect(),
            heartbeat_interval_ms: ack.heartbeat_interval.0,
            controllers_at: ack.controllers.at.0,
            list_as_of: ack.list_as_of.map(|at| at.0),
            applied: ack.applied.0,
        }),
        ControllerMessage::Order(order) => FromController::Order(order.into()),
    };
    pb::ControllerMessage { kind: Some(kind) }
}

/// Returns what a controller said; `None` for a kind that a later version knows.
pub(crate) fn controller_from_wire(message: pb::ControllerMessage) -> Result<Option<ControllerMessage>, Error> {
    Ok(match message.kind {
        Some(FromController::Ack(ack)) => {
            let admitted = ack.admitted.map(|boot| convert::uuid(boot, "ack.admitted")).transpose()?;
            let peers = ack.controllers.into_iter();
            Some(ControllerMessage::Ack(Ack {
                sequence: ack.sequence,
                sent: Millis(ack.sent_ms),
                admitted: admitted.map(BootId),
                controllers: Arc::new(Controllers {
                    at: LogIndex(ack.controllers_at),
                    peers: peers.map(|peer| Peer { id: ControllerId(peer.id), address: peer.address }).collect(),
                }),
                heartbeat_interval: Millis(ack.heartbeat_interval_ms),
                list_as_of: ack.list_as_of.map(LogIndex),
                applied: LogIndex(ack.applied),
            }))
        }
        Some(FromController::Order(order)) => Some(ControllerMessage::Order(order.try_into()?)),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorumfence_machine::{Answer, Doubt, InstanceId, Order, Outcome, Token};

    #[test]
    fn messages_survive_the_wire() {
        let (sent, lease_left) = (Millis(9), Millis(11));
        let beat =
            Beat { sequence: 7, boot: BootId([3; 16]), sent, lease_left, laboratory: true, next_within: Millis(1000) };
        let answer = Answer {
            token: Token(LogIndex(5)),
            instance: InstanceId([1; 16]),
            outcome: Outcome::Unknown(Doubt::Timeout),
        };
        for message in [AgentMessage::Beat(beat), AgentMessage::Answer(answer)] {
            assert_eq!(agent_from_wire(agent_to_wire(message.clone())), Ok(Some(message)));
        }
        let ack = Ack {
            sequence: 7,
            sent: Millis(9),
            admitted: Some(BootId([3; 16])),
            controllers: Arc::new(Controllers {
                at: LogIndex(9),
                peers: vec![Peer { id: ControllerId(1), address: "a:1".into() }],
            }),
            heartbeat_interval: Millis(200),
            list_as_of: Some(LogIndex(8)),
            applied: LogIndex(9),
        };
        let order = Order {
            token: Token(LogIndex(5)),
            instance: InstanceId([1; 16]),
            boot: BootId([3; 16]),
            action: quorumfence_machine::Action::Stop,
        };
        for message in [ControllerMessage::Ack(ack), ControllerMessage::Order(order)] {
            assert_eq!(controller_from_wire(controller_to_wire(message.clone())), Ok(Some(message)));
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_passed_over() {
        assert_eq!(agent_from_wire(pb::AgentMessage { kind: None }), Ok(None));
        assert_eq!(controller_from_wire(pb::ControllerMessage { kind: None }), Ok(None));
    }
}
