//! Which entries are committed, as far as can be seen from outside.

use quorumfence_machine::{Event, LogIndex, Millis, Proof, Token};

use crate::observation::{Observation, Seen};

/// Finds the first time that each entry is applied by anybody. Its events count then, and only then.
///
/// Entries are applied in order and without gaps, so the first appearance of an index lies above all earlier ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committed {
    last: Option<LogIndex>,
}

/// A committed entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Its place in the log.
    pub(crate) index: LogIndex,
    /// When the first controller applied it.
    pub(crate) at: Millis,
    /// What it changed.
    pub(crate) events: &'a [Event],
}

impl Committed {
    /// Returns the entry that this observation shows for the first time.
    pub(crate) fn entry<'a>(&mut self, observation: &'a Observation) -> Option<Entry<'a>> {
        let Seen::Applied { index, events, .. } = &observation.seen else { return None };
        if self.last.is_some_and(|last| *index <= last) {
            return None;
        }
        self.last = Some(*index);
        Some(Entry { index: *index, at: observation.at, events })
    }

    /// Returns the highest committed index.
    pub(crate) fn last(&self) -> Option<LogIndex> {
        self.last
    }
}

impl Entry<'_> {
    /// Returns whether a person decided the fence and proved it in this very entry. No brake holds a person's word.
    pub(crate) fn is_vouched(&self, fence: Token) -> bool {
        self.events.iter().any(
            |event| matches!(event, Event::HostFenced { token, proof: Proof::Human { .. }, .. } if *token == fence),
        )
    }
}
