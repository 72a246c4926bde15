//! The rig: simulated hypervisor hosts for the demo in real mode and for tests.
//!
//! Each host is a set of namespaces (mount, network, PID) with a real libvirtd, real QEMU guests and a command, usually
//! the agent. Each has a BMC: OpenIPMI's `ipmi_sim`, whose power-off kills everything in the namespaces at once.
//!
//! ```text
//!   root namespace: controllers, BMCs           bridge  BRIDGE_ADDRESS
//!        │  udp: ipmi_sim ── chassis.sh ──▶ kill    │
//!        └──────────────────────────────────────────┤
//!          ┌───────────────┬───────────────┬────────┘ one veth each
//!        host1           host2           host3        init.sh is PID 1: libvirtd, the command, guests
//!          └───────────────┴───────────────┘          one shared directory: kernel, guests' output
//! ```
//!
//! `hosts/chassis.sh` is the only power switch: the BMC runs it, and so does [`Host::power_off`]. What a run leaves
//! behind is removed when the [`Rig`] is dropped, by a supervisor when the process is killed, and by the next
//! [`Rig::create`] when the supervisor was killed too.
//!
//! The calls block, for some tenths of a second each. It never uses `/dev/kvm`.

#![expect(
    clippy::disallowed_methods,
    reason = "the rig is a piece of the world: real clocks, and names that no other run uses"
)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use quorumfence_drivers::secret::Secret;

pub mod bmc;
pub mod guests;
pub mod host;
mod image;
pub mod judge;
mod run;

pub use bmc::Bmc;
pub use guests::{GuestLine, GuestRun, GuestSpec, Guests};
pub use host::{Host, PowerFact};
use run::{command, write};

/// Most hosts in one rig: their addresses end in 11 to 19.
pub const HOSTS_MAX: u8 = 9;

/// Where runs register, so that a later one finds what a killed one left.
const REGISTRY: &str = "/run/quorumfence-rig";

/// A record of a guest's log: one sector of its disk.
pub const RECORD_BYTES: u64 = 512;

const CHASSIS: &str = include_str!("hosts/chassis.sh");
const INIT: &str = include_str!("hosts/init.sh");
const CLEAN: &str = include_str!("hosts/clean.sh");

