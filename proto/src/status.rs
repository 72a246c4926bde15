//! Facts in the details of a gRPC status, so that a client need not read the words.

use prost::Message;
use quorumfence_machine::Rejected;
use tonic::{Code, Status};

use crate::pb;
use crate::pb::error_detail::{Kind, NotLeader};

/// What a status says beyond its code and words.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// Only the leader can answer.
    NotLeader {
        /// Who leads, as far as the controller that was asked knows.
        leader: Option<pb::Peer>,
    },
    /// The command was applied and refused: asking again gives the same answer until the state changes.
    Rejected(Rejected),
}

/// Returns the status of a controller that is asked for what only the leader can do. Nothing was done.
pub fn not_leader(leader: Option<pb::Peer>) -> Status {
    let words = match &leader {
        Some(peer) => format!("this controller does not lead; controller-{} at {} does", peer.id, peer.address),
        None => {
            "this controller does not lead and knows no leader; a majority of the controllers must be reachable".into()
        }
    };
    with_detail(Code::Unavailable, words, Kind::NotLeader(NotLeader { leader }))
}

/// Returns the status of a command that the state machine refused.
pub fn rejected(rejected: &Rejected) -> Status {
    with_detail(code(rejected), rejected.to_string(), Kind::Rejected(rejected.clone().into()))
}

/// Returns what a status says in its details; `None` when it says nothing that this version understands.
pub fn detail(status: &Status) -> Option<Detail> {
    if status.details().is_empty() {
        return None;
    }
    let detail = pb::ErrorDetail::decode(status.details()).ok()?;
    Some(match detail.kind? {
        Kind::NotLeader(NotLeader { leader }) => Detail::NotLeader { leader },
        Kind::Rejected(rejected) => Detail::Rejected(rejected.try_into().ok()?),
    })
}

fn with_detail(code: Code, words: String, kind: Kind) -> Status {
    let detail = pb::ErrorDetail { kind: Some(kind) };
    Status::with_details(code, words, detail.encode_to_vec().into())
}

fn code(rejected: &Rejected) -> Code {
    match rejected {
        Rejected::UnknownHost(_) | Rejected::UnknownSegment(_) | Rejected::NoAssignment(_) => Code::NotFound,
        Rejected::ClusterExists
        | Rejected::SegmentExists(_)
        | Rejected::JoinTokenExists(_)
        | Rejected::HostTaken(_)
        | Rejected::DeviceTaken { .. } => Code::AlreadyExists,
        Rejected::Invalid(_) => Code::InvalidArgument,
        Rejected::JoinToken(_) => Code::PermissionDenied,
        Rejected::NoCluster
        | Rejected::WrongMachine { .. }
        | Rejected::HostLives(_)
        | Rejected::NotAVoter(_)
        | Rejected::NoParent(_)
        | Rejected::Held(_)
        | Rejected::WrongBoot(_) => Code::FailedPrecondition,
    }
}
