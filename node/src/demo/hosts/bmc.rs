//! One host's BMC: OpenIPMI's `ipmi_sim`, reachable on the bridge address also when the host is not.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use quorumfence_drivers::secret::Secret;
use quorumfence_machine::SystemUuid;
use rustix::process::{Pid, Signal, kill_process};

use super::run::{started_at, wait, write};
use super::{Error, Options, file_error, make_directory};

/// Ports are `PORT_BASE` and the host's number; the bridge address is this run's own.
const PORT_BASE: u16 = 6230;

/// Longest wait for a BMC's socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// A BMC that can be silenced and killed.
#[derive(Debug)]
pub struct Bmc {
    directory: PathBuf,
    pid_file: PathBuf,
    address: SocketAddr,
    user: String,
    password: Secret,
    process: Mutex<Option<Child>>,
}

impl Bmc {
    pub(super) fn create(
        host_directory: &Path,
        chassis: &Path,
        ip: Ipv4Addr,
        number: u8,
        system_uuid: SystemUuid,
        options: &Options,
    ) -> Result<Self, Error> {
        let directory = host_directory.join("bmc");
        make_directory(&directory.join("state"))?;
        let port = PORT_BASE + u16::from(number);
        let guid = system_uuid.to_string().replace('-', "");
        let Options { bmc_user: user, bmc_password, .. } = options;
        let password = String::from_utf8_lossy(bmc_password.expose());
        let lan = format!(
            "name \"bmc{number}\"\nset_working_mc 0x20\n\
             startlan 1\n addr {ip} {port}\n priv_limit admin\n\
             allowed_auths_callback none md2 md5 straight\n allowed_auths_user none md2 md5 straight\n\
             allowed_auths_operator none md2 md5 straight\n allowed_auths_admin none md2 md5 straight\n guid {guid}\nendlan\n\
             chassis_control \"sh {} {}\"\n\
             user 1 true \"\" \"\" user 10 none md2 md5 straight\n\
             user 2 true \"{user}\" \"{password}\" admin 10 none md2 md5 straight\n",
            chassis.display(),
            host_directory.display()
        );
        write(&directory.join("lan.conf"), &lan)?;
        write(&directory.join("sim.emu"), EMULATION)?;
        let bmc = Self {
            directory,
            pid_file: host_directory.join("bmc.pid"),
            address: (ip, port).into(),
            user: user.clone(),
            password: bmc_password.clone(),
            process: Mutex::new(None),
        };
        bmc.start()?;
        Ok(bmc)
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its account.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns its account's password.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// Starts it, unless it runs.
    pub fn start(&self) -> Result<(), Error> {
        let mut process = self.lock();
        if process.is_some() {
            return Ok(());
        }
        let path = self.directory.join("log");
        let log = File::create(&path).map_err(|source| file_error(&path, source))?;
        let also = log.try_clone().map_err(|source| file_error(&path, source))?;
        let child = Command::new("ipmi_sim")
            .current_dir(&self.directory)
            .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .spawn()
            .map_err(|source| Error::Start { program: "ipmi_sim".into(), source })?;
        let pid = child.id();
        *process = Some(child);
        let started = started_at(pid).unwrap_or_default();
        write(&self.pid_file, &format!("{pid} {started}\n"))?;
        drop(process);
        wait(&format!("the start of the BMC at {}", self.address), PATIENCE, || Ok(self.listens()))
    }

    /// Stops it without a word: it keeps its port and answers nothing.
    pub fn silence(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends its silence.
    pub fn speak(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it; its port is closed.
    pub fn kill(&self) {
        let Some(mut process) = self.lock().take() else { return };
        let killed = process.kill().and_then(|()| process.wait());
        if let Err(error) = killed {
            tracing::error!(%error, address = %self.address, "a BMC could not be killed");
        }
    }

    /// Tells whether somebody has its port, by the kernel's table: a probe would be a session.
    fn listens(&self) -> bool {
        let sockets = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let SocketAddr::V4(address) = self.address else { return false };
        let entry = format!(" {:08X}:{:04X} ", u32::from_le_bytes(address.ip().octets()), address.port());
        sockets.contains(&entry)
    }

    fn signal(&self, signal: Signal) {
        let process = self.lock();
        let Some(process) = process.as_ref() else { return };
        let sent = kill_process(Pid::from_child(process), signal);
        if let Err(error) = sent {
            tracing::error!(%error, address = %self.address, "a BMC could not be signalled");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().expect("nobody panics while holding the process")
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One management controller with a clock, an event log and a chassis.
const EMULATION: &str = "mc_setbmc 0x20\n\
    mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
    sel_enable 0x20 1000 0x0a\n\
    mc_enable 0x20\n";
