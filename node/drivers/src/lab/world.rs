//! The state of the simulated hardware.

use std::collections::BTreeMap;

use quorumfence_machine::{BootId, HostId, InstanceId, InstanceState, Millis, Power, SystemUuid, Token};
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
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// A BMC cuts the power. It does not look whether this is still what the sender wants.
    Off(HostId),
    /// The power comes back by itself.
    On(HostId),
    /// A hypervisor starts an instance, if the host is still in this boot.
    Start { host: HostId, boot: BootId, domain: Domain, token: Token },
    /// A hypervisor stops an instance, if the host is still in this boot.
    Stop { host: HostId, boot: BootId, instance: InstanceId },
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
    /// Copies that live migrations are bringing here. They do not run, and are listed as moving.
    incoming: BTreeMap<InstanceId, Domain>,
    /// What moves took away, until it is back. libvirt remembers it of a persistent domain, and tells it of the others.
    departed: BTreeMap<InstanceId, Domain>,
    changes: watch::Sender<u64>,
}

impl Machine {
    fn power(&self) -> Power {
        if self.boot.is_some() { Power::On } else { Power::Off }
    }

    fn can_move(&self) -> bool {
        match self.hypervisor {
            HypervisorMode::Works | HypervisorMode::LosesAnswer => true,
            HypervisorMode::Fails | HypervisorMode::Hangs | HypervisorMode::Late(_) => false,
        }
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
            incoming: BTreeMap::new(),
            departed: BTreeMap::new(),
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
                Due::Stop { host, boot, instance } => {
                    if self.boot(&host) == Some(boot) {
                        self.stop(&host, instance);
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

    /// Takes a start order, unless the instance runs or the same order waits to be carried out. Returns false when the host
    /// has no power to take it.
    pub(super) fn order_start(&mut self, host: &HostId, domain: Domain, token: Token, after: Millis) -> bool {
        let Some(boot) = self.boot(host) else { return false };
        let instance = domain.instance;
        let order = Due::Start { host: host.clone(), boot, domain, token };
        let runs = self.hosts.get(host).is_some_and(|machine| machine.running.contains_key(&instance));
        if !runs && self.due.values().all(|due| *due != order) {
            self.schedule(after, order);
        }
        true
    }

    /// Returns whether a host has yet to carry out an order to start an instance in its present boot.
    pub(super) fn is_being_started(&self, id: InstanceId, at: &HostId) -> bool {
        let present = self.boot(at);
        self.due.values().any(|due| {
            matches!(due, Due::Start { host, boot, domain, .. }
                if host == at && Some(*boot) == present && domain.instance == id)
        })
    }

    /// Takes an order to stop an instance. A host without power has stopped it already.
    pub(super) fn order_stop(&mut self, host: &HostId, instance: InstanceId, after: Millis) {
        if let Some(boot) = self.boot(host) {
            self.schedule(after, Due::Stop { host: host.clone(), boot, instance });
        }
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
        machine.incoming.clear();
        machine.departed.clear();
        let ended = std::mem::take(&mut machine.running);
        self.note(Happening::PowerOff { host: host.clone(), cause });
        for instance in ended.into_keys() {
            self.drop_incoming(instance);
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
        if machine.incoming.contains_key(&instance) {
            return;
        }
        machine.departed.remove(&instance);
        if machine.running.insert(instance, domain).is_none() {
            machine.changes.send_modify(|changes| *changes += 1);
            self.note(Happening::Started { instance, host: host.clone(), token });
        }
    }

    pub(super) fn stop(&mut self, host: &HostId, instance: InstanceId) {
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let was_coming = machine.incoming.remove(&instance).is_some();
        let ran = machine.running.remove(&instance).is_some();
        if was_coming || ran {
            machine.changes.send_modify(|changes| *changes += 1);
        }
        if ran {
            self.drop_incoming(instance);
            self.note(Happening::Ended { instance, host: host.clone() });
        }
    }

    /// Begins to move what runs elsewhere to a host with power: a copy that does not run yet is listed there.
    pub(super) fn begin_move(&mut self, instance: InstanceId, to: &HostId) {
        let mut homes = self.hosts.iter().filter(|(_, machine)| machine.running.contains_key(&instance));
        let (Some((from, machine)), None) = (homes.next(), homes.next()) else { return };
        let may_move = from != to && self.moves_to(instance).is_none() && machine.can_move();
        let domain = machine.running.get(&instance).filter(|_| may_move).cloned();
        let target = self.hosts.get_mut(to).filter(|machine| machine.boot.is_some() && machine.can_move());
        if let (Some(domain), Some(target)) = (domain, target) {
            target.incoming.insert(instance, domain);
            target.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Ends a move that began, if both hypervisors obey: what runs at its source runs at its target from now on.
    pub(super) fn finish_move(&mut self, instance: InstanceId) {
        let Some(to) = self.moves_to(instance) else { return };
        let ends = |(host, machine): &(&HostId, &Machine)| **host == to || machine.running.contains_key(&instance);
        if !self.hosts.iter().filter(ends).all(|(_, machine)| machine.can_move()) {
            return;
        }
        let domain = self.hosts.get_mut(&to).and_then(|machine| machine.incoming.remove(&instance));
        for from in self.runs_on(instance) {
            self.stop(&from, instance);
            if let (Some(source), Some(domain)) = (self.hosts.get_mut(&from), &domain) {
                source.departed.insert(instance, domain.clone());
            }
        }
        if let Some(domain) = domain {
            self.start(&to, domain, None);
        }
    }

    /// Gives a move up: what is at the target vanishes.
    pub(super) fn drop_incoming(&mut self, instance: InstanceId) {
        for machine in self.hosts.values_mut() {
            if machine.incoming.remove(&instance).is_some() {
                machine.changes.send_modify(|changes| *changes += 1);
            }
        }
    }

    /// Returns the host that an instance is being moved to.
    pub(super) fn moves_to(&self, instance: InstanceId) -> Option<HostId> {
        let mut targets = self.hosts.iter().filter(|(_, machine)| machine.incoming.contains_key(&instance));
        targets.next().map(|(host, _)| host.clone())
    }

    pub(super) fn is_coming(&self, instance: InstanceId, to: &HostId) -> bool {
        self.hosts.get(to).is_some_and(|machine| machine.incoming.contains_key(&instance))
    }

    /// Returns what a host lists: what runs there, what is being moved there, and what moves took away.
    pub(super) fn listed(&self, host: &HostId) -> Vec<Domain> {
        let Some(machine) = self.hosts.get(host) else { return Vec::new() };
        let in_state = |state| move |domain: &Domain| Domain { state, ..domain.clone() };
        let is_away = |(id, _): &(&InstanceId, &Domain)| !machine.incoming.contains_key(id);
        let departed = machine.departed.iter().filter(is_away).map(|(_, domain)| domain);
        let incoming = machine.incoming.values().map(in_state(InstanceState::Moving));
        let departed = departed.map(in_state(InstanceState::Migrated));
        machine.running.values().cloned().chain(incoming).chain(departed).collect()
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
