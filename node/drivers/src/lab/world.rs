//! The state of the simulated hardware.

use std::collections::BTreeMap;

use quorumfence_machine::{BootId, HostId, InstanceId, Millis, Power, SystemUuid, Token};
use tokio::sync::watch;

use super::fact::{Cause, Fact, Happening};
use super::mode::{BmcMode, HypervisorMode};
use crate::order::Domain;

#[derive(Debug, Default)]
pub(super) struct World {
    now: Millis,
    hosts: BTreeMap<HostId, Machine>,
    /// What will happen, whether or not somebody still waits for it: by its moment, then in the order of the orders.
    due: BTreeMap<(Millis, u64), Due>,
    orders: u64,
    facts: Vec<Fact>,
    /// The number of facts.
    pub(super) news: watch::Sender<usize>,
    /// The moment of what is due next.
    pub(super) next_due: watch::Sender<Option<Millis>>,
}

/// Something that will happen.
#[derive(Debug)]
enum Due {
    /// A BMC cuts the power. It does not look whether this is still what the sender wants.
    Off(HostId),
    /// The power comes back by itself.
    On(HostId),
    /// A hypervisor starts an instance, if the host is still in this boot.
    Start { host: HostId, boot: BootId, domain: Domain, token: Token },
}

#[derive(Debug)]
struct Machine {
    id: SystemUuid,
    boot: Option<BootId>,
    last_boot: BootId,
    bmc: BmcMode,
    /// The power when the BMC's mode was set.
    power_then: Power,
    hypervisor: HypervisorMode,
    running: BTreeMap<InstanceId, Domain>,
    changes: watch::Sender<u64>,
}

impl Machine {
    fn power(&self) -> Power {
        if self.boot.is_some() { Power::On } else { Power::Off }
    }
}

impl World {
    pub(super) fn add_host(&mut self, host: HostId, id: SystemUuid, boot: BootId) {
        let machine = Machine {
            id,
            boot: Some(boot),
            last_boot: boot,
            bmc: BmcMode::default(),
            power_then: Power::On,
            hypervisor: HypervisorMode::default(),
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
            machine.power_then = machine.power();
            machine.bmc = mode;
        }
    }

    pub(super) fn hypervisor_mode(&self, host: &HostId) -> HypervisorMode {
        self.hosts.get(host).map_or(HypervisorMode::Hangs, |machine| machine.hypervisor)
    }

