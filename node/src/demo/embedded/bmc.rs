//! BMCs of simulated hosts: OpenIPMI's `ipmi_sim` on loopback, whose power switch is the laboratory's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quorumfence_drivers::lab::Laboratory;
use quorumfence_drivers::order::{FenceDevice, FenceSession};
use quorumfence_machine::{HostId, Outcome, SystemUuid};
use tokio::time::sleep;

use super::super::daemon::Daemon;
use super::super::stage::BmcAccess;
use crate::cli::{Exit, Failure};

/// Whether BMCs can be processes on this machine.
pub(super) fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    has("ipmi_sim") && has("setpriv")
}

const USER: &str = "fence";

const CHASSIS: &str = include_str!("chassis.sh");

/// Between two looks for orders of the BMCs.
const POLL: Duration = Duration::from_millis(5);

/// Longest time that a laboratory's BMC takes for one answer.
const ANSWER: Duration = Duration::from_secs(1);

/// One management controller with a clock, an event log and a chassis.
const EMULATION: &str = "mc_setbmc 0x20\n\
    mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
    sel_enable 0x20 1000 0x0a\n\
    mc_enable 0x20\n";

/// One BMC.
#[derive(Debug)]
pub(super) struct Bmc {
    pub(super) access: BmcAccess,
    process: Option<Daemon>,
}

impl Bmc {
    /// Starts the BMC of a host, whose files are in `directory`.
    pub(super) fn start(directory: &Path, machine: SystemUuid) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::of(Exit::Failed, &error);
        let state = directory.join("state");
        fs::create_dir_all(&state).map_err(failed)?;
        let address = free_address().map_err(failed)?;
        let password = format!("{:016x}", rand::random::<u64>());
        let chassis = directory.join("chassis.sh");
        let lan = format!(
            "name \"bmc\"\nset_working_mc 0x20\n\
             startlan 1\n addr {} {}\n priv_limit admin\n\
             allowed_auths_callback none md2 md5 straight\n allowed_auths_user none md2 md5 straight\n\
             allowed_auths_operator none md2 md5 straight\n allowed_auths_admin none md2 md5 straight\n guid {}\nendlan\n\
             chassis_control \"sh {} {}\"\n\
             user 1 true \"\" \"\" user 10 none md2 md5 straight\n\
             user 2 true \"{USER}\" \"{password}\" admin 10 none md2 md5 straight\n",
            address.ip(),
            address.port(),
            machine.to_string().replace('-', ""),
            chassis.display(),
            directory.display(),
        );
        let (lan_file, emulation) = (directory.join("lan.conf"), directory.join("sim.emu"));
        for (path, text) in
            [(&lan_file, lan.as_str()), (&emulation, EMULATION), (&chassis, CHASSIS), (&directory.join("power"), "1\n")]
        {
            fs::write(path, text).map_err(failed)?;
        }
        let (lan_file, emulation) = (lan_file.to_string_lossy(), emulation.to_string_lossy());
        let arguments = ["-c", &lan_file, "-f", &emulation, "-s", &state.to_string_lossy(), "-n"];
        let process = Daemon::start(Path::new("ipmi_sim"), &arguments, &directory.join("bmc.log"))?;
        Ok(Self { access: BmcAccess { address, user: USER.into(), password }, process: Some(process) })
    }

    /// Kills it; its port is closed.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    /// Makes it answer nothing, and keep its port.
    pub(super) fn silence(&self) -> Result<(), Failure> {
        self.process.as_ref().map_or(Ok(()), Daemon::freeze)
    }

    /// Ends its silence.
    pub(super) fn wake(&self) -> Result<(), Failure> {
        self.process.as_ref().map_or(Ok(()), Daemon::thaw)
    }
}

/// Carries orders of the BMCs to the laboratory, and its power back to them, until dropped.
pub(super) async fn carry_orders(laboratory: Laboratory, hosts: BTreeMap<HostId, PathBuf>) {
    loop {
        for (host, directory) in &hosts {
            if let Err(error) = carry(&laboratory, host, directory).await {
                tracing::warn!(%host, %error, "the BMC and the host do not agree about the power");
            }
        }
        sleep(POLL).await;
    }
}

async fn carry(laboratory: &Laboratory, host: &HostId, directory: &Path) -> std::io::Result<()> {
    let order = directory.join("order");
    if order.exists() {
        if laboratory.is_on(host)
            && let Outcome::Observed(mut session) = laboratory.bmc(host).open(ANSWER).await
        {
            let ordered = session.power_off(ANSWER).await;
            tracing::info!(%host, ?ordered, "a BMC ordered off");
        }
        fs::remove_file(&order)?;
    }
    // Written only when it changes: the BMC reads it at every question.
    let power = directory.join("power");
    if !laboratory.is_on(host) && fs::read_to_string(&power)?.trim() != "0" {
        let draft = directory.join("power.written");
        fs::write(&draft, "0\n")?;
        fs::rename(draft, power)?;
    }
    Ok(())
}

/// Returns an address that nobody has bound, and that this process has not given to a BMC which may not have bound it yet.
fn free_address() -> std::io::Result<SocketAddr> {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    for _ in 0..100 {
        let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address) {
            return Ok(address);
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::free_address;

    #[test]
    fn no_address_is_given_twice() {
        let given: BTreeSet<_> = (0..1000).map(|_| free_address().expect("loopback has free ports")).collect();
        assert_eq!(given.len(), 1000);
    }
}
