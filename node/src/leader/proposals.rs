//! The leader's proposals that are under way, at most one per subject.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use quorumfence_machine::{Actor, Change, HostId, LogIndex, Millis, Token};
use quorumfence_raft::{Point, ProposeError, Replica};

use crate::environment::Environment;

/// Proposals at once. More wait for the next decision.
const IN_FLIGHT_MAX: usize = 128;

/// A change that was rejected is not proposed again for this long, should the decision stay the same.
const REJECTED_PAUSE: Millis = Millis(1000);

/// What a change is about. Two changes about the same are not under way at once: the second was decided without
/// knowing what became of the first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Fence(HostId),
    NewBoot(Token),
    Admission(HostId),
    Recovery(Token),
    Report(HostId),
}

/// A proposal that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) about: About,
    pub(super) result: Result<LogIndex, ProposeError>,
}

#[derive(Default)]
pub(super) struct Proposals {
    in_flight: BTreeMap<About, Change>,
    rejected: BTreeMap<About, (Change, Millis)>,
    ended: FuturesUnordered<BoxFuture<'static, Ended>>,
}

impl Proposals {
    /// Proposes a change. Returns false when it has to wait for another one, or was rejected a moment ago.
    pub(super) fn offer<E: Environment>(
        &mut self,
        replica: &Replica<E>,
        by: Actor,
        change: Change,
        now: Millis,
    ) -> bool {
        let Some(about) = about(&change) else {
            tracing::error!(?change, "the policy decided something that is not the leader's to propose");
            return false;
        };
        if !self.has_room(&about, &change, now) {
            return false;
        }
        self.in_flight.insert(about.clone(), change.clone());
        let replica = replica.clone();
        let proposal = async move {
            E::pass(Point::DecisionBeforePropose).await;
            let result = replica.propose(by, None, change).await.map(|(at, _)| at);
            Ended { about, result }
        };
        self.ended.push(proposal.boxed());
        true
    }

    /// Waits for the next proposal that ends; for ever when there is none.
    pub(super) async fn next_ended(&mut self) -> Ended {
        match self.ended.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Takes the end of a proposal. What failed is decided again, since the state did not change.
    pub(super) fn ended(&mut self, ended: Ended, now: Millis) {
        let Some(change) = self.in_flight.remove(&ended.about) else { return };
        match ended.result {
            Ok(_) => {}
            Err(ProposeError::Rejected(rejected)) => {
                tracing::info!(about = ?ended.about, %rejected, "a change was rejected");
                self.rejected.insert(ended.about, (change, now));
            }
            Err(error @ (ProposeError::NotLeader(_) | ProposeError::Unknown(_) | ProposeError::Stopped)) => {
                tracing::warn!(about = ?ended.about, %error, "a change may not be in the log");
            }
        }
    }

    fn has_room(&mut self, about: &About, change: &Change, now: Millis) -> bool {
        self.rejected.retain(|_, (_, at)| now - *at < REJECTED_PAUSE);
        let was_rejected = self.rejected.get(about).is_some_and(|(rejected, _)| rejected == change);
        !was_rejected && !self.in_flight.contains_key(about) && self.in_flight.len() < IN_FLIGHT_MAX
    }
}

fn about(change: &Change) -> Option<About> {
    match change {
        Change::FenceDecide { host, .. } => Some(About::Fence(host.clone())),
        Change::FenceNewBoot { token, .. } => Some(About::NewBoot(*token)),
        Change::HostAdmit { host, .. } => Some(About::Admission(host.clone())),
        Change::RecoveryPlan { token, .. } => Some(About::Recovery(*token)),
        Change::AgentReport { host, .. } => Some(About::Report(host.clone())),
        Change::ClusterCreate { .. }
        | Change::SettingsSet { .. }
        | Change::Arm { .. }
        | Change::Disarm { .. }
        | Change::JoinTokenCreate { .. }
        | Change::Join { .. }
        | Change::SegmentCreate { .. }
        | Change::HostEnrol { .. }
        | Change::HostMaintenance { .. }
        | Change::HostConfirmDead { .. }
        | Change::Votes { .. }
        | Change::PermitGrant { .. }
        | Change::FenceResult { .. }
        | Change::RecoveryResult { .. } => None,
    }
}
