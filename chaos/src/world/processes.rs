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
mod clock;
mod controllers;
pub mod disk;
mod ear;
pub mod enclosure;
mod found;
mod hosts;
mod inflict;
mod members;
mod moves;
mod net;
mod operator;
mod play;
mod record;
mod rounds;
mod story;
pub mod switch;
mod vocabulary;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use quorumfence_drivers::lab::{Laboratory, Pace};
use quorumfence_drivers::order::Domain;
use quorumfence_machine::{ControllerId, HostId, Millis, SegmentId, Settings};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::nemesis::Sight;
use crate::story::Scene;
use crate::swarm::Profile;
use crate::world::sim::asides::Aside;
use crate::world::sim::homes;
use clock::Workshop;
use controllers::Seat;
use hosts::Station;
pub use inflict::supports;
use members::Members;
use net::Net;
pub use net::OPERATOR;
use operator::{Operator, Statuses};
pub use play::{Played, Wanted, plan, play};
use record::Record;
pub use story::{Staging, tell, unable};
pub use vocabulary::never;

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
    /// Who has a seat, for those who work while seats come and go.
    roll: Roll,
    /// How patient consensus is: the name of a profile.
    patience: &'static str,
    /// Entries between two snapshots of a controller.
    snapshot_after: u64,
    members: Members,
    /// Makes clocks that can be bent; none where nobody bends any.
    workshop: Option<Workshop>,
    /// Clock rate of each controller, in parts per million off this machine's.
    rates: Vec<i32>,
    segment: SegmentId,
    /// The settings in force, as far as nobody refused them.
    settings: Settings,
    /// The settings that people turn back to once all is healed; none where a story says what they do.
    usual: Option<Settings>,
    /// Everything that runs at first, by its name.
    domains: BTreeMap<String, Domain>,
    /// What people were told.
    asides: Asides,
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

/// Controllers that have a seat, and where they are reached. Clones are the same list.
#[derive(Debug, Clone, Default)]
struct Roll(Arc<Mutex<BTreeMap<ControllerId, Ipv4Addr>>>);

impl Roll {
    fn set(&self, seats: &BTreeMap<ControllerId, Seat>) {
        let present = seats.iter().map(|(id, seat)| (*id, seat.address()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = present.collect();
    }

    fn present(&self) -> Vec<ControllerId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn address(&self, id: ControllerId) -> Option<Ipv4Addr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}

/// What people were told, with the time of the run.
#[derive(Debug, Clone, Default)]
struct Asides(Arc<Mutex<Vec<(Millis, Aside)>>>);

impl Asides {
    fn tell(&self, at: Millis, aside: Aside) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, aside));
    }

    fn so_far(&self) -> Vec<(Millis, Aside)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a world of processes begins with.
#[derive(Debug)]
pub struct Opening<'a> {
    /// An empty directory with a short name.
    pub place: &'a Path,
    /// The `quorumfence` program.
    pub program: &'a Path,
    /// The cluster.
    pub scene: &'a Scene,
    /// How patient consensus is.
    pub patience: Profile,
    /// A host whose BMC says off while it runs, from the beginning.
    pub lie: Option<HostId>,
    /// Whether clocks may be bent. Straight ones are the kernel's own.
    pub bends_clocks: bool,
}

impl Processes {
    /// Founds a cluster of processes in a directory, and arms it where its scene says so.
    ///
    /// Must be called inside [`enclosure`], on the main thread, in a runtime of [`runtime`].
    ///
    /// # Errors
    ///
    /// What could not be started, with what it said.
    pub async fn open(opening: Opening<'_>) -> anyhow::Result<Self> {
        let Opening { place, program, scene, patience, lie, bends_clocks } = opening;
        // In this order, or what happens to hardware seems to come before its cause.
        let laboratory = Laboratory::open(Pace::default());
        let record = Record::begin();
        let mut tasks = JoinSet::new();
        let runs = laboratory.clone();
        tasks.spawn(async move { runs.run().await });
        let ears = ear::listen(&place.join("witness"), &record).context("the witness's socket")?;
        let mut processes = Self {
            place: place.into(),
            program: program.into(),
            seed: scene.seed,
            news: laboratory.news(),
            laboratory,
            record,
            net: Net::new(scene.seed).context("the network; it needs root and /dev/net/tun")?,
            operator: Operator::new(place, program),
            statuses: Statuses::default(),
            seats: BTreeMap::new(),
            roll: Roll::default(),
            members: Members::default(),
            patience: match patience {
                Profile::Fast => "fast",
                Profile::Default => "default",
            },
            snapshot_after: scene.snapshot_after,
            workshop: bends_clocks.then(|| Workshop::open(place)).transpose()?,
            rates: scene.drift.clone(),
            segment: scene.segment.id.clone(),
            settings: scene.settings.clone(),
            usual: None,
            domains: BTreeMap::new(),
            asides: Asides::default(),
            stations: BTreeMap::new(),
            lie,
            power_cuts: 0,
            suspicion: play::Suspicion::default(),
            tasks,
            ears,
        };
        processes.found(scene, patience).await?;
        Ok(processes)
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
            up: self.record.admitted(&self.laboratory),
            homes: homes(&self.laboratory, &self.domains),
        }
    }

    /// Lets processes follow what happens to their machines, and notes who ended. Called all the time.
    fn tend(&mut self) -> anyhow::Result<()> {
        self.tend_hosts()?;
        self.tend_controllers()?;
        self.tend_members()?;
        let now = self.record.now();
        self.operator.reap().into_iter().for_each(|why| self.asides.tell(now, Aside::Refused(why)));
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
