//! How the replica is doing, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use quorumfence_machine::{ControllerId, LogIndex};

use super::Replica;
use crate::types::LogId;
use crate::{Environment, Peer, Term};

/// How a replica is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: ControllerId,
    /// Its term.
    pub term: Term,
    /// The leader, as far as it knows.
    pub leader: Option<Peer>,
    /// Whether it leads and has a quorum.
    pub leads: bool,
    /// The last entry of its log.
    pub last_log: Option<LogIndex>,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogIndex>,
    /// The last entry that it applied.
    pub applied: Option<LogIndex>,
    /// The last entry in its newest snapshot.
    pub snapshot: Option<LogIndex>,
    /// The last entry that left its log.
    pub purged: Option<LogIndex>,
    /// The entry that says who votes and who listens. It need not be committed yet.
    pub members_at: LogIndex,
    /// Whether the members are changing: the entry that names them is not committed, as far as this node knows, or it is
    /// between the old voters and the new. Until that ends, a majority of the old voters is needed too.
    pub changing: bool,
    /// Who votes, or did before a change that has not ended.
    pub voters: Vec<Peer>,
    /// Who listens.
    pub learners: Vec<Peer>,
    /// How far the others are; known to a leader only.
    pub followers: BTreeMap<ControllerId, Follower>,
}

/// How far a follower is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// The last entry that is known to be in its log.
    pub matched: Option<LogIndex>,
    /// Entries that it lacks.
    pub lag: u64,
}

impl<E: Environment> Replica<E> {
    /// Returns the members that answered this leader within its lease, without itself; nobody where it does not lead.
    /// Must be called inside the environment's runtime, whose clock it reads.
    pub fn answering(&self) -> BTreeSet<ControllerId> {
        let lease = Duration::from(self.inner.options.election_max);
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let answered = metrics
            .heartbeat
            .iter()
            .flatten()
            .filter(|(id, at)| **id != self.inner.me.0 && at.as_ref().is_some_and(|at| at.elapsed() < lease));
        answered.map(|(id, _)| ControllerId(*id)).collect()
    }

    /// Returns how this replica is doing.
    pub fn status(&self) -> Status {
        let leadership = self.inner.leadership.borrow().clone();
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let (mut voters, mut learners) = (Vec::new(), Vec::new());
        for (id, node) in membership.nodes() {
            let peer = Peer { id: ControllerId(*id), address: node.addr.clone() };
            let votes = membership.get_joint_config().iter().any(|config| config.contains(id));
            if votes { voters.push(peer) } else { learners.push(peer) }
        }
        let place = |id: &Option<LogId>| id.as_ref().map(|id| LogIndex(id.index));
        let last = metrics.last_log_index;
        let committed = place(&metrics.cluster_committed);
        let members_at = place(metrics.membership_config.log_id()).unwrap_or(LogIndex(0));
        let follower = |matched: &Option<LogId>| {
            let has = matched.as_ref().map_or(0, |id| id.index + 1);
            Follower { matched: place(matched), lag: last.map_or(0, |last| last + 1).saturating_sub(has) }
        };
        let followers = metrics.replication.iter().flatten();
        Status {
            id: self.inner.me,
            term: Term(metrics.current_term),
            leads: leadership.lead_term.is_some(),
            leader: leadership.leader,
            last_log: last.map(LogIndex),
            committed,
            applied: place(&metrics.last_applied),
            snapshot: place(&metrics.snapshot),
            purged: place(&metrics.purged),
            members_at,
            changing: committed.is_some_and(|committed| committed < members_at)
                || membership.get_joint_config().len() > 1,
            voters,
            learners,
            followers: followers
                .filter(|(id, _)| **id != self.inner.me.0)
                .map(|(id, matched)| (ControllerId(*id), follower(matched)))
                .collect(),
        }
    }
}
