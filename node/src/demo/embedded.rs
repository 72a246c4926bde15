//! Embedded mode: one process. Controllers and agents are the real ones over TLS on loopback, with RocksDB; hosts,
//! hypervisors and instances are the laboratory's. BMCs are `ipmi_sim` where it is installed, else the laboratory's.

mod bmc;
mod cable;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quorumfence_drivers::lab::{BmcMode, Happening, Laboratory, LaboratoryBmc, Pace};
use quorumfence_drivers::order::Domain;
use quorumfence_machine::{
    Actor, BootId, Change, ControllerId, Device, Driver, Enrolment, HostId, InstanceId, InstanceState, Level, LogIndex,
    Millis, Outcome, Refusal, SegmentId, SystemUuid, WallMillis,
};
use quorumfence_raft::{Folder, Grpc, Peer, Replica, Rocks, SystemClock, TokioRuntime};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

use self::bmc::Bmc;
use self::cable::{Cable, SimulatedHost};
use super::console::Console;
use super::hosts::GuestRun;
use super::shell::Shell;
use super::stage::{BmcAccess, Guest, Stage, wall_at};
use crate::agent::{Agent, Controllers, LEASE, Setup};
use crate::cli::{Exit, Failure};
use crate::cluster::directory::AgentDirectory;
use crate::config;
use crate::environment::{Devices, Environment};
use crate::wiring::controller::{Wired, start_with};
use crate::wiring::{GrpcLink, NetworkProbes, Production, SealedDevices};

const HOSTS: u8 = 8;

const GUESTS_PER_HOST: u8 = 5;

/// What a hardware BMC and an emulated guest would roughly take.
const PACE: Pace =
    Pace { bmc: Duration::from_millis(3), power_off: Duration::from_millis(50), start: Duration::from_millis(40) };

/// Longest wait for the end of a blocking call in a runtime that was killed.
const DEATH_LIMIT: Duration = Duration::from_secs(5);

/// Controllers on the laboratory's BMCs.
#[derive(Debug)]
struct Simulated;

impl quorumfence_raft::Environment for Simulated {
    type Runtime = TokioRuntime;
    type Kv = Rocks;
    type Files = Folder;
    type Transport = Grpc;
    type Clock = SystemClock;
}

impl Environment for Simulated {
    type Devices = LaboratoryDevices;
    type Probes = NetworkProbes;

    fn random() -> u64 {
        rand::random()
    }
}

#[derive(Debug, Clone)]
struct LaboratoryDevices(Laboratory);

impl Devices for LaboratoryDevices {
    type Device = LaboratoryBmc;

    fn device(&self, host: &HostId, device: &Device) -> Outcome<LaboratoryBmc> {
        match device.driver {
            Driver::Laboratory => Outcome::Observed(self.0.bmc(host)),
            Driver::Ipmi => Outcome::Refused(Refusal::Unsupported),
        }
    }
}

/// The laboratory, and the runtimes of everything that can be killed.
#[derive(Debug)]
pub(super) struct Embedded {
    laboratory: Laboratory,
    controllers: BTreeMap<ControllerId, Mortal>,
    /// On the laboratory's BMCs only: the way past the command line, which enrols IPMI devices.
    replicas: BTreeMap<ControllerId, Replica<Simulated>>,
    addresses: BTreeMap<ControllerId, String>,
    hosts: BTreeMap<HostId, Simulation>,
    guests: Vec<Guest>,
    directory: PathBuf,
    console: Console,
    /// Carries the BMCs' orders to the laboratory.
    _carriers: JoinSet<()>,
}

/// One simulated host.
#[derive(Debug)]
struct Simulation {
    machine: SystemUuid,
    boot: BootId,
    plugged: watch::Sender<bool>,
    agent: Option<Mortal>,
    bmc: Option<Bmc>,
}

/// A runtime of its own: dropping it ends everything in it at once, wherever it stands.
#[derive(Debug)]
struct Mortal(Option<Runtime>);

