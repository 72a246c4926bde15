//! One simulated host: its power, its cable, its identity, its command.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quorumfence_machine::{BootId, HostId, Power, SystemUuid, WallMillis};

use super::bmc::Bmc;
use super::run::{command, read, wait, write};
use super::{Error, Network, Options, file_error, make_directory};

/// Longest wait for libvirtd after power-on. It probes QEMU once per rig, which takes seconds on a busy machine.
const LIBVIRT_PATIENCE: Duration = Duration::from_secs(30);

/// A simulated hypervisor host.
#[derive(Debug)]
pub struct Host {
    id: HostId,
    directory: PathBuf,
    chassis: PathBuf,
    veth: String,
    address: Ipv4Addr,
    system_uuid: SystemUuid,
    bmc: Bmc,
}

/// What happened to a host's power, by the chassis' own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerFact {
    /// When, on the machine's wall clock. Off is written once every process of the host is gone, and before anybody can
    /// read that it is off.
    pub at: WallMillis,
    /// The boot that began; `None` when the power went off.
    pub boot: Option<BootId>,
}

impl PowerFact {
    fn of(line: &str) -> Option<Self> {
        let (at, what) = line.split_once(' ')?;
        let at = WallMillis(at.parse().ok()?);
        let boot = match what.strip_prefix("on ") {
            Some(boot) => Some(boot.parse().ok()?),
            None if what == "off" => None,
            None => return None,
        };
        Some(Self { at, boot })
    }
}

fn bad_record(path: &Path, line: &str) -> Error {
    let source = io::Error::new(io::ErrorKind::InvalidData, format!("'{line}' is no fact about power"));
    file_error(path, source)
}

impl Host {
    pub(super) fn create(rig: &Path, network: &Network, number: u8, options: &Options) -> Result<Self, Error> {
        let id: HostId = format!("host{number}").parse().expect("host and a digit is a name");
        let directory = rig.join("hosts").join(id.as_str());
        for inner in ["dev", "etc", "lib/guests", "log", "run"] {
            make_directory(&directory.join(inner))?;
        }
        make_directory(&rig.join("shared/guests").join(id.as_str()))?;
        let Network { run, bridge, subnet } = network;
        let veth = format!("{bridge}h{number}");
        let address = Ipv4Addr::new(198, 18, *subnet, 10 + number);
        let system_uuid = SystemUuid(rand::random());
        let text = format!(
            "HOST={id}\nRIG='{}'\nSHARED='{}'\nNETNS=qf{run}-{id}\nVETH={veth}\nBRIDGE={bridge}\nADDRESS={address}\n",
            rig.display(),
            rig.join("shared").display()
        );
        write(&directory.join("host.env"), &text)?;
        write(&directory.join("power"), "0\n")?;
        write(&directory.join("system_uuid"), &format!("{system_uuid}\n"))?;
        write(
            &directory.join("etc/libvirtd.conf"),
            &format!("host_uuid = \"{system_uuid}\"\nauth_unix_rw = \"none\"\n"),
        )?;
        write(&directory.join("etc/qemu.conf"), QEMU_CONF)?;
        let chassis = rig.join("chassis.sh");
        let bmc_address = Ipv4Addr::new(198, 18, *subnet, 1);
        let bmc = Bmc::create(&directory, &chassis, bmc_address, number, system_uuid, options)?;
        Ok(Self { id, directory, chassis, veth, address, system_uuid, bmc })
    }

    /// Returns its name.
    pub fn id(&self) -> &HostId {
        &self.id
    }

    /// Returns its address on the bridge.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns its SMBIOS UUID, which its BMC reports as its GUID.
    pub fn system_uuid(&self) -> SystemUuid {
        self.system_uuid
    }

    /// Returns the file with its SMBIOS UUID, for the agent's `system_uuid_file`.
    pub fn system_uuid_file(&self) -> PathBuf {
        self.directory.join("system_uuid")
    }

    /// Returns the file with the boot id of its current boot, for the agent's `boot_id_file`.
    pub fn boot_id_file(&self) -> PathBuf {
        self.directory.join("boot_id")
    }

    /// Returns the directory that survives its power cycles. Same path inside and outside.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns its BMC.
    pub fn bmc(&self) -> &Bmc {
        &self.bmc
    }

