//! A bench for whole loops: one controller on a real database, and hosts whose power and instances are a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use quorumfence_drivers::order::{Domain, FenceDevice, FenceSession, Hypervisor, StartOrder};
use quorumfence_machine::{
    Actor, BootId, Device, Doubt, Holding, HostId, InstanceId, InstanceState, LogIndex, Millis, Outcome, Power,
    Refusal, Refused, Settings, SystemUuid,
};
use quorumfence_raft::{
    CallError, Expect, Fatal, Folder, Identity, Lane, Options, Peer, Replica, Request, Response, Rocks, SystemClock,
    TokioRuntime, Transport,
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::{self, Agent, AgentMessage, ControllerMessage, Controllers, LEASE};
use crate::controller::{Controller, Setup};
use crate::environment::{AgentEnvironment, Devices, Environment, Link, LinkError, Probes};
use crate::sample::{ME, boot, founding, host};

#[derive(Debug)]
pub(crate) struct Bench;

impl quorumfence_raft::Environment for Bench {
    type Runtime = TokioRuntime;
    type Kv = Rocks;
    type Files = Folder;
    type Transport = Alone;
    type Clock = SystemClock;
}

impl Environment for Bench {
    type Devices = Lab;
    type Probes = Silent;

    fn random() -> u64 {
        chance()
    }
}

impl AgentEnvironment for Bench {
    type Runtime = TokioRuntime;
    type Clock = SystemClock;
    type Hypervisor = Machine;
    type Link = Direct;

    fn random() -> u64 {
        chance()
    }
}

/// Numbers that differ are all that the loops need.
fn chance() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[derive(Debug, Clone)]
pub(crate) struct Alone;

impl Transport for Alone {
    async fn call(&self, peer: &Peer, _: Lane, _: Request, _: Duration) -> Result<Response, CallError> {
        Err(CallError::Unreachable(format!("{peer} does not exist")))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Silent;

impl Probes for Silent {
    async fn ping(&self, _: &str, _: Duration) -> Outcome<bool> {
        Outcome::Unknown(Doubt::Timeout)
    }

    async fn health(&self, _: &str, _: Duration) -> Outcome<bool> {
        Outcome::Unknown(Doubt::Timeout)
    }
}

/// The truth about all machines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lab(Arc<Mutex<BTreeMap<HostId, Truth>>>);

#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) is_off: bool,
    pub(crate) bmc_is_dead: bool,
    pub(crate) running: BTreeMap<InstanceId, String>,
    pub(crate) orders: u32,
    pub(crate) refuses_starts: bool,
    pub(crate) disk: Disk,
    change: Arc<Notify>,
}

/// The disk that a host's agent keeps refusals on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<Platter>, Condvar)>);

#[derive(Debug, Default)]
pub(crate) struct Platter {
    pub(crate) hangs: bool,
    pub(crate) is_full: bool,
    /// Writes that hang.
    pub(crate) waiting: u32,
    pub(crate) kept: Vec<Refused>,
}

impl Disk {
    pub(crate) fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.0.lock().unwrap()
    }

    pub(crate) fn go_on(&self) {
        self.platter().hangs = false;
        self.0.1.notify_all();
    }

    fn keep(&self, refusals: &[Refused]) -> bool {
        let mut platter = self.platter();
        platter.waiting += 1;
        while platter.hangs {
            let (next, waited) = self.0.1.wait_timeout(platter, Duration::from_secs(60)).unwrap();
            assert!(!waited.timed_out(), "the test forgot this disk");
            platter = next;
        }
        platter.waiting -= 1;
        if !platter.is_full {
            platter.kept = refusals.to_vec();
        }
        !platter.is_full
    }
}

impl Lab {
    pub(crate) fn truth(&self) -> MutexGuard<'_, BTreeMap<HostId, Truth>> {
        self.0.lock().unwrap()
    }

    /// Cuts a machine's power.
    pub(crate) fn cut(&self, id: &HostId) {
        let mut truth = self.truth();
        let machine = truth.get_mut(id).unwrap();
        machine.is_off = true;
        machine.running.clear();
    }

    pub(crate) fn homes(&self, instance: InstanceId) -> Vec<HostId> {
        let truth = self.truth();
        truth.iter().filter(|(_, machine)| machine.running.contains_key(&instance)).map(|(id, _)| id.clone()).collect()
    }

    fn machine(&self, id: &HostId) -> Machine {
        Machine { lab: self.clone(), host: id.clone() }
    }
}

