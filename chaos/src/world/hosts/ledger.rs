//! What the controllers committed, as their public event lists tell, and what it says about the moment.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{Destination, Event, EventRecord, HostId, InstanceId, Millis};

use crate::invariants::committed::Entry;
use crate::invariants::fleet::{Fleet, Standing};

/// The events so far. It is for the nemesis and for waiting; the court hears the lists themselves.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The number of the last event.
    pub(super) last: u64,
    fleet: Fleet,
    pub(super) is_armed: bool,
    pub(super) is_storm_closed: bool,
    pub(super) in_maintenance: BTreeSet<HostId>,
    /// Where each instance's open start order goes; `None` while it is parked.
    pub(super) open: BTreeMap<InstanceId, Option<HostId>>,
}

impl Ledger {
    /// Takes in events that are newer than the last.
    pub(super) fn take(&mut self, records: &[EventRecord]) {
        let known = self.last;
        for record in records.iter().filter(|record| record.sequence > known) {
            self.last = record.sequence;
            let events = std::slice::from_ref(&record.event);
            self.fleet.take(&Entry { index: record.at, at: Millis(record.wall.0), events }, &record.event);
            self.note(&record.event);
        }
    }

    /// Returns whether a host is admitted and nobody doubts it.
    pub(super) fn stands(&self, host: &HostId) -> bool {
        self.fleet.standing(host) == Standing::Up
    }

    fn note(&mut self, event: &Event) {
        if let Event::Armed { .. } = event {
            (self.is_armed, self.is_storm_closed) = (true, false);
        } else if let Event::Disarmed { .. } = event {
            self.is_armed = false;
        } else if let Event::StormBrakeClosed { .. } = event {
            self.is_storm_closed = true;
        } else if let Event::MaintenanceStarted { host, .. } = event {
            self.in_maintenance.insert(host.clone());
        } else if let Event::MaintenanceEnded { host } = event {
            self.in_maintenance.remove(host);
        } else if let Event::RecoveryPlanned { instance, to, .. } = event {
            let to = match to {
                Destination::Host { host, .. } => Some(host.clone()),
                Destination::Parked(_) => None,
            };
            self.open.insert(*instance, to);
        } else if let Event::InstanceStarted { instance, .. }
        | Event::InstanceRegistered { instance, .. }
        | Event::InstanceMoved { instance, .. } = event
        {
            self.open.remove(instance);
        }
    }
}
