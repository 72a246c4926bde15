//! The laboratory: simulated hardware, and the truth about it.
//!
//! It is the witness. Hosts, BMCs and instances live here, and every fact about them is written down when it happens,
//! whatever the controllers believe. Simulated drivers are made only from a [`Laboratory`]: without one there is no
//! way to have them, so no production path can fence by pretending.

mod bmc;
mod fact;
mod mode;
pub mod remote;
#[cfg(test)]
mod tests;
mod vm;
mod world;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use bmc::LaboratoryBmc;
pub use fact::{Cause, Fact, Happening};
pub use mode::{BmcMode, HypervisorMode};
use quorumfence_machine::{BootId, HostId, InstanceId, Millis, SystemUuid};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
pub use vm::LaboratoryHypervisor;
use world::World;

use crate::order::Domain;

/// Simulated hardware that several drivers and one judge share.
#[derive(Clone)]
pub struct Laboratory {
    world: Arc<Mutex<World>>,
    opened: Instant,
    /// How long a BMC takes to answer, and a hypervisor to start an instance.
    pace: Pace,
}

/// How long simulated parts take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// One answer of a BMC.
    pub bmc: Duration,
    /// From the off order to the power being off.
    pub power_off: Duration,
    /// From the start order to the instance running.
    pub start: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bmc: Duration::from_millis(3), power_off: Duration::from_millis(50), start: Duration::from_millis(40) }
    }
}

impl Laboratory {
    /// Opens an empty laboratory. Its clock is the runtime's, so it runs in virtual time where the runtime does.
    pub fn open(pace: Pace) -> Self {
        Self { world: Arc::default(), opened: Instant::now(), pace }
    }

    /// Adds a host, powered on in its first boot.
    pub fn add_host(&self, host: HostId, machine: SystemUuid, boot: BootId) {
        self.world().add_host(host, machine, boot);
    }

    /// Makes an instance run on a host, as it did before the cluster knew it.
    pub fn seed_instance(&self, host: &HostId, domain: Domain) {
        self.world().start(host, domain, None);
    }

    /// Ends an instance wherever it runs, as when somebody shuts it down from within.
    pub fn end_instance(&self, instance: InstanceId) {
        let homes = self.runs_on(instance);
        homes.iter().for_each(|host| self.world().stop(host, instance));
    }

    /// Begins to move an instance to another host while it runs, if both hypervisors obey. Its copy there is listed as
    /// moving until the move is finished or given up, or either host loses its power.
    pub fn begin_move(&self, instance: InstanceId, to: &HostId) {
        self.world().begin_move(instance, to);
    }

    /// Finishes a move that began, if both hypervisors obey: the instance runs at its target, and at its source no more.
    pub fn finish_move(&self, instance: InstanceId) {
        self.world().finish_move(instance);
    }

    /// Gives a move up that began: the instance goes on at its source.
    pub fn abandon_move(&self, instance: InstanceId) {
        self.world().drop_incoming(instance);
    }

    /// Returns the host that an instance is being moved to.
    pub fn moves_to(&self, instance: InstanceId) -> Option<HostId> {
        self.world().moves_to(instance)
    }

    /// Cuts a host's power from outside.
    pub fn cut_power(&self, host: &HostId) {
        self.world().power_off(host, Cause::Outside);
    }

    /// Gives a host its power back; it boots anew.
    pub fn restore_power(&self, host: &HostId, boot: BootId) {
        self.world().power_on(host, boot);
    }

    /// Sets how a host's BMC behaves. What it accepted before happens all the same.
    pub fn set_bmc(&self, host: &HostId, mode: BmcMode) {
        self.world().set_bmc(host, mode);
    }

    /// Sets how a host's hypervisor behaves. What it accepted before happens all the same.
    pub fn set_hypervisor(&self, host: &HostId, mode: HypervisorMode) {
        self.world().set_hypervisor(host, mode);
    }

    /// Returns whether a host has power.
    pub fn is_on(&self, host: &HostId) -> bool {
        self.world().is_on(host)
    }

    /// Returns the boot that a host is in; `None` while it has no power.
    pub fn boot(&self, host: &HostId) -> Option<BootId> {
        self.world().boot(host)
    }

    /// Returns where an instance runs; more than one host is a broken promise S1.
    pub fn runs_on(&self, instance: InstanceId) -> Vec<HostId> {
        self.world().runs_on(instance)
    }

    /// Returns every fact so far, in order.
    pub fn facts(&self) -> Vec<Fact> {
        self.facts_from(0)
    }

    /// Returns the facts from number `first` on, counted from zero, in order.
    pub fn facts_from(&self, first: usize) -> Vec<Fact> {
        self.world().facts_from(first)
    }

    /// Returns the number of facts. Who must act on what happens, as a host that boots by itself, waits for it to
    /// change and reads the facts that came; [`Self::run`] sees to it that they come in time.
    pub fn news(&self) -> watch::Receiver<usize> {
        self.world().news.subscribe()
    }

    /// Lets everything happen at its moment, until dropped. Without it, what is due happens when somebody looks.
    pub async fn run(&self) {
        let mut next_due = self.world().next_due.subscribe();
        loop {
            let due = *next_due.borrow_and_update();
            let happens = async {
                match due {
                    Some(at) => sleep_until(self.opened + Duration::from(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = next_due.changed() => assert!(changed.is_ok(), "this handle holds the world"),
                () = happens => drop(self.world()),
            }
        }
    }

    /// Returns the BMC of a host as a fencing driver.
    pub fn bmc(&self, host: &HostId) -> LaboratoryBmc {
        LaboratoryBmc::new(self.clone(), host.clone())
    }

    /// Returns the hypervisor of a host.
    pub fn hypervisor(&self, host: &HostId) -> LaboratoryHypervisor {
        LaboratoryHypervisor::new(self.clone(), host.clone())
    }

    /// Returns the time since the laboratory opened.
    pub fn now(&self) -> Millis {
        millis(self.opened.elapsed())
    }

    /// Returns the world as it is now: what was due has happened. It has no invariant that a panic in the middle could
    /// break, so a poisoned lock is taken all the same.
    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.now());
        world
    }
}

impl fmt::Debug for Laboratory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Laboratory").field("now", &self.now()).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
