//! The laboratory: simulated hardware, and the truth about it.
//!
//! It is the witness. Hosts, BMCs and instances live here, and every fact about them is written down when it happens,
//! whatever the controllers believe. Simulated drivers are made only from a [`Laboratory`]: without one there is no
//! way to have them, so no production path can fence by pretending.

mod bmc;
mod fact;
#[cfg(test)]
mod tests;
mod vm;
mod world;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use bmc::LaboratoryBmc;
pub use fact::{Cause, Fact, Happening};
use quorumfence_machine::{BootId, HostId, InstanceId, Millis, SystemUuid};
use tokio::time::Instant;
pub use vm::LaboratoryHypervisor;
pub use world::BmcMode;
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
        let at = self.now();
        self.world().start(at, host, domain);
    }

    /// Cuts a host's power from outside.
    pub fn cut_power(&self, host: &HostId) {
        let at = self.now();
        self.world().power_off(at, host, Cause::Outside);
    }

    /// Gives a host its power back; it boots anew.
    pub fn restore_power(&self, host: &HostId, boot: BootId) {
        let at = self.now();
        self.world().power_on(at, host, boot);
    }

    /// Sets how a host's BMC behaves.
    pub fn set_bmc(&self, host: &HostId, mode: BmcMode) {
        self.world().set_bmc(host, mode);
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
        self.world().facts.clone()
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
        Millis(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX))
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