impl Devices for Lab {
    type Device = Machine;

    fn device(&self, host: &HostId, device: &Device) -> Outcome<Machine> {
        assert_eq!(device.address, format!("bmc-{host}:623"), "each host has its own device");
        Outcome::Observed(self.machine(host))
    }
}

/// One machine, seen by its BMC and by its agent.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    lab: Lab,
    host: HostId,
}

impl FenceDevice for Machine {
    type Session = Machine;

    async fn open(&self, _: Duration) -> Outcome<Machine> {
        match self.lab.truth()[&self.host].bmc_is_dead {
            true => Outcome::Unknown(Doubt::Unreachable),
            false => Outcome::Observed(self.clone()),
        }
    }
}

impl FenceSession for Machine {
    async fn identity(&mut self, _: Duration) -> Outcome<Option<SystemUuid>> {
        Outcome::Observed(None)
    }

    async fn power(&mut self, _: Duration) -> Outcome<Power> {
        Outcome::Observed(if self.lab.truth()[&self.host].is_off { Power::Off } else { Power::On })
    }

    async fn power_off(&mut self, _: Duration) -> Outcome<()> {
        self.lab.cut(&self.host);
        self.lab.truth().get_mut(&self.host).unwrap().orders += 1;
        Outcome::Observed(())
    }

    async fn close(self) {}
}

impl Hypervisor for Machine {
    async fn inventory(&self, _: Duration) -> Outcome<Vec<Domain>> {
        let domain = |(id, definition): (&InstanceId, &String)| Domain {
            instance: *id,
            name: format!("vm-{id}"),
            state: InstanceState::Running,
            definition: definition.clone(),
            ha_enabled: true,
            priority: 500,
            memory_mib: 512,
        };
        Outcome::Observed(self.lab.truth()[&self.host].running.iter().map(domain).collect())
    }

    async fn start(&self, order: StartOrder, _: Duration) -> Outcome<InstanceState> {
        let mut truth = self.lab.truth();
        let machine = truth.get_mut(&self.host).unwrap();
        if machine.refuses_starts {
            return Outcome::Refused(Refusal::Hypervisor);
        }
        machine.running.insert(order.instance, order.definition);
        machine.change.notify_one();
        Outcome::Observed(InstanceState::Running)
    }

    async fn stop(&self, instance: InstanceId, _: Duration) -> Outcome<InstanceState> {
        self.lab.truth().get_mut(&self.host).unwrap().running.remove(&instance);
        Outcome::Observed(InstanceState::Stopped)
    }

    async fn changed(&self) {
        let change = Arc::clone(&self.lab.truth()[&self.host].change);
        change.notified().await;
    }
}

/// A link without a network.
#[derive(Debug, Clone)]
pub(crate) struct Direct {
    controller: Controller<Bench>,
    host: HostId,
}

impl Link for Direct {
    async fn attend(
        &self,
        _: &Peer,
        outbound: mpsc::Receiver<AgentMessage>,
        inbound: mpsc::Sender<ControllerMessage>,
    ) -> Result<(), LinkError> {
        let mut answers = Box::pin(self.controller.attend(self.host.clone(), ReceiverStream::new(outbound)));
        while let Some(message) = answers.next().await {
            inbound.send(message).await.map_err(|_| LinkError("the agent left".into()))?;
        }
        Ok(())
    }

    async fn holder(&self, _: &Peer, instance: InstanceId, _: Duration) -> Outcome<Holding> {
        match self.controller.holder(instance).await {
            Ok(holder) => Outcome::Observed(holder),
            Err(_) => Outcome::Unknown(Doubt::Timeout),
        }
    }
}