/// What the rig starts or runs, and the Debian package that brings it.
const TOOLS: [(&str, &str); 11] = [
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("flock", "util-linux"),
    ("gzip", "gzip"),
    ("ip", "iproute2"),
    ("ipmi_sim", "openipmi"),
    ("libvirtd", "libvirt-daemon-system"),
    ("nsenter", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
];

/// Why the rig could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something.
    #[error("the rig cannot run here: {}", what.join("; "))]
    Missing {
        /// What, and how to get it; one sentence each.
        what: Vec<String>,
    },
    /// A file could not be read or written.
    #[error("cannot access {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command could not be started.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command failed.
    #[error("{command} failed: {said}")]
    Failed {
        /// The command line.
        command: String,
        /// What it wrote to its standard error.
        said: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

/// What to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many hosts, named host1, host2 and so on; 1 to [`HOSTS_MAX`].
    pub hosts: u8,
    /// The BMCs' account.
    pub bmc_user: String,
    /// Its password: at most 20 bytes of ASCII without quotes.
    pub bmc_password: Secret,
}

/// Simulated hosts on one bridge with one shared directory. Dropping it powers everything off and removes it; the
/// files stay.
#[derive(Debug)]
pub struct Rig {
    directory: PathBuf,
    bridge_address: Ipv4Addr,
    hosts: Vec<Host>,
    guests: Guests,
    supervisor: Child,
    /// Locked while this process lives.
    _registration: File,
}

impl Rig {
    /// Builds the network, the guest image, and the hosts, powered off, with their BMCs running.
    ///
    /// `directory` is made if need be, holds everything of this run, and should be short: UNIX sockets below it may have
    /// 107 bytes in all.
    pub fn create(directory: &Path, options: &Options) -> Result<Self, Error> {
        assert!((1..=HOSTS_MAX).contains(&options.hosts), "a rig has 1 to {HOSTS_MAX} hosts");
        let missing = missing();
        if !missing.is_empty() {
            return Err(Error::Missing { what: missing });
        }
        make_directory(directory)?;
        check_name(directory)?;
        let directory = directory.canonicalize().map_err(|source| file_error(directory, source))?;
        make_directory(Path::new(REGISTRY))?;
        clean_leftovers()?;

        let network = Network::choose()?;
        let Network { run, bridge, subnet } = &network;
        let shared = directory.join("shared");
        let text = format!("RUN={run}\nBRIDGE={bridge}\nREGISTRY={REGISTRY}\n");
        write(&directory.join("rig.env"), &text)?;
        for (name, text) in [("chassis.sh", CHASSIS), ("init.sh", INIT), ("clean.sh", CLEAN)] {
            write(&directory.join(name), text)?;
        }
        make_directory(&directory.join("cache"))?;
        image::build(&shared)?;

        let registration = register(run, &directory)?;
        let supervisor = supervise(&directory)?;
        let bridge_address = Ipv4Addr::new(198, 18, *subnet, 1);
        // From here on a failure drops the rig, and with it what was made.
        let mut rig = Self {
            guests: Guests::watch(&directory),
            directory,
            bridge_address,
            hosts: Vec::new(),
            supervisor,
            _registration: registration,
        };
        command("ip", ["link", "add", bridge, "type", "bridge"])?;
        command("ip", ["address", "add", &format!("{bridge_address}/24"), "dev", bridge])?;
        command("ip", ["link", "set", bridge, "up"])?;
        for number in 1..=options.hosts {
            let host = Host::create(&rig.directory, &network, number, options)?;
            rig.hosts.push(host);
        }
        Ok(rig)
    }

    /// Returns the directory of this run.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the root namespace's address on the bridge: what controllers bind, so that hosts reach them.
    pub fn bridge_address(&self) -> Ipv4Addr {
        self.bridge_address
    }

    /// Returns all hosts, host1 first.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns a host by its number, from 1.
    pub fn host(&self, number: u8) -> &Host {
        &self.hosts[usize::from(number) - 1]
    }

    /// Returns the BMC of a host, by the host's number.
    pub fn bmc(&self, number: u8) -> &Bmc {
        self.host(number).bmc()
    }

    /// Returns what the guests write.
    pub fn guests(&self) -> &Guests {
        &self.guests
    }

    /// Returns a libvirt definition of a guest that every host of this rig can start.
    pub fn guest_definition(&self, guest: &GuestSpec) -> String {
        guest.definition(&self.directory.join("shared"), None)
    }

    /// Makes the log of a guest: an empty disk for so many records on the storage that all hosts share. Any host may
    /// write to it at any time, so two runs of one guest at once leave their records in turn. QEMU wants whole pages: a
    /// multiple of 8 records.
    pub fn add_log(&self, guest: &GuestSpec, records: u32) -> Result<PathBuf, Error> {
        let shared = self.directory.join("shared");
        if !shared.join("initrd.root/modules").exists() {
            image::add_disk_driver(&shared)?;
        }
        make_directory(&shared.join("logs"))?;
        let path = self.log(guest);
        let made = File::create(&path).and_then(|file| file.set_len(u64::from(records) * RECORD_BYTES));
        made.map_err(|source| file_error(&path, source))?;
        Ok(path)
    }

    /// Returns the file of a guest's log.
    pub fn log(&self, guest: &GuestSpec) -> PathBuf {
        self.directory.join("shared/logs").join(format!("{}.raw", guest.instance))
    }

    /// Returns the definition of a guest that writes to its log, which [`Rig::add_log`] made.
    pub fn guest_definition_with_log(&self, guest: &GuestSpec) -> String {
        guest.definition(&self.directory.join("shared"), Some(&self.log(guest)))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // The supervisor cleans up when its input ends, whether by this or by the end of the process.
        drop(self.supervisor.stdin.take());
        if let Err(error) = self.supervisor.wait() {
            tracing::error!(%error, "the rig's supervisor cannot be waited for; the next rig cleans up");
        }
    }
}

/// Returns what this machine lacks to run a rig, one sentence each; nothing when it can.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("namespaces need root: run it as root".into());
    }
    for (tool, package) in TOOLS {
        if run::find(tool).is_none() {
            missing.push(format!("{tool} is not in PATH: apt-get install {package}"));
        }
    }
    if image::kernel().is_none() {
        missing.push(
            "there is no guest kernel /boot/vmlinuz-*-cloud-amd64: \
             apt-get install --no-install-recommends linux-image-cloud-amd64"
                .into(),
        );
    }
    missing
}

