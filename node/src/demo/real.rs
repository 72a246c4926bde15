//! Real mode: controllers are processes, hosts are namespaces with libvirtd and QEMU, BMCs are `ipmi_sim`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{ControllerId, HostId, InstanceId, Power, SegmentId, WallMillis};
use tokio::task::block_in_place;

use super::console::Console;
use super::daemon::{Daemon, SETPRIV};
use super::hosts::{self, GuestRun, GuestSpec, Host, Options, Rig};
use super::place::{self, Leftovers};
use super::remote::until;
use super::shell::Shell;
use super::stage::{BmcAccess, Guest, Stage};
use crate::cli::{Exit, Failure};
use crate::config;

const HOSTS: u8 = 3;

/// Controller `n` listens on this port plus `n`; the bridge address is this run's own.
const PORT_BASE: u64 = 7420;

const BMC_USER: &str = "fence";

/// Guests, the number of the host that runs them at first, and their priority.
const GUESTS: [(&str, u8, u16); 4] = [("app1", 1, 500), ("db2", 2, 900), ("web2", 2, 500), ("app3", 3, 500)];

/// A guest that wrote so many lines runs well.
const LINES_MIN: usize = 5;

/// Longest boot of all guests: QEMU emulates, and they share a few cores.
const GUEST_PATIENCE: Duration = Duration::from_secs(120);

/// Whether guests write to logs on the shared storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logs {
    /// They write to their serial ports only.
    None,
    /// Each has a log for so many records.
    Of(u32),
}

/// The rig and what runs on it. The order of the fields is the order in which things end.
#[derive(Debug)]
pub(super) struct Real {
    controllers: BTreeMap<ControllerId, Daemon>,
    rig: Rig,
    guests: Vec<(Guest, GuestSpec)>,
    plain: Vec<Guest>,
    logs: Logs,
    directory: PathBuf,
    console: Console,
}

/// Returns what this machine lacks for real mode, one sentence each.
pub(super) fn missing() -> Vec<String> {
    let mut missing = hosts::missing();
    for (program, package) in [SETPRIV, ("virsh", "libvirt-clients")] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
            missing.push(format!("{program} is not in PATH: apt-get install {package}"));
        }
    }
    missing
}

impl Real {
    /// Builds the rig of the lessons, with every host powered off.
    pub(super) fn create(directory: &Path, console: Console) -> Result<Self, Failure> {
        Self::build(directory, console, &GUESTS, Logs::None)
    }

    /// Builds a rig for guests with their homes and priorities, with every host powered off.
    pub(super) fn build(
        directory: &Path,
        console: Console,
        guests: &[(&str, u8, u16)],
        logs: Logs,
    ) -> Result<Self, Failure> {
        let password = format!("{:016x}", rand::random::<u64>());
        let options = Options { hosts: HOSTS, bmc_user: BMC_USER.into(), bmc_password: Secret::new(password) };
        let rig =
            block_in_place(|| Rig::create(&directory.join(place::RIG), &options)).map_err(|error| failed(&error))?;
        // The rig has ended what killed runs left running; only their files remain.
        place::remove_leftovers(Leftovers::All);
        let guests: Vec<(Guest, GuestSpec)> = guests
            .iter()
            .map(|(name, home, priority)| {
                let instance = InstanceId(rand::random());
                let guest = Guest { instance, name: (*name).into(), home: rig.host(*home).id().clone() };
                (guest, GuestSpec { instance, name: (*name).into(), priority: *priority })
            })
            .collect();
        if let Logs::Of(records) = logs {
            let made = guests.iter().try_for_each(|(_, spec)| rig.add_log(spec, records).map(drop));
            made.map_err(|error| failed(&error))?;
        }
        let plain = guests.iter().map(|(guest, _)| guest.clone()).collect();
        Ok(Self { controllers: BTreeMap::new(), rig, guests, plain, logs, directory: directory.into(), console })
    }

    /// Returns the hosts, their BMCs and what the guests write.
    pub(super) fn rig(&self) -> &Rig {
        &self.rig
    }

