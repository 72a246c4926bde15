//! The policy: what one controller makes of its evidence, and what the leader does about the state.
//!
//! Retries, back-off, escalation, ordering and waiting are decided here and nowhere else, so that they are simulated.

mod admission;
mod fencing;
pub(crate) mod guard;
mod liveness;
mod placement;
mod recovery;
mod report;
#[cfg(test)]
mod tests;
mod view;

pub use liveness::{CALL_AGAIN, CAST_AGAIN, changed_votes, judge, late_after, outage, suspects};
pub use report::{Decision, Reason, Report};
pub use view::{Heartbeat, Outage, PowerReading, Sight, View};

use crate::{Change, Millis, State};

/// Decides what the leader proposes, and tells why it holds back what it does not.
///
/// `now` is on the clock of `view`. The same state and view give the same decision.
pub fn decide(state: &State, view: &View, now: Millis) -> Decision {
    let mut decision = Decision::default();
    let Some(cluster) = state.cluster() else { return decision };
    let clock = view.cluster_time(cluster.clock, now);
    for host in state.hosts() {
        fencing::decide(state, host, &mut decision);
        admission::decide(state, host, view, now, clock, &mut decision);
    }
    recovery::decide(state, view, now, clock, &mut decision);
    decision
}

impl Decision {
    fn propose(&mut self, change: Change) {
        self.changes.push(change);
    }
}
