//! Who the members are, as far as it is certain.

use quorumfence_machine::{ControllerId, LogIndex};

use super::Replica;
use crate::types::StoredMembership;
use crate::{Environment, Peer};

/// The members that an applied entry names.
///
/// What [`Status`](super::Status) tells may still be taken back: a leader that hears nobody appends a change of members
/// that the next leader cuts off, whose own change then has a smaller index. What is applied stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// The entry; 0 before the first.
    pub at: LogIndex,
    /// Voters and learners, sorted by id.
    pub peers: Vec<Peer>,
}

impl Members {
    pub(super) fn of(stored: &StoredMembership) -> Self {
        let nodes = stored.membership().nodes();
        let mut peers: Vec<Peer> =
            nodes.map(|(id, node)| Peer { id: ControllerId(*id), address: node.addr.clone() }).collect();
        peers.sort();
        Self { at: stored.log_id().as_ref().map_or(LogIndex(0), |id| LogIndex(id.index)), peers }
    }
}

impl<E: Environment> Replica<E> {
    /// Returns the members that the last applied change of members names. Others may have been told already, and they
    /// MUST be told of no other: an index that was told is never used again for another list.
    pub fn applied_members(&self) -> Members {
        self.inner.shared.members()
    }
}