    /// Returns the file of a guest's log.
    pub(super) fn log(&self, instance: InstanceId) -> Option<PathBuf> {
        let spec = self.guests.iter().map(|(_, spec)| spec).find(|spec| spec.instance == instance)?;
        (self.logs != Logs::None).then(|| self.rig.log(spec))
    }

    /// Returns the file with what a controller's processes wrote.
    pub(super) fn controller_log(&self, id: ControllerId) -> PathBuf {
        self.directory.join(format!("{id}.log"))
    }

    /// Returns a controller's process; `None` while it has none.
    pub(super) fn controller(&self, id: ControllerId) -> Option<&Daemon> {
        self.controllers.get(&id)
    }

    /// Forgets the controllers that ended by themselves, and returns them.
    pub(super) fn bury(&mut self) -> Vec<ControllerId> {
        let mut ended = Vec::new();
        self.controllers.retain(|id, daemon| {
            let has_ended = daemon.has_ended();
            if has_ended {
                ended.push(*id);
            }
            !has_ended
        });
        ended
    }

    fn host(&self, id: &HostId) -> &Host {
        self.rig.hosts().iter().find(|host| host.id() == id).expect("lessons name hosts of this rig")
    }

    fn start_guest(&self, guest: &Guest, spec: &GuestSpec) -> Result<(), Failure> {
        let host = self.host(&guest.home);
        let file = host.directory().join(format!("{}.xml", guest.name));
        let definition = match self.logs {
            Logs::None => self.rig.guest_definition(spec),
            Logs::Of(_) => self.rig.guest_definition_with_log(spec),
        };
        fs::write(&file, definition).map_err(|error| failed(&error))?;
        self.console.say(&format!("  {}$ virsh create {}.xml", guest.home, guest.name))?;
        let mut virsh = host.inside("virsh").map_err(|error| failed(&error))?;
        let output = virsh.args(["--quiet", "create"]).arg(&file).output().map_err(|error| failed(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        Err(Failure::new(Exit::Failed, format!("libvirt on {} did not start guest {}: {said}", guest.home, guest.name)))
    }

    fn start_host(&self, host: &Host, shell: &Shell) -> Result<(), Failure> {
        let config = self.agent_directory(host.id()).join("agent.toml");
        // The machine's firmware tables are those of this machine; the rig says what the host's would be.
        let mut agent = config::Agent::load(&config).map_err(|error| failed(&error))?;
        agent.system_uuid_file = host.system_uuid_file();
        let text = toml::to_string(&agent).expect("configurations have texts and lists, which TOML has too");
        fs::write(&config, text).map_err(|error| failed(&error))?;
        let program = shell.program().display();
        let script = format!("exec '{program}' agent run --config '{}'\n", config.display());
        host.set_command(&script).and_then(|()| host.power_on()).map_err(|error| failed(&error))?;
        self.console.say(&format!(
            "  {}$ quorumfence agent run --config {} &",
            host.id(),
            shell.shorten(&config.to_string_lossy())
        ))
    }
}

impl Stage for Real {
    fn hosts(&self) -> Vec<HostId> {
        self.rig.hosts().iter().map(|host| host.id().clone()).collect()
    }

    fn guests(&self) -> &[Guest] {
        &self.plain
    }

    fn controller_address(&self, id: ControllerId) -> String {
        format!("{}:{}", self.rig.bridge_address(), PORT_BASE + id.0)
    }

    async fn start_controller(&mut self, shell: &Shell, id: ControllerId, config: &Path) -> Result<(), Failure> {
        let config = config.to_string_lossy();
        self.console.say(&format!("  $ quorumfence controller run --config {} &", shell.shorten(&config)))?;
        let log = self.controller_log(id);
        let arguments = ["controller", "run", "--config", &config, "--log", "json"];
        let mut daemon = Daemon::start(shell.program(), &arguments, &log)?;
        let address = self.controller_address(id);
        until(&format!("the start of {id} (see {})", log.display()), GUEST_PATIENCE, async || {
            if daemon.has_ended() {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(Failure::new(Exit::Failed, format!("{id} ended at its start: {said}")));
            }
            Ok(tokio::net::TcpStream::connect(&address).await.is_ok())
        })
        .await?;
        self.controllers.insert(id, daemon);
        Ok(())
    }

    fn agent_directory(&self, host: &HostId) -> PathBuf {
        self.host(host).directory().join("agent")
    }

    async fn start_hosts(&mut self, shell: &Shell) -> Result<(), Failure> {
        block_in_place(|| {
            for host in self.rig.hosts() {
                self.start_host(host, shell)?;
            }
            self.rig.hosts().iter().try_for_each(|host| host.wait_for_libvirt().map_err(|error| failed(&error)))
        })
    }

    fn bmc(&self, host: &HostId) -> Option<BmcAccess> {
        let bmc = self.host(host).bmc();
        Some(BmcAccess {
            address: bmc.address(),
            user: bmc.user().into(),
            password: String::from_utf8_lossy(bmc.password().expose()).into_owned(),
        })
    }

    async fn enrol_past_the_command_line(&self, host: &HostId, _segment: &SegmentId) -> Result<(), Failure> {
        Err(Failure::new(Exit::Failed, format!("{host} has an IPMI BMC, which the command line enrols")))
    }

    fn is_laboratory(&self) -> bool {
        false
    }

    fn ping(&self, host: &HostId) -> Option<String> {
        Some(self.host(host).address().to_string())
    }

    async fn start_guests(&mut self) -> Result<(), Failure> {
        block_in_place(|| self.guests.iter().try_for_each(|(guest, spec)| self.start_guest(guest, spec)))?;
        until("the first lines of every guest", GUEST_PATIENCE, async || {
            let runs = self.rig.guests();
            Ok(self.plain.iter().all(|guest| runs.lines(guest.instance).len() >= LINES_MIN))
        })
        .await
    }

    async fn cut_power(&mut self, host: &HostId) -> Result<(), Failure> {
        block_in_place(|| self.host(host).power_off()).map_err(|error| failed(&error))
    }

    async fn isolate(&mut self, host: &HostId) -> Result<(), Failure> {
        block_in_place(|| self.host(host).isolate()).map_err(|error| failed(&error))
    }

    async fn kill_bmc(&mut self, host: &HostId) -> Result<(), Failure> {
        block_in_place(|| self.host(host).bmc().kill());
        Ok(())
    }

    async fn silence_bmc(&mut self, host: &HostId) -> Result<(), Failure> {
        self.host(host).bmc().silence();
        Ok(())
    }

    async fn wake_bmc(&mut self, host: &HostId) -> Result<(), Failure> {
        self.host(host).bmc().speak();
        Ok(())
    }

    async fn kill_controller(&mut self, id: ControllerId) -> Result<(), Failure> {
        // Dropping the handle is SIGKILL.
        let killed = self.controllers.remove(&id);
        assert!(killed.is_some(), "lessons kill controllers that run");
        Ok(())
    }

    fn witness(&self) -> &'static str {
        "what the guests themselves wrote, and the chassis' own record"
    }

    fn first_line(&self) -> &'static str {
        "first console line of"
    }

    fn runs(&self) -> BTreeMap<InstanceId, Vec<GuestRun>> {
        self.plain.iter().map(|guest| (guest.instance, self.rig.guests().runs(guest.instance))).collect()
    }

    fn off_at(&self, host: &HostId) -> Result<Option<WallMillis>, Failure> {
        let host = self.host(host);
        match host.power().map_err(|error| failed(&error))? {
            Power::On => Ok(None),
            // The chassis writes its record once every process of the host is gone.
            Power::Off => {
                let record = fs::metadata(host.directory().join("power")).and_then(|record| record.modified());
                let since = record.map_err(|error| failed(&error))?.duration_since(SystemTime::UNIX_EPOCH);
                let since = since.map_err(|error| failed(&error))?;
                Ok(Some(WallMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))))
            }
        }
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::of(Exit::Failed, error)
}
