//! The state of the simulated hardware.

use std::collections::BTreeMap;

use quorumfence_machine::{BootId, HostId, InstanceId, Millis, SystemUuid};
use tokio::sync::watch;

use super::fact::{Cause, Fact, Happening};
use crate::order::Domain;

/// How a BMC behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BmcMode {
    /// It answers and obeys.
    #[default]
    Works,
    /// It answers nothing.
    Silent,
    /// It accepts orders, says so, and does nothing.
    Ignores,
    /// It refuses the account.
    RefusesLogin,
}

#[derive(Debug, Default)]
pub(super) struct World {
    hosts: BTreeMap<HostId, Machine>,
    pub(super) facts: Vec<Fact>,
}

#[derive(Debug)]
struct Machine {
    id: SystemUuid,
    boot: Option<BootId>,
    bmc: BmcMode,
    /// When an accepted off order takes effect, whether or not its sender still waits.
    off_due: Option<Millis>,
    running: BTreeMap<InstanceId, Domain>,
    changes: watch::Sender<u64>,
}

impl World {
    pub(super) fn add_host(&mut self, host: HostId, id: SystemUuid, boot: BootId) {
        let machine = Machine {
            id,
            boot: Some(boot),
            bmc: BmcMode::Works,
            off_due: None,
            running: BTreeMap::new(),
            changes: watch::Sender::new(0),
        };
        self.hosts.insert(host, machine);
    }

    pub(super) fn is_on(&self, host: &HostId) -> bool {
        self.boot(host).is_some()
    }

    pub(super) fn boot(&self, host: &HostId) -> Option<BootId> {
        self.hosts.get(host)?.boot
    }

    pub(super) fn machine_id(&self, host: &HostId) -> Option<SystemUuid> {
        self.hosts.get(host).map(|machine| machine.id)
    }

    pub(super) fn bmc_mode(&self, host: &HostId) -> BmcMode {
        self.hosts.get(host).map_or(BmcMode::Silent, |machine| machine.bmc)
    }

    pub(super) fn set_bmc(&mut self, host: &HostId, mode: BmcMode) {
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.bmc = mode;
        }
    }

    /// Lets everything happen that was due by `now`.
    pub(super) fn advance(&mut self, now: Millis) {
        let due: Vec<(Millis, HostId)> = self
            .hosts
            .iter()
            .filter_map(|(host, machine)| Some((machine.off_due.filter(|due| *due <= now)?, host.clone())))
            .collect();
        for (at, host) in due {
            self.power_off(at, &host, Cause::Bmc);
        }
    }

    /// Takes an off order; the power goes at `due`.
    pub(super) fn order_off(&mut self, at: Millis, host: &HostId, due: Option<Millis>) {
        self.note(at, Happening::OffOrdered { host: host.clone() });
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.off_due = due.or(machine.off_due);
        }
    }

    pub(super) fn power_off(&mut self, at: Millis, host: &HostId, cause: Cause) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        machine.off_due = None;
        if machine.boot.take().is_none() {
            return;
        }
        let ended = std::mem::take(&mut machine.running);
        self.note(at, Happening::PowerOff { host: host.clone(), cause });
        for instance in ended.into_keys() {
            self.note(at, Happening::Ended { instance, host: host.clone() });
        }
    }

    pub(super) fn power_on(&mut self, at: Millis, host: &HostId, boot: BootId) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.boot.is_none() {
            machine.boot = Some(boot);
            self.note(at, Happening::PowerOn { host: host.clone(), boot });
        }
    }

    /// Starts an instance where it does not run already. Returns whether it runs there.
    pub(super) fn start(&mut self, at: Millis, host: &HostId, domain: Domain) -> bool {
        let Some(machine) = self.hosts.get_mut(host).filter(|machine| machine.boot.is_some()) else { return false };
        let instance = domain.instance;
        if machine.running.insert(instance, domain).is_none() {
            machine.changes.send_modify(|changes| *changes += 1);
            self.note(at, Happening::Started { instance, host: host.clone() });
        }
        true
    }

    pub(super) fn stop(&mut self, at: Millis, host: &HostId, instance: InstanceId) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.running.remove(&instance).is_some() {
            machine.changes.send_modify(|changes| *changes += 1);
            self.note(at, Happening::Ended { instance, host: host.clone() });
        }
    }

    pub(super) fn running(&self, host: &HostId) -> Vec<Domain> {
        self.hosts.get(host).map(|machine| machine.running.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn runs_on(&self, instance: InstanceId) -> Vec<HostId> {
        let runs = |(_, machine): &(&HostId, &Machine)| machine.running.contains_key(&instance);
        self.hosts.iter().filter(runs).map(|(host, _)| host.clone()).collect()
    }

    pub(super) fn changes(&self, host: &HostId) -> Option<watch::Receiver<u64>> {
        self.hosts.get(host).map(|machine| machine.changes.subscribe())
    }

    pub(super) fn note(&mut self, at: Millis, what: Happening) {
        self.facts.push(Fact { at, what });
    }
}
