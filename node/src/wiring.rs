//! What production runs on: the only place that names the system's clock, network, database and devices together.

pub mod agent;
pub mod controller;
mod devices;
pub mod dial;
mod hypervisor;
mod link;
mod probes;
mod stalls;
pub mod testimony;

use quorumfence_raft::{Folder, Grpc, Point, Rocks, SystemClock, TokioRuntime};

pub use self::devices::SealedDevices;
pub use self::hypervisor::HostHypervisor;
pub use self::link::GrpcLink;
pub use self::probes::NetworkProbes;
use crate::environment::{AgentEnvironment, Environment};

/// The real world.
#[derive(Debug)]
pub struct Production;

impl quorumfence_raft::Environment for Production {
    type Runtime = TokioRuntime;
    type Kv = Rocks;
    type Files = Folder;
    type Transport = Grpc;
    type Clock = SystemClock;

    fn pass(point: Point) -> impl Future<Output = ()> + Send {
        stalls::pass(point)
    }
}

impl Environment for Production {
    type Devices = SealedDevices;
    type Probes = NetworkProbes;

    fn random() -> u64 {
        chance()
    }
}

impl AgentEnvironment for Production {
    type Runtime = TokioRuntime;
    type Clock = SystemClock;
    type Hypervisor = HostHypervisor;
    type Link = GrpcLink;

    fn random() -> u64 {
        chance()
    }

    fn pass(point: Point) -> impl Future<Output = ()> + Send {
        stalls::pass(point)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the environment that others get their chance from")]
fn chance() -> u64 {
    rand::random()
}

/// Returns once the process is told to stop.
async fn told_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