impl Mortal {
    fn new(name: &str) -> Result<Self, Failure> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(|error| Failure::of(Exit::Failed, &error))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken only by drop")
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Its files are about to be removed, so nothing of it may write any more.
            block_in_place(|| runtime.shutdown_timeout(DEATH_LIMIT));
        }
    }
}

/// Returns what the BMCs are.
pub(super) fn bmc_words() -> &'static str {
    if bmc::is_installed() {
        "hosts, hypervisors, instances, power and cables (the laboratory); BMCs are ipmi_sim, one for each host"
    } else {
        "hosts, hypervisors, instances, power, cables and, because ipmi_sim is not installed, the BMCs (the laboratory)"
    }
}

impl Embedded {
    /// Opens the laboratory with all hosts on and their guests running.
    pub(super) fn create(directory: &Path, console: Console) -> Result<Self, Failure> {
        let laboratory = Laboratory::open(PACE);
        let mut hosts = BTreeMap::new();
        let mut guests = Vec::new();
        let mut directories = BTreeMap::new();
        for number in 1..=HOSTS {
            let host: HostId = format!("host{number}").parse().expect("it is a name");
            let (machine, boot) = (SystemUuid(rand::random()), BootId(rand::random()));
            let files = directory.join("hosts").join(host.as_str());
            std::fs::create_dir_all(&files).map_err(|error| failed(&error))?;
            laboratory.add_host(host.clone(), machine, boot);
            let bmc = if bmc::is_installed() { Some(Bmc::start(&files, machine)?) } else { None };
            if bmc.is_some() {
                directories.insert(host.clone(), files);
            }
            let (plugged, _) = watch::channel(true);
            hosts.insert(host.clone(), Simulation { machine, boot, plugged, agent: None, bmc });
            guests.extend((1..=GUESTS_PER_HOST).map(|guest| Guest {
                instance: InstanceId(rand::random()),
                name: format!("vm{number}{guest}"),
                home: host.clone(),
            }));
        }
        let mut carriers = JoinSet::new();
        carriers.spawn(bmc::carry_orders(laboratory.clone(), directories));
        Ok(Self {
            laboratory,
            controllers: BTreeMap::new(),
            replicas: BTreeMap::new(),
            addresses: addresses()?,
            hosts,
            guests,
            directory: directory.into(),
            console,
            _carriers: carriers,
        })
    }

    fn host(&mut self, id: &HostId) -> &mut Simulation {
        self.hosts.get_mut(id).expect("lessons name hosts of the laboratory")
    }

    /// Ends everything that runs on a host.
    fn stop_host(&mut self, id: &HostId) {
        let host = self.host(id);
        host.plugged.send_replace(false);
        host.agent = None;
    }
}

/// Runs a controller in a runtime of its own until that is dropped.
async fn launch<E: Wired>(
    runtime: &Runtime,
    config: config::Controller,
    devices: impl FnOnce(quorumfence_drivers::secret::ClusterKey) -> E::Devices + Send + 'static,
) -> Result<Replica<E>, Failure> {
    let (told, hears) = tokio::sync::oneshot::channel();
    runtime.spawn(async move {
        let running = match start_with::<E>(&config, devices).await {
            Ok(running) => running,
            Err(error) => {
                if told.send(Err(Failure::of(Exit::Failed, &error))).is_err() {
                    tracing::debug!("the demo ended before its controller started");
                }
                return;
            }
        };
        if told.send(Ok(running.controller().replica().clone())).is_ok() {
            std::future::pending::<()>().await;
        }
        drop(running);
    });
    let lost = |error| Failure::new(Exit::Failed, "a controller ended at its start").because(Some(&error));
    hears.await.map_err(lost)?
}

impl Stage for Embedded {
    fn hosts(&self) -> Vec<HostId> {
        self.hosts.keys().cloned().collect()
    }

    fn guests(&self) -> &[Guest] {
        &self.guests
    }

    fn controller_address(&self, id: ControllerId) -> String {
        self.addresses[&id].clone()
    }

