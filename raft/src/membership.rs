//! Changing the members. Ids come from the log (`Change::Join`); here they become learners, then voters.
//!
//! Only the leader changes members, one change at a time, by joint consensus: at no moment can two majorities exist
//! that do not meet.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::impls::BasicNode;
use openraft::raft::ClientWriteResponse;
use quorumfence_machine::{ControllerId, LogIndex};

use crate::replica::Replica;
use crate::types::{StoredMembership, TypeConfig};
use crate::{Environment, MembershipError, Peer, Point, Runtime};

/// A learner this close to the leader's log is caught up: replication carries more in one request.
const PROMOTION_LAG_MAX: u64 = 64;

type Written<E> = Result<
    ClientWriteResponse<TypeConfig<<E as Environment>::Runtime>>,
    RaftError<TypeConfig<<E as Environment>::Runtime>, ClientWriteError<TypeConfig<<E as Environment>::Runtime>>>,
>;

impl<E: Environment> Replica<E> {
    /// Adds a learner, which gets the log and has no vote. Returns before it has caught up. Idempotent.
    pub async fn add_learner(&self, peer: Peer) -> Result<LogIndex, MembershipError> {
        self.require_lead()?;
        let stored = self.members();
        if let Some(known) = stored.membership().get_node(&peer.id.0) {
            if known.addr == peer.address {
                return Ok(place(&stored));
            }
            return Err(MembershipError::OtherAddress { id: peer.id, address: known.addr.clone() });
        }
        self.written(self.raft().add_learner(peer.id.0, BasicNode { addr: peer.address }, false)).await
    }

    /// Makes a learner a voter, once it has caught up. Idempotent.
    ///
    /// A learner that lags, or does not answer, is refused: it would count for the quorum's size and for nothing else.
    pub async fn promote(&self, id: ControllerId) -> Result<LogIndex, MembershipError> {
        self.require_lead()?;
        let stored = self.members();
        let membership = stored.membership();
        if membership.get_node(&id.0).is_none() {
            return Err(MembershipError::UnknownController(id));
        }
        if membership.get_joint_config().iter().all(|config| config.contains(&id.0)) {
            return Ok(place(&stored));
        }
        let status = self.status();
        let follower = status.followers.get(&id);
        let lag = follower.map_or_else(|| status.last_log.map_or(0, |last| last.0 + 1), |follower| follower.lag);
        if lag > PROMOTION_LAG_MAX || follower.is_none_or(|follower| follower.matched.is_none()) {
            return Err(MembershipError::NotCaughtUp { id, lag });
        }
        if !self.answering().contains(&id) {
            return Err(MembershipError::Silent(id));
        }
        self.written(self.raft().change_membership(ChangeMembers::AddVoterIds(BTreeSet::from([id.0])), true)).await
    }

    /// Takes a voter's vote away; it stays as a learner. Idempotent.
    ///
    /// Refused where those who would still vote have no majority that answers: the change could never be committed, and
    /// nothing else behind it.
    pub async fn demote(&self, id: ControllerId) -> Result<LogIndex, MembershipError> {
        self.require_lead()?;
        let stored = self.members();
        let membership = stored.membership();
        if membership.get_node(&id.0).is_none() {
            return Err(MembershipError::UnknownController(id));
        }
        let mut voters: BTreeSet<u64> = membership.voter_ids().collect();
        if !voters.remove(&id.0) {
            return Ok(place(&stored));
        }
        if voters.is_empty() {
            return Err(MembershipError::LastVoter(id));
        }
        let silent = self.silent(&voters);
        if 2 * (voters.len() - silent.len()) <= voters.len() {
            return Err(MembershipError::LosesQuorum { id, silent });
        }
        if id == self.id() {
            return Err(MembershipError::Leads(id));
        }
        self.written(self.raft().change_membership(ChangeMembers::RemoveVoters(BTreeSet::from([id.0])), true)).await
    }