    /// Returns the URI by which the root namespace reaches its libvirt. Inside it is `qemu:///system`.
    pub fn libvirt_uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.libvirt_socket().display())
    }

    /// Sets the shell script that it runs after each power-on, when libvirt answers; it is restarted when it ends.
    pub fn set_command(&self, script: &str) -> Result<(), Error> {
        write(&self.directory.join("command"), script)
    }

    /// Returns the file with what its command writes.
    pub fn command_log(&self) -> PathBuf {
        self.directory.join("command.log")
    }

    /// Switches it on under a new boot id. Returns at once; see [`Host::wait_for_libvirt`].
    pub fn power_on(&self) -> Result<(), Error> {
        self.set_power("1")
    }

    /// Cuts its power as its BMC does. When it returns, every process of the host is gone.
    pub fn power_off(&self) -> Result<(), Error> {
        self.set_power("0")
    }

    /// Tells whether its chassis is on.
    pub fn power(&self) -> Result<Power, Error> {
        let on = read(&self.directory.join("power"))? == "1";
        Ok(if on { Power::On } else { Power::Off })
    }

    /// Waits until its libvirt answers.
    pub fn wait_for_libvirt(&self) -> Result<(), Error> {
        let socket = self.libvirt_socket();
        wait(&format!("libvirt's start on {}", self.id), LIBVIRT_PATIENCE, || {
            Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok())
        })
    }

    /// Pulls its network cable. Its BMC stays reachable. It stays pulled across power cycles.
    pub fn isolate(&self) -> Result<(), Error> {
        write(&self.directory.join("isolated"), "")?;
        self.set_link("down")
    }

    /// Plugs its network cable in.
    pub fn heal(&self) -> Result<(), Error> {
        let file = self.directory.join("isolated");
        if file.exists() {
            fs::remove_file(&file).map_err(|source| file_error(&file, source))?;
        }
        self.set_link("up")
    }

    /// Returns a command that will run inside the host, such as `virsh`.
    pub fn inside(&self, program: &str) -> Result<Command, Error> {
        let init = read(&self.directory.join("init"))?;
        let pid = init.split_whitespace().next().expect("the first word of the file is a pid");
        let mut command = Command::new("nsenter");
        command.args(["--target", pid, "--mount", "--net", "--pid", program]);
        Ok(command)
    }

    /// Returns what happened to its power so far, oldest first.
    pub fn power_record(&self) -> Result<Vec<PowerFact>, Error> {
        let path = self.directory.join("record");
        if !path.exists() {
            return Ok(Vec::new());
        }
        read(&path)?.lines().map(|line| PowerFact::of(line).ok_or_else(|| bad_record(&path, line))).collect()
    }

    /// Stops its command where it stands. It must run.
    pub fn freeze_command(&self) -> Result<(), Error> {
        self.signal("command.pid", "-STOP")
    }

    /// Lets its command go on.
    pub fn thaw_command(&self) -> Result<(), Error> {
        self.signal("command.pid", "-CONT")
    }

    /// Kills its command, which is started again.
    pub fn kill_command(&self) -> Result<(), Error> {
        self.signal("command.pid", "-KILL")
    }

    /// Stops its libvirt where it stands; the guests run on.
    pub fn freeze_libvirt(&self) -> Result<(), Error> {
        self.signal("run/libvirtd.pid", "-STOP")
    }

    /// Lets its libvirt go on.
    pub fn thaw_libvirt(&self) -> Result<(), Error> {
        self.signal("run/libvirtd.pid", "-CONT")
    }

    /// Signals a process by the pid that it has inside.
    fn signal(&self, pid_file: &str, signal: &str) -> Result<(), Error> {
        let pid = read(&self.directory.join(pid_file))?;
        let mut kill = self.inside("kill")?;
        let output = kill.args([signal, &pid]).output();
        let output = output.map_err(|source| Error::Start { program: "nsenter".into(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        Err(Error::Failed { command: format!("kill {signal} {pid} on {}", self.id), said })
    }

    fn libvirt_socket(&self) -> PathBuf {
        self.directory.join("run/libvirt/libvirt-sock")
    }

    fn set_power(&self, value: &str) -> Result<(), Error> {
        let chassis = self.chassis.as_os_str();
        let words = ["set", "power", value].map(AsRef::as_ref);
        command("sh", [chassis, self.directory.as_os_str()].into_iter().chain(words)).map(drop)
    }

    fn set_link(&self, state: &str) -> Result<(), Error> {
        // A host without power has no link; it finds its cable at the next power-on.
        if self.power()? == Power::Off {
            return Ok(());
        }
        command("ip", ["link", "set", self.veth.as_str(), state]).map(drop)
    }
}

/// Guests write their serial ports themselves (no virtlogd between them and the judge), as root, without cgroups or
/// namespaces of libvirt's own: the host is one already.
const QEMU_CONF: &str = r#"user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"#;