    async fn start_controller(&mut self, shell: &Shell, id: ControllerId, config: &Path) -> Result<(), Failure> {
        let shown = shell.shorten(&config.to_string_lossy());
        self.console.say(&format!("  (in this process) quorumfence controller run --config {shown}"))?;
        let config = config::Controller::load(config).map_err(|error| failed(&error))?;
        let mortal = Mortal::new(&id.to_string())?;
        if bmc::is_installed() {
            launch::<Production>(mortal.runtime(), config, SealedDevices::new).await?;
        } else {
            let laboratory = self.laboratory.clone();
            let replica = launch::<Simulated>(mortal.runtime(), config, |_| LaboratoryDevices(laboratory)).await?;
            self.replicas.insert(id, replica);
        }
        self.controllers.insert(id, mortal);
        Ok(())
    }

    fn agent_directory(&self, host: &HostId) -> PathBuf {
        self.directory.join("hosts").join(host.as_str()).join("agent")
    }

    async fn start_hosts(&mut self, _shell: &Shell) -> Result<(), Failure> {
        let peers: Vec<Peer> =
            self.addresses.iter().map(|(id, address)| Peer { id: *id, address: address.clone() }).collect();
        self.console.say(&format!("  (in this process) quorumfence agent run, {HOSTS} times"))?;
        for id in self.hosts() {
            let directory = AgentDirectory::open(&self.agent_directory(&id)).map_err(|error| failed(&error))?;
            let identity = directory.identity().map_err(|error| failed(&error))?;
            let hypervisor = self.laboratory.hypervisor(&id);
            let host = self.host(&id);
            let setup = Setup::<SimulatedHost> {
                host: id.clone(),
                boot: host.boot,
                system_uuid: Some(host.machine),
                memory_mib: 4096,
                lease: LEASE,
                controllers: Controllers { at: LogIndex(0), peers: peers.clone() },
                hypervisor,
                link: Cable::new(GrpcLink::new(identity), host.plugged.subscribe()),
                clock: SystemClock,
                found: Box::new(|_| {}),
                refusals: Vec::new(),
                keep: Box::new(|_| true),
                laboratory: true,
            };
            let mortal = Mortal::new(id.as_str())?;
            let entered = mortal.runtime().enter();
            drop(Agent::<SimulatedHost>::start(setup));
            drop(entered);
            host.agent = Some(mortal);
        }
        Ok(())
    }

    fn bmc(&self, host: &HostId) -> Option<BmcAccess> {
        self.hosts[host].bmc.as_ref().map(|bmc| bmc.access.clone())
    }

    async fn enrol_past_the_command_line(&self, host: &HostId, segment: &SegmentId) -> Result<(), Failure> {
        let device = Device {
            driver: Driver::Laboratory,
            address: format!("{host}.laboratory:623"),
            user: "fence".into(),
            sealed_password: Vec::new(),
            suite: None,
            identity: Some(self.hosts[host].machine),
        };
        let levels = vec![Level { devices: vec![device] }];
        let enrolment = Enrolment { segment: segment.clone(), ping: None, health: None, levels };
        let change = Change::HostEnrol { host: host.clone(), enrolment };
        let (id, replica) = self.replicas.first_key_value().expect("controllers run before hosts are enrolled");
        let by = Actor::Operator("admin".into());
        let (replica, mortal) = (replica.clone(), &self.controllers[id]);
        let proposed = mortal.runtime().spawn(async move { replica.propose(by, None, change).await }).await;
        match proposed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    fn is_laboratory(&self) -> bool {
        true
    }

    fn ping(&self, _host: &HostId) -> Option<String> {
        None
    }

    async fn start_guests(&mut self) -> Result<(), Failure> {
        self.console.say(&format!("  (in the laboratory) {} instances start", self.guests.len()))?;
        for guest in &self.guests {
            self.laboratory.seed_instance(&guest.home, domain(guest));
        }
        Ok(())
    }

    async fn cut_power(&mut self, host: &HostId) -> Result<(), Failure> {
        self.laboratory.cut_power(host);
        self.stop_host(host);
        Ok(())
    }

    async fn isolate(&mut self, host: &HostId) -> Result<(), Failure> {
        self.host(host).plugged.send_replace(false);
        Ok(())
    }

    async fn kill_bmc(&mut self, host: &HostId) -> Result<(), Failure> {
        self.laboratory.set_bmc(host, BmcMode::Silent);
        if let Some(bmc) = &mut self.host(host).bmc {
            bmc.kill();
        }
        Ok(())
    }

    async fn silence_bmc(&mut self, host: &HostId) -> Result<(), Failure> {
        match &self.host(host).bmc {
            Some(bmc) => bmc.silence(),
            None => {
                self.laboratory.set_bmc(host, BmcMode::Silent);
                Ok(())
            }
        }
    }

    async fn wake_bmc(&mut self, host: &HostId) -> Result<(), Failure> {
        match &self.host(host).bmc {
            Some(bmc) => bmc.wake(),
            None => {
                self.laboratory.set_bmc(host, BmcMode::Works);
                Ok(())
            }
        }
    }

    async fn kill_controller(&mut self, id: ControllerId) -> Result<(), Failure> {
        self.replicas.remove(&id);
        let killed = self.controllers.remove(&id);
        assert!(killed.is_some(), "lessons kill controllers that run");
        Ok(())
    }

    fn witness(&self) -> &'static str {
        "the laboratory's facts about its hardware, which no controller can see"
    }

