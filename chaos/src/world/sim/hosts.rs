//! Hosts: hardware in the laboratory with an agent on it, as long as it has power.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorumfence_drivers::order::Domain;
use quorumfence_machine::{
    BootId, Change, Device, Driver, Enrolment, Host, HostId, HostState, Instance, InstanceId, InstanceState, Joiner,
    Level, LogIndex, Millis, Role, Segment, SystemUuid,
};
use quorumfence_node::agent::{self, Agent, Controllers};
use quorumfence_raft::Peer;

use super::Sim;
use super::controllers::address;
use super::environment::{SimClock, SimEnvironment};
use super::network::SimLink;
use super::runtime::{Node, in_the_world, mix};

/// From power to a running agent.
const BOOT_TIME: Duration = Duration::from_millis(800);

/// One host of the simulation.
#[derive(Debug)]
pub(super) struct Seated {
    number: u8,
    /// The agent's process.
    pub(super) node: Arc<Node>,
    /// The boot that the agent runs in; none while it does not.
    boot: Option<BootId>,
    /// Agents so far.
    starts: u64,
    /// Boots so far.
    boots: u64,
    /// The controllers that its agents remember.
    known: Arc<Mutex<Option<Controllers>>>,
}

impl Sim {
    /// Cuts a host's power: its tasks end where they stand.
    pub fn cut_power(&mut self, host: &HostId) {
        self.ether.note(format_args!("power cut {host}"));
        self.laboratory().cut_power(host);
        self.tend();
    }

    /// Gives a host its power back; its agent starts a little later.
    pub(super) fn restore_power(&mut self, host: &HostId) {
        let Some(seated) = self.hosts.get_mut(host) else { return };
        seated.boots += 1;
        let boot = next_boot(seated.number, seated.boots);
        self.ether.note(format_args!("power on {host}"));
        self.laboratory().restore_power(host, boot);
    }

    pub(super) async fn add_host(&mut self, number: u8, instances: u8) -> anyhow::Result<()> {
        let (host, boot) = (host(number), first_boot(number));
        self.laboratory().add_host(host.clone(), SystemUuid([number; 16]), boot);
        for which in 0..instances {
            self.laboratory().seed_instance(&host, domain(number, which));
        }
        self.join(host.as_str(), Role::Agent, Joiner::Agent { host: host.clone() }).await?;
        let enrolment =
            Enrolment { segment: Segment::default().id, ping: None, health: None, levels: vec![level(number)] };
        self.propose(Change::HostEnrol { host: host.clone(), enrolment }).await?;
        let node = Node::new(0);
        node.kill();
        self.hosts
            .insert(host.clone(), Seated { number, node, boot: None, starts: 0, boots: 0, known: Arc::default() });
        self.start_agent(&host, boot, Duration::ZERO);
        Ok(())
    }

    /// Lets agents follow their hosts: none without power, and a new one in each boot.
    pub(super) fn tend(&mut self) {
        self.tend_members();
        let changed: Vec<(HostId, Option<BootId>)> = self
            .hosts
            .iter()
            .map(|(host, seated)| (host.clone(), seated.boot, self.laboratory().boot(host)))
            .filter(|(_, runs, is)| runs != is)
            .map(|(host, _, is)| (host, is))
            .collect();
        for (host, boot) in changed {
            match boot {
                Some(boot) => self.start_agent(&host, boot, BOOT_TIME),
                None => self.end_agent(&host),
            }
        }
    }

    /// Starts an agent anew in the boot that its host is in.
    pub(super) fn restart_agent(&mut self, host: &HostId) {
        if let Some(boot) = self.laboratory().boot(host) {
            self.end_agent(host);
            self.start_agent(host, boot, Duration::from_millis(200));
        }
    }

    /// Holds a host's agent for a while.
    pub(super) fn freeze(&self, host: &HostId, time: Duration) {
        let Some(seated) = self.hosts.get(host) else { return };
        seated.node.pause();
        let node = Arc::clone(&seated.node);
        in_the_world(async move {
            tokio::time::sleep(time).await;
            node.resume();
        });
    }

    fn end_agent(&mut self, host: &HostId) {
        if let Some(seated) = self.hosts.get_mut(host) {
            seated.node.kill();
            seated.boot = None;
        }
    }

    fn start_agent(&mut self, host: &HostId, boot: BootId, after: Duration) {
        let seats = self.seats.keys().map(|id| Peer { id: *id, address: address(*id) }).collect();
        let hypervisor = self.laboratory().hypervisor(host);
        let link = SimLink { ether: Arc::clone(&self.ether), host: host.clone() };
        let Some(seated) = self.hosts.get_mut(host) else { return };
        seated.node.kill();
        seated.starts += 1;
        seated.boot = Some(boot);
        let number = u64::from(seated.number);
        let known = Arc::clone(&seated.known);
        let remembered = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let controllers = remembered.unwrap_or(Controllers { at: LogIndex(0), peers: seats });
        let node = Node::new(mix(self.seed ^ (number << 48) ^ (seated.starts << 56)));
        seated.node = Arc::clone(&node);
        let setup = agent::Setup {
            host: host.clone(),
            boot,
            system_uuid: Some(SystemUuid([seated.number; 16])),
            memory_mib: 4096,
            lease: agent::LEASE,
            controllers,
            hypervisor,
            link,
            clock: SimClock { opened: self.opened, offset: Millis(number * 7_000), node: Arc::clone(&node) },
            found: Box::new(move |controllers| {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(controllers.clone());
            }),
        };
        let starting = Arc::clone(&node);
        node.spawn(async move {
            tokio::time::sleep(after).await;
            starting.spawn(async move { drop(Agent::<SimEnvironment>::start(setup)) });
        });
    }
}

/// Returns the name of host `number`.
pub fn host(number: u8) -> HostId {
    format!("host{number}").parse().expect("'host' and digits are a name")
}

/// Returns the first instance that runs on host `number` at first.
pub fn instance(number: u8) -> InstanceId {
    nth_instance(number, 0)
}

/// Whether the quorum takes a host for alive.
pub(super) fn stands(host: &Host) -> bool {
    match host.state {
        HostState::New | HostState::Up { .. } => true,
        HostState::Lost { .. } | HostState::Fencing { .. } | HostState::Fenced { .. } => false,
    }
}

/// The host on which an instance is to be started.
pub(super) fn target(instance: &Instance) -> Option<HostId> {
    instance.assignment().map(|assignment| assignment.host.clone())
}

fn nth_instance(number: u8, which: u8) -> InstanceId {
    let mut bytes = [number; 16];
    bytes[15] = number.wrapping_add(which.wrapping_mul(64));
    InstanceId(bytes)
}

fn first_boot(number: u8) -> BootId {
    BootId([number; 16])
}

fn next_boot(number: u8, boots: u64) -> BootId {
    let mut bytes = [number; 16];
    bytes[8..].copy_from_slice(&boots.to_be_bytes());
    BootId(bytes)
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

fn domain(number: u8, which: u8) -> Domain {
    let id = nth_instance(number, which);
    let name = format!("vm{number}{}", char::from(b'a' + which % 26));
    let definition = format!(
        "<domain type='qemu'><name>{name}</name><uuid>{id}</uuid><memory unit='MiB'>64</memory>\
         <metadata><vm xmlns='https://quorumfence.dev/xmlns/vm/1' enabled='true'/></metadata></domain>"
    );
    Domain {
        instance: id,
        name,
        state: InstanceState::Running,
        definition,
        ha_enabled: true,
        priority: 500,
        memory_mib: 64,
    }
}
