//! The clerk of the court: keeps what was seen with its time, and has it judged in the order of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::ensure;
use quorumfence_drivers::lab::Laboratory;
use quorumfence_machine::{BootId, ControllerId, Destination, Event, HostId, InstanceId, LogIndex, Millis};
use quorumfence_node::wiring::testimony::{self, Line, Said};

use super::clock::Bend;
use crate::observation::{Observation, Seen};
use crate::verdict::{Broken, Court};
use crate::world::sim::told;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// The record of one run. Clones write into the same record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// When the run began, on the clock that all processes share.
    origin: u64,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// With the time of each, in the order of arrival.
    seen: Vec<(u64, Seen)>,
    board: Board,
    /// How the clocks of controllers go that are not this machine's.
    bends: BTreeMap<ControllerId, Bend>,
    /// What should be here and is not. A history with holes proves nothing.
    lost: Vec<String>,
}

/// What the log says, as far as the nemesis and the end of a run look at it.
#[derive(Debug, Default)]
struct Board {
    last: Option<LogIndex>,
    fenced: BTreeSet<HostId>,
    targets: BTreeMap<InstanceId, HostId>,
    boots: BTreeMap<HostId, BootId>,
    parked: BTreeSet<InstanceId>,
    /// When something was committed last that is no slow retry.
    noise: u64,
}

/// What came of a run.
pub(super) struct Judged {
    pub(super) history: Vec<Observation>,
    pub(super) broken: Option<Broken>,
    pub(super) judged: BTreeMap<&'static str, u64>,
}

impl Record {
    pub(super) fn begin() -> Self {
        Self { origin: testimony::now(), inner: Arc::default() }
    }

    /// Returns the time of the run.
    pub(super) fn now(&self) -> Millis {
        self.millis(testimony::now())
    }

    /// Writes down what happens at this moment.
    pub(super) fn see(&self, seen: Seen) {
        let at = testimony::now();
        self.lock().seen.push((at, seen));
    }

    /// Writes down what a controller said.
    pub(super) fn hear(&self, line: Line) {
        let Line { at_ns, controller, said } = line;
        let mut inner = self.lock();
        let at_ns = inner.bends.get(&controller).map_or(at_ns, |bend| bend.straight(at_ns));
        let (at, seen) = match said {
            Said::Runs { applied } => (at_ns, Seen::Running { controller, applied }),
            Said::Applied { index, content, events, digest } => {
                inner.board.take(index, &events, at_ns);
                (at_ns, Seen::Applied { controller, index, content, events, digest })
            }
            Said::Installed { index } => (at_ns, Seen::Installed { controller, index }),
            Said::OffSent { host } => (end_of_milli(at_ns), Seen::OffSent { controller, host }),
        };
        inner.seen.push((at, seen));
    }

    /// Notes by which clocks a controller speaks.
    pub(super) fn bend(&self, id: ControllerId, bend: Bend) {
        self.lock().bends.insert(id, bend);
    }

    /// Notes that something was seen and cannot be told.
    pub(super) fn lose(&self, what: String) {
        self.lock().lost.push(what);
    }

    /// Returns the hosts that a quorum lost or that are being fenced, and those on which instances are being started.
    pub(super) fn troubled(&self) -> (Vec<HostId>, Vec<HostId>) {
        let inner = self.lock();
        (inner.board.fenced.iter().cloned().collect(), inner.board.targets.values().cloned().collect())
    }

    /// Returns the hosts that are in the boot that the log admitted.
    pub(super) fn admitted(&self, laboratory: &Laboratory) -> Vec<HostId> {
        let inner = self.lock();
        let stands = |(host, boot): &(&HostId, &BootId)| laboratory.boot(host).as_ref() == Some(*boot);
        inner.board.boots.iter().filter(stands).map(|(host, _)| host.clone()).collect()
    }

