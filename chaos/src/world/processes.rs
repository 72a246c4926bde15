//! World 2: real `quorumfence` binaries, judged by what the laboratory and the controllers' witness saw.
//!
//! ```text
//!   namespace each:  controllers ── TLS, Raft ── agents        BMCs (RMCP+ over UDP)
//!                        │  └──────── ipmi ─────────┼──────────────┤
//!                     witness                   hypervisor      power
//!                        ▼                          ▼              ▼
//!   this process:     record ◀── facts ──────── laboratory: what really happened
//!                        └──▶ the court, once the run is over
//! ```
//!
//! Everything runs in namespaces that end with this process ([`enclosure`]). Time is real, so a seed repeats the faults
//! and not the run. What is seen carries the time of one clock, which all processes of a machine share; it is sorted by
//! that before it is judged, because it arrives here through several sockets.

pub mod bmc;
mod clients;
mod controllers;
pub mod disk;
mod ear;
pub mod enclosure;
mod found;
mod hosts;
mod inflict;
mod net;
mod operator;
mod play;
mod record;
pub mod switch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use quorumfence_drivers::lab::{Laboratory, Pace};
use quorumfence_machine::{ControllerId, HostId};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::nemesis::Sight;
use crate::swarm::Shape;
use controllers::Seat;
use hosts::Station;
pub use inflict::supports;
use net::Net;
pub use net::{OPERATOR, controller_address};
use operator::{Operator, Statuses};
pub use play::{Played, Wanted, plan, play};
use record::Record;

/// Longest wait for one step of the founding.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// A cluster of processes.
#[derive(Debug)]
pub struct Processes {
    place: PathBuf,
    program: PathBuf,
    seed: u64,
    laboratory: Laboratory,
    /// How many facts there are.
    news: watch::Receiver<usize>,
    record: Record,
    net: Net,
    operator: Operator,
    statuses: Statuses,
    seats: BTreeMap<ControllerId, Seat>,
    stations: BTreeMap<HostId, Station>,
    /// The host whose BMC lies from the beginning.
    lie: Option<HostId>,
    /// So many power cuts of controllers: each loses something else.
    power_cuts: u64,
    suspicion: play::Suspicion,
    /// Carry the laboratory's power and the processes' words.
    tasks: JoinSet<()>,
    /// Hear the witnesses; they end when all controllers are dead.
    ears: ear::Ears,
}

/// Where a client reaches the cluster, from inside the operator's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The operator's context: identity and addresses.
    pub context: PathBuf,
    /// Each controller's `address:port`.
    pub controllers: BTreeMap<ControllerId, String>,
}

impl Processes {
    /// Founds a cluster of processes in a directory and arms it.
    ///
    /// The BMC of a host that is named as a `lie` says off while the host runs. Must be called inside [`enclosure`], on the main thread, in a runtime of [`runtime`].
    ///
    /// # Errors
    ///
    /// What could not be started, with what it said.
    pub async fn open(
        place: &Path,
        program: &Path,
        seed: u64,
        shape: &Shape,
        lie: Option<HostId>,
    ) -> anyhow::Result<Self> {
        let record = Record::begin();
        let laboratory = Laboratory::open(Pace::default());
        let mut tasks = JoinSet::new();
        let runs = laboratory.clone();
        tasks.spawn(async move { runs.run().await });
        let ears = ear::listen(&place.join("witness"), &record).context("the witness's socket")?;
        let mut processes = Self {
            place: place.into(),
            program: program.into(),
            seed,
            news: laboratory.news(),
            laboratory,
            record,
            net: Net::new(seed).context("the network; it needs root and /dev/net/tun")?,
            operator: Operator::new(place, program),
            statuses: Statuses::default(),
            seats: BTreeMap::new(),
            stations: BTreeMap::new(),
            lie,
            power_cuts: 0,
            suspicion: play::Suspicion::default(),
            tasks,
            ears,
        };
        processes.found(shape).await?;
        Ok(processes)
    }

    /// Returns where clients reach the cluster.
    pub fn endpoints(&self) -> Endpoints {
        let controllers = self.seats.keys().map(|id| (*id, controller_address(*id))).collect();
        Endpoints { context: self.operator.context(), controllers }
    }

    /// Returns the truth about the hardware.
    pub fn laboratory(&self) -> &Laboratory {
        &self.laboratory
    }

    /// Returns the controller that says that it leads.
    pub fn leader(&self) -> Option<ControllerId> {
        self.statuses.leader()
    }

    /// Returns what the nemesis may see.
    fn sight(&self) -> Sight {
        let running = self.seats.iter().filter(|(_, seat)| seat.runs()).map(|(id, _)| *id);
        let (fenced, targets) = self.record.troubled();
        let all = self.stations.keys();
        Sight {
            leader: self.leader(),
            controllers: self.seats.keys().copied().collect(),
            running: running.collect(),
            hosts: all.clone().cloned().collect(),
            off: all.filter(|host| !self.laboratory.is_on(host)).cloned().collect(),
            fenced,
            // Nobody outside sees a permit; a fence that runs is close enough.
            permitted: Vec::new(),
            targets,
        }
    }

    /// Lets processes follow what happens to their machines, and notes who ended. Called all the time.
    fn tend(&mut self) -> anyhow::Result<()> {
        self.tend_hosts()?;
        self.tend_controllers()?;
        self.operator.reap();
        Ok(())
    }
}

/// Makes the runtime for a world of processes: its threads, and the calling one, live in the operator's namespace.
///
/// # Errors
///
/// Namespaces need root.
pub fn runtime() -> anyhow::Result<Runtime> {
    let namespace = net::operators_namespace().context("a network namespace; it needs root")?;
    namespace.enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || {
            let entered = namespace.enter();
            assert!(entered.is_ok(), "what one thread may enter, every thread may");
        })
        .build()?;
    Ok(runtime)
}

/// Waits until something holds.
async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = clock();
    while !holds().await? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
fn clock() -> Instant {
    Instant::now()
}
