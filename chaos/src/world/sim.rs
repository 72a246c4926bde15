//! World 1: the production controllers and agents with the real openraft, under one seed and in virtual time.

pub mod disk;
pub mod environment;
pub mod network;
pub mod runtime;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use quorumfence_drivers::lab::{Laboratory, Pace};
use quorumfence_drivers::order::Domain;
use quorumfence_machine::{
    Actor, BootId, Change, ClusterId, ControllerId, Device, Driver, Enrolment, EventRecord, HostId, InstanceId,
    InstanceState, JoinTokenId, Joiner, Level, LogIndex, Millis, Reply, Role, Segment, Settings, State, SystemUuid,
};
use quorumfence_node::agent::{self, Agent};
use quorumfence_node::controller::{self, Controller};
use quorumfence_raft::{Expect, Fatal, Identity, Options, Peer, Replica};
use tokio::time::Instant;

use disk::SimDisk;
use environment::{SimClock, SimDevices, SimEnvironment, SimProbes};
use network::{Ether, Place, SimLink, SimTransport, Station, wait_until};
use runtime::{Node, mix};

/// Patience of every wait in the simulation, in simulated time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of three controllers, with hosts and instances, under one seed.
#[derive(Debug)]
pub struct Sim {
    seed: u64,
    opened: Instant,
    ether: Arc<Ether>,
    disks: BTreeMap<ControllerId, SimDisk>,
    hosts: BTreeMap<HostId, Arc<Node>>,
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
        let ether = Ether::new(Laboratory::open(Pace::default()), mix(seed));
        Self { seed, opened: Instant::now(), ether, disks: BTreeMap::new(), hosts: BTreeMap::new() }
    }

    /// Returns the truth about the hardware.
    pub fn laboratory(&self) -> &Laboratory {
        &self.ether.laboratory
    }

    /// Cuts a host off the network; its power and its BMC stay.
    pub fn isolate(&self, host: &HostId) {
        self.ether.cut(Place::Host(host.clone()));
    }

    /// Cuts a host's power: its tasks end where they stand.
    pub fn cut_power(&self, host: &HostId) {
        self.ether.note(format_args!("power cut {host}"));
        self.laboratory().cut_power(host);
        if let Some(node) = self.hosts.get(host) {
            node.kill();
        }
    }

    /// Cuts a controller's power. What its disk had not synced is lost, but for what `keep` says.
    pub fn crash(&self, id: ControllerId, keep: u64) {
        self.ether.note(format_args!("crash {id}"));
        if let Some(station) = self.ether.remove(id) {
            station.node.kill();
        }
        if let Some(disk) = self.disks.get(&id) {
            disk.cut_power(keep);
        }
    }

    /// Stops a controller's process for a while, and lets it go on.
    pub async fn pause(&self, ids: &[ControllerId], time: Duration) {
        let stations: Vec<Station> = ids.iter().filter_map(|id| self.ether.station(*id)).collect();
        self.ether.note(format_args!("pause {ids:?}"));
        stations.iter().for_each(|station| station.node.pause());
        tokio::time::sleep(time).await;
        stations.iter().for_each(|station| station.node.resume());
    }

    /// Starts a crashed controller again from its disk.
    pub async fn restart(&mut self, id: ControllerId) -> anyhow::Result<()> {
        self.ether.note(format_args!("restart {id}"));
        self.start_controller(id, Expect::Existing).await.map(drop)
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
        self.disks.keys().copied().filter(|id| self.ether.station(*id).is_some()).collect()
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
        self.first_controller(settings).await?;
        for number in 2..=3 {
            self.join_controller(number).await?;
        }
        self.propose(Change::SegmentCreate { segment }).await?;
        for number in 1..=hosts {
            self.add_host(number).await?;
        }
        self.wait_for("every host admitted", |state| {
            state.hosts().all(|host| host.up_boot().is_some()) && state.instances().count() == usize::from(hosts)
        })
        .await?;
        self.propose(Change::Arm { reason: "the simulation starts".into() }).await?;
        Ok(())
    }

    async fn first_controller(&mut self, settings: Settings) -> anyhow::Result<()> {
        let first = ControllerId(1);
        let station = self.start_controller(first, Expect::New).await?;
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
        self.start_controller(id, Expect::New).await?;
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

    async fn start_controller(&mut self, id: ControllerId, expect: Expect) -> anyhow::Result<Station> {
        let node = Node::new(mix(self.seed ^ (id.0 << 32)));
        let disk = self.disks.entry(id).or_default().clone();
        let clock = SimClock { opened: self.opened, offset: Millis(id.0 * 100_000) };
        let ether = Arc::clone(&self.ether);
        let setup = quorumfence_raft::Setup {
            identity: Identity { cluster: ClusterId([7; 16]).to_string(), node: id.0 },
            expect,
            options: Options::default(),
            kv: disk.clone(),
            files: disk,
            transport: SimTransport { ether: Arc::clone(&ether), me: id },
            clock,
            fatal: Fatal::new(move |error| ether.note(format_args!("fatal {error}"))),
            witness: None,
        };
        let replica = node.spawn(Replica::<SimEnvironment>::open(setup)).await??;
        let setup = controller::Setup {
            replica: replica.clone(),
            devices: SimDevices(Arc::clone(&self.ether)),
            probes: SimProbes,
            clock,
        };
        let controller = node.spawn(async move { Controller::start(setup) }).await?;
        let station = Station { node, replica, controller: Some(controller) };
        self.ether.install(id, station.clone());
        Ok(station)
    }

    async fn add_host(&mut self, number: u8) -> anyhow::Result<()> {
        let (host, boot) = (host(number), boot(number));
        self.laboratory().add_host(host.clone(), SystemUuid([number; 16]), boot);
        self.laboratory().seed_instance(&host, domain(number));
        self.join(host.as_str(), Role::Agent, Joiner::Agent { host: host.clone() }).await?;
        let enrolment =
            Enrolment { segment: Segment::default().id, ping: None, health: None, levels: vec![level(number)] };
        self.propose(Change::HostEnrol { host: host.clone(), enrolment }).await?;
        let node = Node::new(mix(self.seed ^ (u64::from(number) << 48)));
        let setup = agent::Setup {
            host: host.clone(),
            boot,
            system_uuid: Some(SystemUuid([number; 16])),
            memory_mib: 4096,
            lease: agent::LEASE,
            controllers: self.ids().into_iter().map(|id| Peer { id, address: address(id) }).collect(),
            hypervisor: self.laboratory().hypervisor(&host),
            link: SimLink { ether: Arc::clone(&self.ether), host: host.clone() },
            clock: SimClock { opened: self.opened, offset: Millis(u64::from(number) * 7_000) },
            found: Box::new(|_| {}),
        };
        node.spawn(async move { drop(Agent::<SimEnvironment>::start(setup)) }).await?;
        self.hosts.insert(host, node);
        Ok(())
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

/// Returns the name of host `number`.
pub fn host(number: u8) -> HostId {
    format!("host{number}").parse().expect("'host' and digits are a name")
}

/// Returns the instance that runs on host `number` at first.
pub fn instance(number: u8) -> InstanceId {
    InstanceId([number; 16])
}

fn boot(number: u8) -> BootId {
    BootId([number; 16])
}

fn address(id: ControllerId) -> String {
    format!("{id}:7700")
}

fn level(number: u8) -> Level {
    let device = Device {
        driver: Driver::Laboratory,
        address: format!("bmc{number}:623"),
        user: "fence".into(),
        sealed_password: Vec::new(),
        suite: None,
        identity: Some(SystemUuid([number; 16])),
    };
    Level { devices: vec![device] }
}

fn domain(number: u8) -> Domain {
    let id = instance(number);
    let definition = format!(
        "<domain type='qemu'><name>vm{number}</name><uuid>{id}</uuid><memory unit='MiB'>64</memory>\
         <metadata><vm xmlns='https://quorumfence.dev/xmlns/vm/1' enabled='true'/></metadata></domain>"
    );
    Domain {
        instance: id,
        name: format!("vm{number}"),
        state: InstanceState::Running,
        definition,
        ha_enabled: true,
        priority: 500,
        memory_mib: 64,
    }
}