    /// Returns whether the log has every host in the boot that it is in, and nothing under way.
    pub(super) fn is_settled(&self, laboratory: &Laboratory, hosts: &[&HostId]) -> bool {
        let inner = self.lock();
        let Board { fenced, targets, boots, parked, .. } = &inner.board;
        let stands = |host: &&HostId| laboratory.boot(host).is_some_and(|boot| boots.get(*host) == Some(&boot));
        fenced.is_empty() && targets.is_empty() && parked.is_empty() && hosts.iter().all(stands)
    }

    /// Returns for how long neither the log nor the hardware has changed.
    pub(super) fn quiet_for(&self, laboratory: &Laboratory) -> Millis {
        let facts = *laboratory.news().borrow();
        let last = laboratory.facts_from(facts.saturating_sub(1)).pop().map_or(Millis::ZERO, |fact| fact.at);
        (self.now() - last).min(self.now() - self.millis(self.lock().board.noise))
    }

    /// Judges everything so far, or up to `Closed`.
    ///
    /// # Errors
    ///
    /// Something that was seen is missing.
    pub(super) fn judge(&self, laboratory: &Laboratory) -> anyhow::Result<Judged> {
        let mut seen = {
            let inner = self.lock();
            ensure!(
                inner.lost.is_empty(),
                "the history has holes, so nothing can be judged: {}",
                inner.lost.join("; ")
            );
            inner.seen.clone()
        };
        for fact in laboratory.facts() {
            // Facts carry whole milliseconds; their causes are never in the same one as they.
            let at = end_of_milli(self.origin + fact.at.0 * NANOS_PER_MILLI);
            seen.push((at, told(fact.what)));
        }
        seen.sort_by_key(|(at, seen)| (!matches!(seen, Seen::Opened { .. }), *at));
        let end = seen.iter().rposition(|(_, seen)| *seen == Seen::Closed).map_or(seen.len(), |end| end + 1);
        seen.truncate(end);
        let mut court = Court::on_a_real_machine();
        let mut history = Vec::with_capacity(seen.len());
        for (at, seen) in seen {
            let observation = Observation { at: self.millis(at), seen };
            court.see(&observation);
            history.push(observation);
        }
        Ok(Judged { history, broken: court.broken().cloned(), judged: court.judged() })
    }

    fn millis(&self, at: u64) -> Millis {
        Millis(at.saturating_sub(self.origin) / NANOS_PER_MILLI)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known to the millisecond comes after what is known better.
fn end_of_milli(at: u64) -> u64 {
    at + NANOS_PER_MILLI - 1
}

impl Board {
    fn take(&mut self, index: LogIndex, events: &[Event], at: u64) {
        if self.last.is_some_and(|last| index <= last) {
            return;
        }
        self.last = Some(index);
        if !events.is_empty() {
            self.noise = self.noise.max(at);
        }
        for event in events {
            self.turn(event);
        }
    }

    fn turn(&mut self, event: &Event) {
        if let Event::HostLost { host, .. } | Event::FenceDecided { host, .. } = event {
            self.fenced.insert(host.clone());
        } else if let Event::HostRegained { host } = event {
            self.fenced.remove(host);
        } else if let Event::HostAdmitted { host, boot } = event {
            self.fenced.remove(host);
            self.boots.insert(host.clone(), *boot);
        } else if let Event::RecoveryPlanned { instance, to, .. } = event {
            match to {
                Destination::Host { host, .. } => {
                    self.targets.insert(*instance, host.clone());
                    self.parked.remove(instance);
                }
                Destination::Parked(_) => {
                    self.targets.remove(instance);
                    self.parked.insert(*instance);
                }
            }
        } else if let Event::InstanceStarted { instance, .. } | Event::StartRefused { instance, .. } = event {
            self.targets.remove(instance);
        } else if let Event::InstanceMoved { instance, .. } = event {
            self.targets.remove(instance);
            self.parked.remove(instance);
        }
    }
}
