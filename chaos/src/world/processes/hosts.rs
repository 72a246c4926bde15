//! Hosts: hardware in the laboratory with a BMC on the network, and an agent's process as long as there is power.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::Context;
use quorumfence_drivers::lab::{BmcMode, remote};
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{BootId, HostId, InstanceId, SystemUuid};
use rustix::process::Signal;
use tokio::net::{UdpSocket, UnixListener};

use super::bmc::{Account, BmcServer, Level};
use super::controllers::{end, signal, spawn};
use super::net::{bmc, bmc_of, host as address_of};
use super::{Processes, clock};
use crate::fault::Place;
use crate::story::Machine;
use crate::world::sim::{INSTANCES, described, first_boot, host, next_boot};

/// The account of every BMC.
pub(super) const USER: &str = "fence";
pub(super) const PASSWORD: &str = "chaos-on-purpose";
pub(super) const BMC_PORT: u16 = 623;

/// From power to a starting agent.
const BOOT_TIME: Duration = Duration::from_millis(800);

/// From an agent's end to the next one's start.
const RESTART_TIME: Duration = Duration::from_millis(200);

/// One host.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) number: u8,
    /// Its agent's files.
    pub(super) directory: PathBuf,
    agent: Option<Child>,
    /// The boot whose agent runs or is about to.
    boot: Option<BootId>,
    boots: u64,
    /// When the agent starts.
    due: Option<Instant>,
    /// Until when the agent stands still.
    still_until: Option<Instant>,
    _bmc: BmcServer,
}

impl Processes {
    /// Puts a host into the rack: power, BMC, hypervisor and instances. Its agent starts later.
    pub(super) fn rack(&mut self, described_as: &Machine) -> anyhow::Result<()> {
        let number = described_as.number;
        let host = &host(number);
        let machine = SystemUuid([number; 16]);
        self.laboratory.add_host(host.clone(), machine, first_boot(number));
        let mut boots = 0;
        if self.lie.as_ref() == Some(host) {
            self.laboratory.cut_power(host);
            self.laboratory.set_bmc(host, BmcMode::Stale);
            boots += 1;
            self.laboratory.restore_power(host, next_boot(number, boots));
        }
        for vm in &described_as.instances {
            let domain = described(InstanceId([INSTANCES + u8::try_from(self.domains.len())?; 16]), vm);
            self.laboratory.seed_instance(host, domain.clone());
            self.domains.insert(vm.name.clone(), domain);
        }
        let directory = self.place.join(host.as_str());
        let hypervisor = UnixListener::bind(self.hypervisor_socket(host)).context("a hypervisor's socket")?;
        let (laboratory, of, record) = (self.laboratory.clone(), host.clone(), self.record.clone());
        self.tasks.spawn(async move {
            if let Err(error) = remote::serve(laboratory, of, hypervisor).await {
                record.lose(format!("the hypervisor of a host: {error}"));
            }
        });
        self.net.plug(bmc_of(host), bmc(number)).context("a BMC's network")?;
        let socket = self.net.udp(&bmc_of(host), BMC_PORT).and_then(UdpSocket::from_std).context("a BMC's socket")?;
        let password = Secret::new(PASSWORD);
        let account = Account { user: USER.into(), password, kg: None, level: Level::Administrator };
        let bmc = BmcServer::serve(self.laboratory.clone(), host.clone(), socket, account).context("a BMC")?;
        let station =
            Station { number, directory, agent: None, boot: None, boots, due: None, still_until: None, _bmc: bmc };
        self.stations.insert(host.clone(), station);
        Ok(())
    }

    pub(super) fn hypervisor_socket(&self, host: &HostId) -> PathBuf {
        self.place.join(format!("{host}.hypervisor"))
    }

    /// Gives a host its power back.
    pub(super) fn restore_power(&mut self, host: &HostId) {
        let Some(station) = self.stations.get_mut(host) else { return };
        station.boots += 1;
        self.laboratory.restore_power(host, next_boot(station.number, station.boots));
    }

    /// Starts an agent anew in the boot that its host is in.
    pub(super) fn restart_agent(&mut self, host: &HostId) {
        if let Some(station) = self.stations.get_mut(host).filter(|station| station.boot.is_some()) {
            station.end_agent();
            station.due = Some(clock() + RESTART_TIME);
        }
    }

    /// Holds a host's agent for a while.
    pub(super) fn freeze(&mut self, host: &HostId, time: Duration) -> anyhow::Result<()> {
        let Some(station) = self.stations.get_mut(host) else { return Ok(()) };
        if let Some(agent) = &station.agent {
            signal(agent, Signal::STOP)?;
            station.still_until = station.still_until.max(Some(clock() + time));
        }
        Ok(())
    }

    /// Lets every agent that stands still go on.
    pub(super) fn thaw(&mut self) -> anyhow::Result<()> {
        let now = clock();
        self.stations.values_mut().for_each(|station| station.still_until = station.still_until.map(|_| now));
        self.tend_hosts()
    }

    /// Ends every agent.
    pub(super) fn stop_agents(&mut self) {
        self.stations.values_mut().for_each(Station::end_agent);
    }

    /// Lets agents follow their hosts: none without power, and a new one in each boot.
    pub(super) fn tend_hosts(&mut self) -> anyhow::Result<()> {
        let now = clock();
        for (host, station) in &mut self.stations {
            let (place, boot) = (Place::Host(host.clone()), self.laboratory.boot(host));
            if boot != station.boot {
                // Nobody hears that its connections end.
                self.net.unplug(&place).context("a host's network")?;
                station.end_agent();
                station.boot = boot;
                station.due = boot.map(|_| now + BOOT_TIME);
            }
            if station.still_until.is_some_and(|until| until <= now) {
                station.still_until = None;
                station.agent.as_ref().map_or(Ok(()), |agent| signal(agent, Signal::CONT))?;
            }
            // One that ended by itself is started again, as its service manager would.
            if station.agent.as_mut().is_some_and(|agent| !matches!(agent.try_wait(), Ok(None))) {
                station.end_agent();
                station.due = Some(now + RESTART_TIME);
            }
            let Some(boot) = station.boot.filter(|_| station.due.is_some_and(|due| due <= now)) else { continue };
            station.due = None;
            if !self.net.has(&place) {
                self.net.plug(place.clone(), address_of(station.number)).context("a host's network")?;
            }
            fs::write(station.directory.join("boot"), format!("{boot}\n")).context("a boot's name")?;
            let mut command = Command::new(&self.program);
            command.args(["agent", "run", "--config"]).arg(station.directory.join("agent.toml"));
            station.agent = Some(spawn(&self.net, &place, &mut command, &station.directory.with_extension("log"))?);
        }
        Ok(())
    }
}

impl Station {
    fn end_agent(&mut self) {
        self.still_until = None;
        self.due = None;
        if let Some(agent) = self.agent.take() {
            end(agent);
        }
    }
}
