//! What a failed attempt changes: who tries next, when, and at which level.
//!
//! A controller's line to a BMC may be broken while another's is not. So an attempt that ends in doubt is followed by one
//! of the next voter, and each slow round over all levels is the next voter's. Every level begins with whoever leads, who
//! is nearest to the log.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{Fence, Stage, small};
use crate::state::Cluster;
use crate::{ControllerId, Outcome, Refusal};

/// An attempt that did not prove its host off.
pub(super) struct Failed<'a> {
    /// What the event says of it.
    pub(super) why: &'a Outcome<()>,
    /// Whether some device did not answer, or nobody had the time to ask it.
    pub(super) in_doubt: bool,
    /// Who made it.
    pub(super) executor: ControllerId,
}

impl Fence {
    /// Moves on after a failed attempt. Returns whether a person has become needed.
    pub(super) fn attempt_failed(&mut self, failed: Failed<'_>, levels: usize, cluster: &Cluster) -> bool {
        let Cluster { clock, settings, voters, .. } = cluster;
        // Who stood in for a voter that is away tried in its turn.
        let next = voter_after(voters, self.executor.unwrap_or(failed.executor));
        let is_working = self.stage == Stage::Working;
        self.attempt += 1;
        self.failed += 1;
        let refused = matches!(failed.why, Outcome::Refused(refusal) if *refusal != Refusal::PermitEnded);
        if refused {
            self.refused.insert(self.level);
        } else if self.failed < settings.attempts_per_level && is_working {
            let doublings = (self.failed - 1).min(10);
            self.not_before = clock.after(settings.retry_pause.times(1 << doublings));
            if failed.in_doubt {
                self.executor = next;
            }
            return false;
        }
        self.failed = 0;
        self.not_before = *clock;
        if let Some(next) = self.next_level(levels) {
            self.level = next;
            if is_working {
                self.executor = None;
            }
            return false;
        }
        self.level = (0..small(levels)).find(|level| !self.refused.contains(level)).unwrap_or(0);
        self.not_before = clock.after(settings.human_retry_pause);
        self.executor = next;
        self.stage = Stage::NeedsHuman;
        is_working
    }

    fn next_level(&self, levels: usize) -> Option<u8> {
        (self.level.saturating_add(1)..small(levels)).find(|level| !self.refused.contains(level))
    }

    /// Starts over when the host is enrolled anew. Returns whether a person has become needed: without a level nobody
    /// else can prove anything.
    pub(in crate::state) fn levels_changed(&mut self, levels: usize) -> bool {
        let was_working = match self.stage {
            Stage::Working => true,
            Stage::NeedsHuman => false,
            Stage::Proven { .. } => return false,
        };
        self.level = 0;
        self.failed = 0;
        self.attempt += 1;
        self.refused.clear();
        self.not_before = self.decided;
        self.executor = None;
        self.stage = if levels == 0 { Stage::NeedsHuman } else { Stage::Working };
        // What the old devices say proves nothing. The permits' ends stay: a late order to them may still arrive.
        for permit in &mut self.permits {
            permit.ended = true;
        }
        was_working && levels == 0
    }
}

/// Returns the voter that comes after this one, in a circle; `None` when there is no other.
fn voter_after(voters: &BTreeSet<ControllerId>, before: ControllerId) -> Option<ControllerId> {
    let after = voters.range((Bound::Excluded(before), Bound::Unbounded)).next();
    after.or(voters.first()).copied().filter(|next| *next != before)
}