    fn first_line(&self) -> &'static str {
        "the laboratory runs"
    }

    fn runs(&self) -> BTreeMap<InstanceId, Vec<GuestRun>> {
        let mut runs: BTreeMap<InstanceId, Vec<GuestRun>> = BTreeMap::new();
        let now = self.laboratory.now();
        let moment = |at: Millis| Instant::now().checked_sub((now - at).into()).unwrap_or_else(Instant::now);
        let mut open: BTreeMap<(InstanceId, HostId), usize> = BTreeMap::new();
        for fact in self.laboratory.facts() {
            match fact.what {
                Happening::Started { instance, host, token: _ } => {
                    let of = runs.entry(instance).or_default();
                    open.insert((instance, host.clone()), of.len());
                    let (at, run) = (moment(fact.at), of.len().to_string());
                    of.push(GuestRun { host, run, qemu_at: None, first_at: at, last_at: moment(now) });
                }
                Happening::Ended { instance, host } => {
                    let of = runs.entry(instance).or_default();
                    let ended = open.remove(&(instance, host)).and_then(|at| of.get_mut(at));
                    if let Some(run) = ended {
                        run.last_at = moment(fact.at);
                    }
                }
                Happening::PowerOff { .. } | Happening::PowerOn { .. } | Happening::OffOrdered { .. } => {}
            }
        }
        runs
    }

    fn off_at(&self, host: &HostId) -> Result<Option<WallMillis>, Failure> {
        let now = self.laboratory.now();
        let facts = self.laboratory.facts();
        let off =
            facts.iter().rev().find(|fact| matches!(&fact.what, Happening::PowerOff { host: off, .. } if off == host));
        Ok(off.map(|fact| WallMillis(wall_at(Instant::now()).0 - (now - fact.at).0)))
    }
}

fn domain(guest: &Guest) -> Domain {
    const MEMORY_MIB: u64 = 64;
    let Guest { instance, name, .. } = guest;
    let definition = format!(
        "<domain type='qemu'><name>{name}</name><uuid>{instance}</uuid><memory unit='MiB'>{MEMORY_MIB}</memory>\
         <metadata><vm xmlns='https://quorumfence.dev/xmlns/vm/1' enabled='true'/></metadata></domain>"
    );
    Domain {
        instance: *instance,
        name: name.clone(),
        state: InstanceState::Running,
        definition,
        ha_enabled: true,
        priority: 500,
        memory_mib: MEMORY_MIB,
    }
}

/// Finds a free port for each controller. All are held until the last is found, so that they differ.
fn addresses() -> Result<BTreeMap<ControllerId, String>, Failure> {
    let mut held = Vec::new();
    let mut addresses = BTreeMap::new();
    for number in 1..=super::bootstrap::CONTROLLERS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        addresses.insert(ControllerId(number), address.to_string());
        held.push(listener);
    }
    Ok(addresses)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::of(Exit::Failed, error)
}
