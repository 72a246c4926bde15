//! World 1: the production controllers and agents with the real openraft, under one seed and in virtual time.

pub mod asides;
mod controllers;
pub mod disk;
pub mod environment;
mod guilt;
mod hands;
mod hosts;
mod inflict;
mod members;
pub mod network;
mod play;
mod record;
pub mod runtime;
pub mod story;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use quorumfence_drivers::lab::{Laboratory, Pace};
use quorumfence_drivers::order::Domain;
use quorumfence_machine::{
    Actor, Change, ClusterId, ControllerId, EventRecord, Fence, Host, HostId, JoinTokenId, Joiner, LogIndex, Millis,
    Reply, Role, Segment, Settings, Stage, State,
};
use quorumfence_raft::{Expect, Options, Peer, Point};
use tokio::time::Instant;

use crate::chance::Chance;
use crate::nemesis::Sight;
use crate::observation::Seen;
use asides::Asides;
use controllers::{Seat, address};
pub(super) use hands::{COPY, MOVE_MAX, homes, lay_hands};
pub(super) use hosts::{INSTANCES, described, first_boot, next_boot};
use hosts::{Seated, stands};
pub use hosts::{host, instance};
pub(super) use inflict::{bmc as bmc_mode, hypervisor as hypervisor_mode};
use network::{Ether, NetworkEvent, Place, wait_until};
pub(super) use play::due;
pub use play::{Ended, Run, play, play_guilty};
use record::Record;
pub(super) use record::told;
use runtime::{Rate, mix};

/// Patience of every wait in the simulation, in simulated time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with hosts and instances, under one seed.
#[derive(Debug)]
pub struct Sim {
    seed: u64,
    opened: Instant,
    options: Options,
    ether: Arc<Ether>,
    record: Record,
    seats: BTreeMap<ControllerId, Seat>,
    hosts: BTreeMap<HostId, Seated>,
    members: members::Members,
    /// How fast the clocks of controllers go; true where nothing is said.
    rates: BTreeMap<ControllerId, Rate>,
    /// What other hands may start and move, by name.
    domains: BTreeMap<String, Domain>,
    /// The settings that people turn back to once all is healed; none where a story says what they do.
    usual: Option<Settings>,
    moves: hands::Moves,
    asides: Asides,
    /// How often a task stood at each point, on nodes that are no more.
    stood: BTreeMap<Point, u64>,
    /// Who does what an operator does.
    operator: Person,
    chance: Chance,
}

/// Somebody at the command line, and the reason that they type.
#[derive(Debug, Clone, Copy)]
struct Person {
    name: &'static str,
    reason: &'static str,
}

fn add(sums: &mut BTreeMap<Point, u64>, parts: BTreeMap<Point, u64>) {
    for (point, times) in parts {
        *sums.entry(point).or_default() += times;
    }
}

/// Runs a simulation to its end on a scheduler that `seed` decides.
pub fn run<T, F>(seed: u64, play: impl FnOnce(Sim) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()?;
    runtime.block_on(async { play(Sim::new(seed)).await })
}

impl Sim {
    fn new(seed: u64) -> Self {
        let laboratory = Laboratory::open(Pace::default());
        let ether = Ether::new(laboratory.clone(), mix(seed));
        let record = Record::new(laboratory.clone());
        let clerk = record.clone();
        ether.set_witness(Arc::new(move |event| match event {
            NetworkEvent::OffSent { controller, host } => clerk.see(Seen::OffSent { controller, host }),
        }));
        runtime::in_the_world(async move { laboratory.run().await });
        Self {
            seed,
            opened: Instant::now(),
            options: Options::default(),
            ether,
            record,
            seats: BTreeMap::new(),
            hosts: BTreeMap::new(),
            members: members::Members::default(),
            rates: BTreeMap::new(),
            domains: BTreeMap::new(),
            usual: None,
            moves: hands::Moves::new(),
            asides: Asides::default(),
            stood: BTreeMap::new(),
            operator: Person { name: "chaos", reason: "chaos" },
            chance: Chance::new(seed, "world"),
        }
    }