/// Names that no other run uses.
#[derive(Debug)]
struct Network {
    run: String,
    bridge: String,
    subnet: u8,
}

impl Network {
    /// Draws a run id and a subnet of 198.18.0.0/16, which is set aside for benchmarks and so used by nobody.
    fn choose() -> Result<Self, Error> {
        const TRIES_MAX: u32 = 64;
        for _ in 0..TRIES_MAX {
            let run = format!("{:04x}", rand::random::<u16>());
            let bridge = format!("qf{run}");
            let subnet: u8 = rand::random();
            let taken = command("ip", ["-4", "-oneline", "address", "show"])?.contains(&format!(" 198.18.{subnet}."));
            if !taken && !Path::new(REGISTRY).join(&run).exists() {
                return Ok(Self { run, bridge, subnet });
            }
        }
        Err(Error::Missing { what: vec!["no subnet of 198.18.0.0/16 is free".into()] })
    }
}

/// Starts the process that cleans up when this one ends, however it ends: its standard input is a pipe from here.
fn supervise(directory: &Path) -> Result<Child, Error> {
    let log = directory.join("clean.log");
    let log = File::create(&log).map_err(|source| file_error(&log, source))?;
    let also = log.try_clone().map_err(|source| file_error(directory, source))?;
    std::process::Command::new("setsid")
        .args(["sh", "-c", r#"cat >/dev/null; exec sh "$1/clean.sh" "$1""#, "supervisor"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(also)
        .spawn()
        .map_err(|source| Error::Start { program: "setsid".into(), source })
}

/// Writes the run down for a later one to find. The lock ends with this process.
fn register(run: &str, directory: &Path) -> Result<File, Error> {
    let path = Path::new(REGISTRY).join(run);
    // It appears locked, or another run that starts at this moment would clean it up.
    let draft = Path::new(REGISTRY).join(format!(".{run}"));
    write(&draft, &directory.display().to_string())?;
    let file = File::open(&draft).map_err(|source| file_error(&draft, source))?;
    file.try_lock().map_err(|error| file_error(&draft, error.into()))?;
    fs::rename(&draft, &path).map_err(|source| file_error(&path, source))?;
    Ok(file)
}

/// Cleans up after runs whose process is gone.
fn clean_leftovers() -> Result<(), Error> {
    let registry = Path::new(REGISTRY);
    for entry in fs::read_dir(registry).map_err(|source| file_error(registry, source))? {
        let path = entry.map_err(|source| file_error(registry, source))?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        // A run that ended meanwhile takes its entry along.
        let Ok(file) = OpenOptions::new().read(true).open(&path) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        let Ok(directory) = run::read(&path) else { continue };
        let script = Path::new(&directory).join("clean.sh");
        if script.exists() {
            command("sh", [script.as_os_str(), directory.as_ref()])?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(&path, error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Refuses names that the scripts, libvirt or ipmi_sim would have to quote.
fn check_name(directory: &Path) -> Result<(), Error> {
    let name = directory.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::Missing {
        what: vec![format!("'{name}' is no directory for a rig: choose one of letters, digits, '/._-'")],
    })
}

fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.into(), source }
}
