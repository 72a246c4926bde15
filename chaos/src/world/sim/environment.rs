//! What the production loops see of the simulation.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumfence_drivers::lab::LaboratoryHypervisor;
use quorumfence_machine::{ControllerId, Device, Doubt, Driver, HostId, Millis, Outcome, Refusal, WallMillis};
use quorumfence_node::environment::{AgentEnvironment, Devices, Environment, Probes};
use quorumfence_raft::{Clock, Point};
use tokio::time::Instant;

use super::disk::SimDisk;
use super::network::{Ether, SimBmc, SimLink, SimTransport};
use super::runtime::{Node, SimRuntime};

/// Controllers and agents of the simulation.
#[derive(Debug)]
pub struct SimEnvironment;

impl quorumfence_raft::Environment for SimEnvironment {
    type Runtime = SimRuntime;
    type Kv = SimDisk;
    type Files = SimDisk;
    type Transport = SimTransport;
    type Clock = SimClock;

    fn pass(point: Point) -> impl Future<Output = ()> + Send {
        pass(point)
    }
}

impl Environment for SimEnvironment {
    type Devices = SimDevices;
    type Probes = SimProbes;

    fn random() -> u64 {
        Node::current().map_or(0, |node| node.draw())
    }
}

impl AgentEnvironment for SimEnvironment {
    type Runtime = SimRuntime;
    type Clock = SimClock;
    type Hypervisor = LaboratoryHypervisor;
    type Link = SimLink;

    fn random() -> u64 {
        Node::current().map_or(0, |node| node.draw())
    }

    fn pass(point: Point) -> impl Future<Output = ()> + Send {
        pass(point)
    }
}

/// Stands still where the nemesis wants it.
async fn pass(point: Point) {
    if let Some(node) = Node::current() {
        node.pass(point).await;
    }
}

/// The clocks of one machine: simulated time at the rate of its node, with an offset.
#[derive(Debug, Clone)]
pub struct SimClock {
    pub(super) opened: Instant,
    pub(super) offset: Millis,
    /// Whose rate and wall clock these are.
    pub(super) node: Arc<Node>,
}

/// 2026-01-01T00:00:00Z: a wall clock that is the same in every run.
const WALL: u64 = 1_767_225_600_000;

impl Clock for SimClock {
    fn now(&self) -> Millis {
        let elapsed = self.node.rate().local(self.opened.elapsed());
        Millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)) + self.offset
    }

    fn wall(&self) -> WallMillis {
        WallMillis((WALL + self.now().0).saturating_add_signed(self.node.wall_offset_ms()))
    }
}

/// Makes drivers of the laboratory's BMCs, as one controller reaches them.
#[derive(Debug, Clone)]
pub struct SimDevices {
    pub(super) ether: Arc<Ether>,
    pub(super) me: ControllerId,
}

impl Devices for SimDevices {
    type Device = SimBmc;

    fn device(&self, host: &HostId, device: &Device) -> Outcome<SimBmc> {
        match device.driver {
            Driver::Laboratory => Outcome::Observed(SimBmc::behind(Arc::clone(&self.ether), self.me, host, device)),
            Driver::Ipmi => Outcome::Refused(Refusal::Unsupported),
        }
    }
}

/// Nobody answers ping here: hosts are enrolled without it.
#[derive(Debug, Clone)]
pub struct SimProbes;

impl Probes for SimProbes {
    async fn ping(&self, _address: &str, deadline: Duration) -> Outcome<bool> {
        SimRuntime::sleep(deadline).await;
        Outcome::Unknown(Doubt::Timeout)
    }

    async fn health(&self, _endpoint: &str, deadline: Duration) -> Outcome<bool> {
        SimRuntime::sleep(deadline).await;
        Outcome::Unknown(Doubt::Timeout)
    }
}