/// One running controller and its hosts.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) controller: Controller<Bench>,
    pub(crate) lab: Lab,
    pub(crate) agents: BTreeMap<HostId, Agent<Bench>>,
    _folder: tempfile::TempDir,
}

impl World {
    /// Founds a cluster with these hosts; `instances` run on the first. Returns once every host is admitted.
    pub(crate) async fn with(hosts: &[&str], instances: &[InstanceId]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let replica = open(folder.path()).await;
        replica.initialize_first("c1:1".into()).await.unwrap();
        let mut leadership = replica.leadership();
        leadership.wait_for(|leadership| leadership.lead_term.is_some()).await.unwrap();
        for change in founding(Settings::fast(), hosts) {
            replica.propose(Actor::Operator("test".into()), None, change).await.unwrap();
        }
        let lab = Lab::default();
        for name in hosts {
            lab.truth().insert(host(name), Truth::default());
        }
        for id in instances {
            lab.truth().get_mut(&host(hosts[0])).unwrap().running.insert(*id, "<domain/>".into());
        }
        let setup = Setup { replica, devices: lab.clone(), probes: Silent, clock: SystemClock };
        let controller = Controller::start(setup);
        let mut world = Self { controller, lab, agents: BTreeMap::new(), _folder: folder };
        for (number, name) in (1..).zip(hosts) {
            world.start_agent(&host(name), boot(number));
        }
        let all: BTreeSet<HostId> = hosts.iter().map(|name| host(name)).collect();
        world
            .wait("every host is admitted", |world| {
                let up = world.controller.replica().read(|state| {
                    state
                        .hosts()
                        .filter(|host| host.up_boot().is_some())
                        .map(|host| host.id.clone())
                        .collect::<BTreeSet<_>>()
                });
                up == all
            })
            .await;
        world
    }

    pub(crate) fn start_agent(&mut self, id: &HostId, boot: BootId) {
        let disk = self.disk(id);
        let setup = agent::Setup {
            host: id.clone(),
            boot,
            system_uuid: None,
            memory_mib: 16_384,
            lease: LEASE,
            controllers: Controllers { at: LogIndex(0), peers: vec![Peer { id: ME, address: "c1:1".into() }] },
            hypervisor: self.lab.machine(id),
            link: Direct { controller: self.controller.clone(), host: id.clone() },
            clock: SystemClock,
            found: Box::new(|_| {}),
            refusals: Vec::new(),
            keep: Box::new(move |refusals| disk.keep(refusals)),
            laboratory: false,
        };
        self.agents.insert(id.clone(), Agent::start(setup));
    }

    pub(crate) fn disk(&self, id: &HostId) -> Disk {
        self.lab.truth()[id].disk.clone()
    }

    /// Silences a host's agent; its power and instances stay as they are.
    pub(crate) async fn silence(&mut self, id: &HostId) {
        self.agents.remove(id).unwrap().shutdown().await;
    }

    pub(crate) async fn wait(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let moments = || self.controller.moments_from(0);
        assert!(
            tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(),
            "never: {what}\n{:#?}",
            moments()
        );
    }

    pub(crate) async fn end(mut self) {
        while let Some((_, agent)) = self.agents.pop_first() {
            agent.shutdown().await;
        }
        self.controller.shutdown().await;
        self.controller.replica().shutdown().await;
    }
}

async fn open(folder: &std::path::Path) -> Replica<Bench> {
    let setup = quorumfence_raft::Setup {
        identity: Identity { cluster: "test".into(), node: ME.0 },
        expect: Expect::New,
        options: Options::fast(),
        kv: Rocks::open(&folder.join("db")).unwrap(),
        files: Folder::open(&folder.join("snapshots")).unwrap(),
        transport: Alone,
        clock: SystemClock,
        fatal: Fatal::abort(),
        witness: None,
    };
    Replica::open(setup).await.unwrap()
}

/// An age that a healthy host never reaches.
pub(crate) const LATE: Millis = Millis(10_000);
