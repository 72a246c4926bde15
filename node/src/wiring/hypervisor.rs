//! The hypervisor of an agent's host: libvirt, or the laboratory's where the configuration says so.

use std::time::Duration;

use quorumfence_drivers::hypervisor::libvirt::Libvirt;
use quorumfence_drivers::lab::remote::RemoteHypervisor;
use quorumfence_drivers::order::{Domain, Hypervisor, StartOrder};
use quorumfence_machine::{InstanceId, InstanceState, Outcome};

/// The hypervisor that a configuration names.
#[derive(Debug)]
pub enum HostHypervisor {
    /// A real one.
    Libvirt(Libvirt),
    /// The laboratory's, behind a socket. It cannot be made without a laboratory.
    Laboratory(RemoteHypervisor),
}

impl Hypervisor for HostHypervisor {
    async fn inventory(&self, deadline: Duration) -> Outcome<Vec<Domain>> {
        match self {
            Self::Libvirt(libvirt) => libvirt.inventory(deadline).await,
            Self::Laboratory(laboratory) => laboratory.inventory(deadline).await,
        }
    }

    async fn start(&self, order: StartOrder, deadline: Duration) -> Outcome<InstanceState> {
        match self {
            Self::Libvirt(libvirt) => libvirt.start(order, deadline).await,
            Self::Laboratory(laboratory) => laboratory.start(order, deadline).await,
        }
    }

    async fn stop(&self, instance: InstanceId, deadline: Duration) -> Outcome<InstanceState> {
        match self {
            Self::Libvirt(libvirt) => libvirt.stop(instance, deadline).await,
            Self::Laboratory(laboratory) => laboratory.stop(instance, deadline).await,
        }
    }

    async fn changed(&self) {
        match self {
            Self::Libvirt(libvirt) => libvirt.changed().await,
            Self::Laboratory(laboratory) => laboratory.changed().await,
        }
    }
}
