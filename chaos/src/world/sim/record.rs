//! The clerk of the court: writes down what the simulation's hardware, controllers and clients do, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorumfence_drivers::lab::{self, Happening, Laboratory};
use quorumfence_machine::{ControllerId, LogIndex, State};
use quorumfence_raft::{Passage, Witness};

use crate::chance::mix;
use crate::journal::Journal;
use crate::observation::{Cause, Observation, Seen};
use crate::verdict::{Broken, Court};

/// The state is fingerprinted after every so many entries.
const DIGEST_EVERY: u64 = 16;

/// The record of one run. Clones write into the same record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    laboratory: Laboratory,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    history: Vec<Observation>,
    /// Facts of the laboratory that are in the history.
    facts: usize,
    court: Court,
    broken: Option<Broken>,
    journal: Journal,
}

impl Record {
    pub(super) fn new(laboratory: Laboratory) -> Self {
        Self { laboratory, inner: Arc::default() }
    }

    /// Writes down what was just seen, after everything that the hardware did before.
    pub(super) fn see(&self, seen: Seen) {
        let now = self.laboratory.now();
        let facts = self.laboratory.facts_from(self.lock().facts);
        let mut inner = self.lock();
        inner.facts += facts.len();
        for fact in facts {
            let seen = told(fact.what);
            inner.take(Observation { at: fact.at, seen });
        }
        inner.take(Observation { at: now, seen });
    }

    /// Returns the first broken promise.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.lock().broken.clone()
    }

    /// Returns everything that was seen, and how often each promise was judged.
    pub(super) fn close(&self) -> (Vec<Observation>, BTreeMap<&'static str, u64>) {
        self.see(Seen::Closed);
        let mut inner = self.lock();
        let judged = inner.court.judged();
        (std::mem::take(&mut inner.history), judged)
    }

    /// Returns what the log said.
    pub(super) fn journal(&self) -> Journal {
        self.lock().journal.clone()
    }

    /// Returns the witness of one controller.
    pub(super) fn clerk(&self, controller: ControllerId) -> Arc<dyn Witness> {
        Arc::new(Clerk { record: self.clone(), controller })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, observation: Observation) {
        if self.broken.is_none() {
            self.broken = self.court.see(&observation);
        }
        self.history.push(observation);
    }
}

pub(in crate::world) fn told(fact: Happening) -> Seen {
    match fact {
        Happening::PowerOff { host, cause: lab::Cause::Bmc } => Seen::PowerOff { host, cause: Cause::Bmc },
        Happening::PowerOff { host, cause: lab::Cause::Outside } => Seen::PowerOff { host, cause: Cause::Outside },
        Happening::PowerOn { host, boot } => Seen::PowerOn { host, boot },
        Happening::OffOrdered { host } => Seen::OffTaken { host },
        Happening::Started { instance, host, token } => Seen::Started { instance, host, token },
        Happening::Ended { instance, host } => Seen::Ended { instance, host },
    }
}

/// Sees what one controller applies.
struct Clerk {
    record: Record,
    controller: ControllerId,
}

impl Witness for Clerk {
    fn applied(&self, passage: &Passage<'_>) {
        let Passage { at, term, entry, events, state } = passage;
        self.record.lock().journal.note(*at, *entry);
        self.record.see(Seen::Applied {
            controller: self.controller,
            index: *at,
            content: hash(&format!("{term} {entry:?}")),
            events: events.to_vec(),
            digest: (at.0 % DIGEST_EVERY == 0).then(|| state.digest().to_string()),
        });
    }

    fn installed(&self, at: LogIndex, _state: &State) {
        self.record.see(Seen::Installed { controller: self.controller, index: at });
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0, |state, byte| mix(state ^ u64::from(byte)))
}
