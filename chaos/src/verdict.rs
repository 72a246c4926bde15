//! The court: every promise hears every observation, and the first breach ends the trial.

use std::collections::BTreeMap;
use std::fmt;

use quorumfence_machine::Millis;

use crate::invariants::{self, Promise, QuorumOnly};
use crate::liveness::{self, Fenced};
use crate::observation::Observation;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The promise's id.
    pub promise: &'static str,
    /// When it was seen.
    pub at: Millis,
    /// What was seen, in plain words.
    pub why: String,
}

/// All promises, and the first breach of any.
#[derive(Debug)]
pub struct Court {
    promises: Vec<Box<dyn Promise>>,
    first: Option<Broken>,
}

impl Default for Court {
    fn default() -> Self {
        Self::with(QuorumOnly::default(), Fenced::default())
    }
}

impl Court {
    /// Returns the court of a run on a real machine, which may be too busy to let a host be heard or fenced in time.
    pub fn on_a_real_machine() -> Self {
        Self::with(QuorumOnly::on_a_real_machine(), Fenced::on_a_real_machine())
    }

    fn with(quorum_only: QuorumOnly, fenced: Fenced) -> Self {
        let promises = invariants::promises(quorum_only).into_iter().chain(liveness::promises(fenced));
        Self { promises: promises.collect(), first: None }
    }

    /// Hears one observation, and returns the first breach of the run from then on when there is one.
    ///
    /// After a breach nothing more is judged: what follows from it would only hide it. Of several promises that one
    /// observation breaks, the first of the table is named.
    pub fn see(&mut self, observation: &Observation) -> Option<Broken> {
        if self.first.is_some() {
            return self.first.clone();
        }
        for promise in &mut self.promises {
            let heard = promise.see(observation);
            if let (Err(why), None) = (heard, &self.first) {
                self.first = Some(Broken { promise: promise.id(), at: observation.at, why });
            }
        }
        self.first.clone()
    }

    /// Returns the first breach.
    pub fn broken(&self) -> Option<&Broken> {
        self.first.as_ref()
    }

    /// Returns for each promise how often it was put to the test. A promise at zero has not been kept, only not asked.
    pub fn judged(&self) -> BTreeMap<&'static str, u64> {
        self.promises.iter().map(|promise| (promise.id(), promise.judged())).collect()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken at {}: {}", self.promise, self.at, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::Story;

    fn double_run() -> Story {
        Story::new().started(1, "a", None).at(1500).started(1, "b", None)
    }

    #[test]
    fn the_first_breach_is_never_forgotten() {
        let mut court = Court::default();
        let story = double_run().at(2000).sent(1, "a").ended(1, "a");
        let heard: Vec<Option<Broken>> = story.observations.iter().map(|seen| court.see(seen)).collect();
        let breach = court.broken().cloned().unwrap();
        assert_eq!((breach.promise, breach.at), ("S1", Millis(1500)));
        assert_eq!(heard, [None, None, Some(breach.clone()), Some(breach.clone()), Some(breach)]);
        assert_eq!(court.judged()["S4"], 0, "nothing is judged after a breach");
    }

    #[test]
    fn a_breach_says_which_promise_when_and_why() {
        let mut court = Court::default();
        let story = double_run();
        let breach = story.observations.iter().find_map(|seen| court.see(seen)).unwrap().to_string();
        assert!(breach.starts_with("S1 is broken at 1.500 s: "), "{breach}");
        assert!(breach.contains("on a") && breach.contains("on b"), "{breach}");
    }

    #[test]
    fn every_promise_has_its_own_id_and_one_that_saw_nothing_is_visible() {
        let mut court = Court::default();
        let story = Story::new().started(1, "a", None);
        assert!(story.observations.iter().all(|seen| court.see(seen).is_none()));
        let judged = court.judged();
        let ids: Vec<&str> = judged.keys().copied().collect();
        assert_eq!(ids, ["L1", "L2", "L3", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9"]);
        assert_eq!((judged["S1"], judged["S8"]), (1, 0));
    }
}
