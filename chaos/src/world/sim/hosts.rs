//! Hosts: hardware in the laboratory with an agent on it, as long as it has power.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorumfence_drivers::order::Domain;
use quorumfence_machine::{
    BootId, Change, Device, Driver, Enrolment, Host, HostId, HostState, Instance, InstanceId, InstanceState, Joiner,
    Level, LogIndex, Millis, Refused, Role, Segment, SystemUuid,
};
use quorumfence_node::agent::{self, Agent, Controllers};
use quorumfence_raft::Peer;

use super::controllers::address;
use super::environment::{SimClock, SimEnvironment};
use super::network::SimLink;
use super::runtime::{Node, in_the_world, mix};
use super::{Sim, add};
use crate::fault::{Gear, Levels};
use crate::story::{MEMORY_MIB, Machine, Vm};

/// From power to a running agent.
const BOOT_TIME: Duration = Duration::from_millis(800);

/// The first byte of a story's instances: no host's boot begins so, so that a log can name both.
pub(in crate::world) const INSTANCES: u8 = 0x80;

/// The machine of no host.
const STRANGER: SystemUuid = SystemUuid([0xee; 16]);

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
    /// What its agents refused, boot by boot.
    refused: Arc<Mutex<BTreeMap<BootId, Vec<Refused>>>>,
    memory_mib: u64,
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
        let domains = (0..instances).map(|which| domain(number, which)).collect();
        let levels = Levels(vec![vec![Gear::Bmc]]);
        self.seat_host(number, domains, Some(&levels), MEMORY_MIB).await
    }

    /// Adds a host as a story describes it.
    pub(super) async fn add_machine(&mut self, machine: &Machine) -> anyhow::Result<()> {
        let mut domains = Vec::new();
        for vm in &machine.instances {
            let id = InstanceId([INSTANCES + u8::try_from(self.domains.len() + domains.len())?; 16]);
            domains.push(described(id, vm));
        }
        self.seat_host(machine.number, domains, machine.levels.as_ref(), machine.memory_mib).await
    }

    async fn seat_host(
        &mut self,
        number: u8,
        domains: Vec<Domain>,
        levels: Option<&Levels>,
        memory_mib: u64,
    ) -> anyhow::Result<()> {
        let (host, boot) = (host(number), first_boot(number));
        self.laboratory().add_host(host.clone(), SystemUuid([number; 16]), boot);
        for domain in domains {
            self.domains.insert(domain.name.clone(), domain.clone());
            self.laboratory().seed_instance(&host, domain);
        }
        self.join(host.as_str(), Role::Agent, Joiner::Agent { host: host.clone() }).await?;
        if let Some(levels) = levels {
            self.propose(Change::HostEnrol { host: host.clone(), enrolment: enrolment(number, levels) }).await?;
        }
        let node = Node::new(0);
        node.kill();
        let (known, refused) = (Arc::default(), Arc::default());
        self.hosts
            .insert(host.clone(), Seated { number, node, boot: None, starts: 0, boots: 0, known, refused, memory_mib });
        self.start_agent(&host, boot, Duration::ZERO);
        Ok(())
    }

    /// Lets agents follow their hosts: none without power, and a new one in each boot.
    pub(super) fn tend(&mut self) {
        self.tend_members();
        self.tend_moves();
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

    /// Names the present members to agents that know none of them any more, as a person would in their configuration. A
    /// controller that is no member tells an agent nothing.
    pub(super) fn guide_agents(&mut self) {
        let leader = self.leader().and_then(|id| self.ether.station(id));
        let Some(members) = leader.map(|leader| leader.replica.applied_members().peers) else { return };
        let is_lost = |seated: &Seated| {
            let known = seated.known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_there = |peer: &Peer| members.iter().any(|member| member.id == peer.id);
            known.as_ref().is_some_and(|known| !known.peers.iter().any(is_there))
        };
        let lost: Vec<HostId> =
            self.hosts.iter().filter(|(_, seated)| is_lost(seated)).map(|(host, _)| host.clone()).collect();
        for host in lost {
            if let Some(seated) = self.hosts.get(&host)
                && let Some(known) = &mut *seated.known.lock().unwrap_or_else(PoisonError::into_inner)
            {
                known.peers.clone_from(&members);
            }
            self.restart_agent(&host);
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
        let (known, refused) = (Arc::clone(&seated.known), Arc::clone(&seated.refused));
        let refusals = refused.lock().unwrap_or_else(PoisonError::into_inner).get(&boot).cloned().unwrap_or_default();
        let remembered = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let controllers = remembered.unwrap_or(Controllers { at: LogIndex(0), peers: seats });
        let node = Node::new(mix(self.seed ^ (number << 48) ^ (seated.starts << 56)));
        add(&mut self.stood, seated.node.stood());
        seated.node = Arc::clone(&node);
        let setup = agent::Setup {
            host: host.clone(),
            boot,
            system_uuid: Some(SystemUuid([seated.number; 16])),
            memory_mib: seated.memory_mib,
            lease: agent::LEASE,
            controllers,
            hypervisor,
            link,
            clock: SimClock { opened: self.opened, offset: Millis(number * 7_000), node: Arc::clone(&node) },
            refusals,
            keep: Box::new(move |refusals| {
                let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.insert(boot, refusals.to_vec());
                true
            }),
            found: Box::new(move |controllers| {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(controllers.clone());
            }),
            laboratory: false,
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

pub(in crate::world) fn first_boot(number: u8) -> BootId {
    BootId([number; 16])
}

pub(in crate::world) fn next_boot(number: u8, boots: u64) -> BootId {
    let mut bytes = [number; 16];
    bytes[8..].copy_from_slice(&boots.to_be_bytes());
    BootId(bytes)
}

impl Sim {
    /// Returns the enrolment of a host with these levels.
    pub(super) fn enrolled_with(&self, host: &HostId, levels: &Levels) -> Option<Enrolment> {
        self.hosts.get(host).map(|seated| enrolment(seated.number, levels))
    }
}

fn enrolment(number: u8, levels: &Levels) -> Enrolment {
    let level = |gear: &Vec<Gear>| Level { devices: gear.iter().map(|gear| device(number, gear)).collect() };
    let levels = levels.0.iter().map(level).collect();
    Enrolment { segment: Segment::default().id, ping: None, health: None, levels }
}

fn device(number: u8, gear: &Gear) -> Device {
    let own = Some(SystemUuid([number; 16]));
    let (driver, address, identity) = match gear {
        Gear::Bmc => (Driver::Laboratory, format!("bmc{number}:623"), own),
        Gear::Pdu => (Driver::Laboratory, format!("pdu{number}:161"), None),
        Gear::Ipmi => (Driver::Ipmi, format!("ipmi{number}:623"), None),
        Gear::BmcOf(other) => {
            let other: u8 = other.as_str().trim_start_matches("host").parse().unwrap_or_default();
            (Driver::Laboratory, format!("bmc{other}:623"), Some(SystemUuid([other; 16])))
        }
        Gear::StrangeBmc => (Driver::Laboratory, format!("strange{number}:623"), Some(STRANGER)),
        Gear::CabledTo(other) => (Driver::Laboratory, format!("bmc{number}-to-{other}:623"), None),
    };
    Device { driver, address, user: "fence".into(), sealed_password: Vec::new(), suite: None, identity }
}

pub(in crate::world) fn domain(number: u8, which: u8) -> Domain {
    let name = format!("vm{number}{}", char::from(b'a' + which % 26));
    described(nth_instance(number, which), &Vm { name, priority: 500, memory_mib: 64, ha: true })
}

pub(in crate::world) fn described(id: InstanceId, vm: &Vm) -> Domain {
    let Vm { name, priority, memory_mib, ha } = vm.clone();
    let tag = if priority == 500 { String::new() } else { format!(" priority='{priority}'") };
    let definition = format!(
        "<domain type='qemu'><name>{name}</name><uuid>{id}</uuid><memory unit='MiB'>{memory_mib}</memory>\
         <metadata><vm xmlns='https://quorumfence.dev/xmlns/vm/1' enabled='{ha}'{tag}/></metadata></domain>"
    );
    Domain { instance: id, name, state: InstanceState::Running, definition, ha_enabled: ha, priority, memory_mib }
}