    /// Removes a learner, which hears nothing more. Its id is never given again. Idempotent.
    pub async fn remove(&self, id: ControllerId) -> Result<LogIndex, MembershipError> {
        self.require_lead()?;
        let stored = self.members();
        let membership = stored.membership();
        if membership.get_node(&id.0).is_none() {
            return Ok(place(&stored));
        }
        if membership.voter_ids().any(|voter| voter == id.0) {
            return Err(MembershipError::StillVotes(id));
        }
        if id == self.id() {
            // A leader without a vote is about to hand over; nobody could tell who it left behind.
            return Err(MembershipError::Leads(id));
        }
        self.written(self.raft().change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([id.0])), false)).await
    }

    /// Returns whether the group is between two sets of voters, and every decision needs a majority of both.
    pub fn is_between_members(&self) -> bool {
        let metrics = self.raft().metrics();
        metrics.borrow_watched().membership_config.membership().get_joint_config().len() > 1
    }

    /// Ends a change of the voters that an earlier leader began and did not live to end. Idempotent.
    ///
    /// Until then a majority of the old voters is needed, too, although some of them may have been replaced because they
    /// were broken: the next one that breaks could stop the group for ever (found by simulation).
    pub async fn finish_change(&self) -> Result<LogIndex, MembershipError> {
        self.require_lead()?;
        if !self.is_between_members() {
            return Ok(place(&self.members()));
        }
        self.written(self.raft().change_membership(ChangeMembers::AddVoterIds(BTreeSet::new()), true)).await
    }

    /// Gives the leadership to a voter, or to the one that has caught up most, and waits until this node has none.
    pub async fn hand_over(&self, to: Option<ControllerId>) -> Result<(), MembershipError> {
        self.require_lead()?;
        let status = self.status();
        let voters: BTreeMap<ControllerId, u64> = status
            .followers
            .iter()
            .filter(|(id, _)| status.voters.iter().any(|voter| voter.id == **id))
            .map(|(id, follower)| (*id, follower.lag))
            .collect();
        let target = match to {
            Some(id) if voters.contains_key(&id) => id,
            Some(id) => return Err(MembershipError::UnknownController(id)),
            None => voters
                .iter()
                .min_by_key(|(_, lag)| **lag)
                .map(|(id, _)| *id)
                .ok_or_else(|| MembershipError::Unknown("there is no other voter".into()))?,
        };
        let mut leadership = self.leadership();
        E::pass(Point::HandOverBeforeTransfer).await;
        self.raft().trigger().transfer_leader(target.0).await.map_err(|_| MembershipError::Stopped)?;
        let left = leadership.wait_for(|now| now.leader.as_ref().is_some_and(|leader| leader.id != self.id()));
        match E::Runtime::timeout(self.options().call_deadline.into(), left).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(MembershipError::Stopped),
            Err(_) => Err(MembershipError::Unknown(format!("{target} did not take the leadership in time"))),
        }
    }

    fn require_lead(&self) -> Result<(), MembershipError> {
        let leadership = self.leadership().borrow().clone();
        if leadership.lead_term.is_some() {
            return Ok(());
        }
        Err(MembershipError::NotLeader(leadership.leader.filter(|leader| leader.id != self.id())))
    }

    /// Returns which of the voters do not answer this leader.
    fn silent(&self, voters: &BTreeSet<u64>) -> BTreeSet<ControllerId> {
        let answering = self.answering();
        let answers = |id: &ControllerId| *id == self.id() || answering.contains(id);
        voters.iter().map(|id| ControllerId(*id)).filter(|id| !answers(id)).collect()
    }

    fn members(&self) -> StoredMembership {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.as_ref().clone()
    }

    async fn written(&self, change: impl Future<Output = Written<E>> + Send) -> Result<LogIndex, MembershipError> {
        E::pass(Point::MembersBeforeChange).await;
        let deadline = self.options().call_deadline.into();
        let Ok(written) = E::Runtime::timeout(deadline, change).await else {
            return Err(MembershipError::Unknown("the change was not committed in time".into()));
        };
        match written {
            Ok(written) => {
                let at = LogIndex(written.log_id.index);
                // Metrics lag behind the log, and the next change is judged by them.
                let mut metrics = self.raft().metrics();
                let shown = async { while place(&self.members()) < at && metrics.changed().await.is_ok() {} };
                E::Runtime::timeout(deadline, shown)
                    .await
                    .map_err(|_| MembershipError::Unknown(format!("entry {at} is committed and does not show")))?;
                Ok(at)
            }
            Err(RaftError::APIError(error)) => Err(refusal(error)),
            Err(RaftError::Fatal(fatal)) => Err(MembershipError::Unknown(fatal.to_string())),
        }
    }
}

fn refusal<R: Runtime>(error: ClientWriteError<TypeConfig<R>>) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => MembershipError::NotLeader(
            forward
                .leader_id
                .zip(forward.leader_node)
                .map(|(id, node)| Peer { id: ControllerId(id), address: node.addr }),
        ),
        ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ) => MembershipError::InProgress,
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(missing)) => {
            MembershipError::UnknownController(ControllerId(missing.node_id))
        }
        error @ (ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::PreconditionFailed(_)
        | ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::EmptyMembership(_)
            | ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_),
        )) => MembershipError::Unknown(error.to_string()),
    }
}

fn place(stored: &StoredMembership) -> LogIndex {
    LogIndex(stored.log_id().as_ref().map_or(0, |id| id.index))
}