    pub(super) fn set_hypervisor(&mut self, host: &HostId, mode: HypervisorMode) {
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.hypervisor = mode;
        }
    }

    /// Returns the power as the host's BMC tells it.
    pub(super) fn reading(&self, host: &HostId) -> Power {
        let Some(machine) = self.hosts.get(host) else { return Power::Off };
        match machine.bmc {
            BmcMode::Stale => machine.power_then,
            BmcMode::Works
            | BmcMode::Silent
            | BmcMode::Ignores
            | BmcMode::RefusesLogin
            | BmcMode::Late(_)
            | BmcMode::Busy
            | BmcMode::PowersBackOn(_)
            | BmcMode::LosesAnswer => machine.power(),
        }
    }

    /// Lets everything happen that was due by `now`, each at its moment.
    pub(super) fn advance(&mut self, now: Millis) {
        while let Some(next) = self.due.first_entry().filter(|next| next.key().0 <= now) {
            self.now = self.now.max(next.key().0);
            match next.remove() {
                Due::Off(host) => self.power_off(&host, Cause::Bmc),
                Due::On(host) => self.power_back_on(&host),
                Due::Start { host, boot, domain, token } => {
                    if self.boot(&host) == Some(boot) {
                        self.start(&host, domain, Some(token));
                    }
                }
            }
        }
        self.now = self.now.max(now);
        self.tell_next_due();
    }

    fn schedule(&mut self, after: Millis, due: Due) {
        self.orders += 1;
        self.due.insert((self.now + after, self.orders), due);
        self.tell_next_due();
    }

    fn tell_next_due(&mut self) {
        let next = self.due.keys().next().map(|(at, _)| *at);
        self.next_due.send_if_modified(|told| std::mem::replace(told, next) != next);
    }

    /// Takes an off order; the power goes that long after, or never when the BMC does not obey.
    pub(super) fn order_off(&mut self, host: &HostId, after: Option<Millis>) {
        self.note(Happening::OffOrdered { host: host.clone() });
        if let Some(after) = after {
            self.schedule(after, Due::Off(host.clone()));
        }
    }

    /// Takes a start order. Returns false when the host has no power to take it.
    pub(super) fn order_start(&mut self, host: &HostId, domain: Domain, token: Token, after: Millis) -> bool {
        let Some(boot) = self.boot(host) else { return false };
        self.schedule(after, Due::Start { host: host.clone(), boot, domain, token });
        true
    }

    pub(super) fn power_off(&mut self, host: &HostId, cause: Cause) {
        match cause {
            Cause::Bmc => {}
            // Nothing comes back by itself once somebody pulled the plug.
            Cause::Outside => self.forget_return(host),
        }
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.boot.take().is_none() {
            return;
        }
        let returns_after = match (cause, machine.bmc) {
            (Cause::Bmc, BmcMode::PowersBackOn(after)) => Some(super::millis(after)),
            (Cause::Outside, _)
            | (
                Cause::Bmc,
                BmcMode::Works
                | BmcMode::Silent
                | BmcMode::Ignores
                | BmcMode::RefusesLogin
                | BmcMode::Late(_)
                | BmcMode::Stale
                | BmcMode::Busy
                | BmcMode::LosesAnswer,
            ) => None,
        };
        let ended = std::mem::take(&mut machine.running);
        self.note(Happening::PowerOff { host: host.clone(), cause });
        for instance in ended.into_keys() {
            self.note(Happening::Ended { instance, host: host.clone() });
        }
        if let Some(after) = returns_after {
            self.schedule(after, Due::On(host.clone()));
        }
    }

    pub(super) fn power_on(&mut self, host: &HostId, boot: BootId) {
        self.forget_return(host);
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.boot.is_none() {
            machine.boot = Some(boot);
            machine.last_boot = boot;
            self.note(Happening::PowerOn { host: host.clone(), boot });
        }
    }

    fn power_back_on(&mut self, host: &HostId) {
        if let Some(boot) = self.hosts.get(host).map(|machine| next_boot(machine.last_boot)) {
            self.power_on(host, boot);
        }
    }

    fn forget_return(&mut self, host: &HostId) {
        self.due.retain(|_, due| !matches!(due, Due::On(of) if of == host));
    }

    /// Starts an instance where it does not run already. Does nothing on a host without power.
    pub(super) fn start(&mut self, host: &HostId, domain: Domain, token: Option<Token>) {
        let Some(machine) = self.hosts.get_mut(host).filter(|machine| machine.boot.is_some()) else { return };
        let instance = domain.instance;
        if machine.running.insert(instance, domain).is_none() {
            machine.changes.send_modify(|changes| *changes += 1);
            self.note(Happening::Started { instance, host: host.clone(), token });
        }
    }

    pub(super) fn stop(&mut self, host: &HostId, instance: InstanceId) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.running.remove(&instance).is_some() {
            machine.changes.send_modify(|changes| *changes += 1);
            self.note(Happening::Ended { instance, host: host.clone() });
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

    pub(super) fn facts_from(&self, first: usize) -> Vec<Fact> {
        self.facts.get(first..).map(<[Fact]>::to_vec).unwrap_or_default()
    }

    fn note(&mut self, what: Happening) {
        self.facts.push(Fact { at: self.now, what });
        self.news.send_replace(self.facts.len());
    }
}

/// Returns the boot after `last`: a step of a linear congruential generator, whose period is all boot ids.
fn next_boot(last: BootId) -> BootId {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
    const INCREMENT: u128 = 0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f;
    BootId(u128::from_be_bytes(last.0).wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT).to_be_bytes())
}
