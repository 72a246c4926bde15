//! Why a call has no answer, as a gRPC status.
//!
//! `DeadlineExceeded` always means that the outcome is unknown; `Unavailable` always means that nothing was done here.

use quorumfence_proto::{pb, status};
use quorumfence_raft::{MembershipError, Peer, ProposeError, ReadError};
use tonic::Status;

pub(super) fn of_proposal(error: ProposeError) -> Status {
    match error {
        ProposeError::Rejected(rejected) => status::rejected(&rejected),
        ProposeError::NotLeader(leader) => status::not_leader(leader.as_ref().map(peer)),
        ProposeError::Unknown(_) => Status::deadline_exceeded(error.to_string()),
        ProposeError::Stopped => stopping(),
    }
}

pub(super) fn of_read(error: ReadError) -> Status {
    match error {
        ReadError::NoLeader(leader) => status::not_leader(leader.as_ref().map(peer)),
        ReadError::TimedOut => Status::unavailable(error.to_string()),
        ReadError::Stopped => stopping(),
    }
}

pub(super) fn of_membership(error: MembershipError) -> Status {
    match error {
        MembershipError::NotLeader(leader) => status::not_leader(leader.as_ref().map(peer)),
        MembershipError::UnknownController(_) => Status::not_found(error.to_string()),
        MembershipError::NotCaughtUp { .. } | MembershipError::Silent(_) | MembershipError::InProgress => {
            Status::aborted(error.to_string())
        }
        MembershipError::Leads(_)
        | MembershipError::LastVoter(_)
        | MembershipError::LosesQuorum { .. }
        | MembershipError::StillVotes(_) => Status::failed_precondition(error.to_string()),
        MembershipError::OtherAddress { .. } => Status::already_exists(error.to_string()),
        MembershipError::Unknown(_) => Status::deadline_exceeded(error.to_string()),
        MembershipError::Stopped => stopping(),
    }
}

/// Returns a peer as the wire has it.
pub(super) fn peer(peer: &Peer) -> pb::Peer {
    pb::Peer { id: peer.id.0, address: peer.address.clone() }
}

fn stopping() -> Status {
    Status::unavailable("this controller is stopping")
}