    /// Returns how often a task stood at each point.
    pub fn stood(&self) -> BTreeMap<Point, u64> {
        let mut stood = self.stood.clone();
        let nodes = self.seats.values().map(|seat| &seat.node).chain(self.hosts.values().map(|seated| &seated.node));
        nodes.for_each(|node| add(&mut stood, node.stood()));
        stood
    }

    /// Returns the truth about the hardware.
    pub fn laboratory(&self) -> &Laboratory {
        &self.ether.laboratory
    }

    /// Cuts a host off the network; its power and its BMC stay.
    pub fn isolate(&self, host: &HostId) {
        self.ether.cut_all(Place::Host(host.clone()));
    }

    /// Returns the controller that leads, as its own replica sees it.
    pub fn leader(&self) -> Option<ControllerId> {
        self.ids().into_iter().find(|id| {
            let station = self.ether.station(*id);
            station.is_some_and(|station| station.replica.leadership().borrow().lead_term.is_some())
        })
    }

    /// Returns the controllers that run.
    pub fn ids(&self) -> Vec<ControllerId> {
        self.seats.keys().copied().filter(|id| self.ether.station(*id).is_some()).collect()
    }

    /// Looks at one controller's state.
    pub fn read<T>(&self, id: ControllerId, look: impl FnOnce(&State) -> T) -> Option<T> {
        self.ether.station(id).map(|station| station.replica.read(look))
    }

    /// Waits until some running controller's state satisfies `holds`.
    pub async fn wait_for(&self, what: &str, holds: impl Fn(&State) -> bool) -> anyhow::Result<()> {
        let seen =
            wait_until(PATIENCE, || async { self.ids().into_iter().any(|id| self.read(id, &holds).unwrap_or(false)) });
        ensure!(seen.await, "{what} did not happen within {PATIENCE:?} of simulated time");
        Ok(())
    }

    /// Lets simulated time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Proposes a change as an operator, through any controller.
    pub async fn propose(&self, change: Change) -> anyhow::Result<(LogIndex, Reply)> {
        let id = self.leader().or_else(|| self.ids().first().copied()).context("no controller runs")?;
        let station = self.ether.station(id).context("the controller left")?;
        let by = Actor::Operator("chaos".into());
        let proposed = station.node.spawn(async move { station.replica.propose(by, None, change).await });
        Ok(proposed.await??)
    }

    /// Bootstraps three controllers, `hosts` hosts and one instance on each, and waits until all is green and armed.
    pub async fn bootstrap(&mut self, hosts: u8, settings: Settings) -> anyhow::Result<()> {
        self.bootstrap_with(hosts, settings, Segment::default()).await
    }

    /// The same, with a segment of the default name and another policy.
    pub async fn bootstrap_with(&mut self, hosts: u8, settings: Settings, segment: Segment) -> anyhow::Result<()> {
        self.found(3, hosts, 1, (settings, segment)).await
    }

    async fn found(
        &mut self,
        controllers: u8,
        hosts: u8,
        instances_per_host: u8,
        (settings, segment): (Settings, Segment),
    ) -> anyhow::Result<()> {
        let run = format!("seed {}", self.seed);
        self.record.see(Seen::Opened { run, settings: settings.clone(), segment: segment.clone() });
        self.first_controller(settings).await?;
        for number in 2..=controllers {
            self.join_controller(u64::from(number)).await?;
        }
        self.propose(Change::SegmentCreate { segment }).await?;
        for number in 1..=hosts {
            self.add_host(number, instances_per_host).await?;
        }
        let instances = usize::from(hosts) * usize::from(instances_per_host);
        self.wait_for("every host admitted", |state| {
            state.hosts().all(|host| host.up_boot().is_some()) && state.instances().count() == instances
        })
        .await?;
        self.propose(Change::Arm { reason: "the simulation starts".into() }).await?;
        Ok(())
    }

