//! Which of this controller's changed verdicts are proposed, so that each is once while its entry is on the way.

use std::collections::BTreeMap;

use quorumfence_machine::{ControllerId, HostId, LogIndex, Millis, State, Verdict, Vote, changed_votes};

/// Votes in one command: what one entry carries without delaying the next.
const VOTES_MAX: usize = 1024;

/// A proposal that is not seen applied for this long is made again.
const PENDING_MAX: Millis = Millis(2000);

/// The verdicts of this controller that are proposed and not applied here.
#[derive(Debug, Default)]
pub(crate) struct Ballot {
    pending: BTreeMap<HostId, Pending>,
}

#[derive(Debug)]
struct Pending {
    verdict: Verdict,
    /// The entry, once it is known.
    at: Option<LogIndex>,
    since: Millis,
}

impl Ballot {
    /// Returns the votes to propose, and remembers them as proposed. None unless `me` is a voter.
    pub(crate) fn changed(&mut self, state: &State, me: ControllerId, judged: Vec<Vote>, now: Millis) -> Vec<Vote> {
        let Some(cluster) = state.cluster().filter(|cluster| cluster.voters.contains(&me)) else {
            self.pending.clear();
            return Vec::new();
        };
        let applied = cluster.applied;
        self.pending.retain(|_, pending| pending.at.is_none_or(|at| at > applied) && now - pending.since < PENDING_MAX);
        let mut votes = changed_votes(state, me, judged);
        votes.retain(|vote| self.pending.get(&vote.host).is_none_or(|pending| pending.verdict != vote.verdict));
        votes.truncate(VOTES_MAX);
        for vote in &votes {
            self.pending.insert(vote.host.clone(), Pending { verdict: vote.verdict, at: None, since: now });
        }
        votes
    }

    /// Takes the entry that brought votes; they count as cast until it is applied here.
    pub(crate) fn committed(&mut self, votes: &[Vote], at: LogIndex) {
        for vote in votes {
            if let Some(pending) = self.pending.get_mut(&vote.host).filter(|pending| pending.verdict == vote.verdict) {
                pending.at = Some(at);
            }
        }
    }

    /// Forgets a proposal that failed or whose outcome is unknown: what differs is proposed again.
    pub(crate) fn failed(&mut self, votes: &[Vote]) {
        for vote in votes {
            if self.pending.get(&vote.host).is_some_and(|pending| pending.at.is_none()) {
                self.pending.remove(&vote.host);
            }
        }
    }
}

#[cfg(test)]
mod tests;