    async fn first_controller(&mut self, settings: Settings) -> anyhow::Result<()> {
        let first = ControllerId(1);
        self.seat(first, Expect::New).await?;
        let station = self.ether.station(first).context("the first controller ended")?;
        let replica = station.replica.clone();
        station.node.spawn(async move { replica.initialize_first(address(first)).await }).await??;
        ensure!(wait_until(PATIENCE, || async { self.leader().is_some() }).await, "the first controller does not lead");
        let cluster = ClusterId([7; 16]);
        self.propose(Change::ClusterCreate { cluster, name: "sim".into(), address: address(first), settings }).await?;
        Ok(())
    }

    async fn join_controller(&mut self, number: u64) -> anyhow::Result<()> {
        let joiner = Joiner::Controller { address: address(ControllerId(number)) };
        let (_, reply) = self.join(&format!("controller-{number}"), Role::Controller, joiner).await?;
        let Reply::Controller(id) = reply else { anyhow::bail!("a controller joins with an id, not with {reply:?}") };
        self.seat(id, Expect::New).await?;
        let leader = self.leader().and_then(|id| self.ether.station(id)).context("nobody leads")?;
        let (replica, peer) = (leader.replica.clone(), Peer { id, address: address(id) });
        leader.node.spawn(async move { replica.add_learner(peer).await }).await??;
        let promoted = wait_until(PATIENCE, || async {
            let replica = leader.replica.clone();
            let promoting = leader.node.spawn(async move { replica.promote(id).await.is_ok() });
            promoting.await.unwrap_or(false)
        });
        ensure!(promoted.await, "{id} cannot be promoted");
        Ok(())
    }

    async fn join(&self, name: &str, role: Role, joiner: Joiner) -> anyhow::Result<(LogIndex, Reply)> {
        let id: JoinTokenId = name.parse()?;
        let secret_hash = [1; 32];
        let create = Change::JoinTokenCreate { id: id.clone(), secret_hash, role, life: Millis(600_000), uses: 1 };
        self.propose(create).await?;
        self.propose(Change::Join { id, secret_hash, joiner }).await
    }

    /// Returns what the nemesis may see.
    fn sight(&self) -> Sight {
        let (mut fenced, mut permitted, mut targets, mut up) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let leader = self.leader();
        if let Some(id) = leader.or_else(|| self.ids().first().copied()) {
            self.read(id, |state| {
                fenced.extend(state.hosts().filter(|row| !stands(row)).map(|row| row.id.clone()));
                let open = |fence: &&Fence| {
                    !matches!(fence.stage, Stage::Proven { .. }) && fence.permits.iter().any(|permit| !permit.ended)
                };
                permitted.extend(state.fences().filter(open).map(|fence| fence.host.clone()));
                targets.extend(state.instances().filter_map(hosts::target));
                let reports = |row: &&Host| {
                    let boot = row.agent.as_ref().map(|facts| facts.boot);
                    boot.is_some() && boot == self.laboratory().boot(&row.id)
                };
                up.extend(state.hosts().filter(reports).map(|row| row.id.clone()));
            });
        }
        let all = self.hosts.keys();
        Sight {
            leader,
            controllers: self.seats.keys().copied().collect(),
            running: self.ids(),
            hosts: all.clone().cloned().collect(),
            off: all.filter(|host| !self.laboratory().is_on(host)).cloned().collect(),
            fenced,
            permitted,
            targets,
            up,
            homes: homes(self.laboratory(), &self.domains),
        }
    }

    /// Returns everything that can be compared between two runs: what the network carried, what happened to the
    /// hardware, what the log says.
    pub fn testimony(&self) -> Vec<String> {
        let mut lines = self.ether.trace();
        lines.extend(self.laboratory().facts().iter().map(ToString::to_string));
        for id in self.ids() {
            let events: Vec<EventRecord> =
                self.read(id, |state| state.events_from(0).cloned().collect()).unwrap_or_default();
            lines.extend(events.iter().map(|row| format!("{id} {} {} {}", row.at, row.clock.0, row.event)));
            lines.extend(self.read(id, |state| format!("{id} digest {}", state.digest())));
        }
        lines
    }
}
