//! The world that a lesson is played in: hosts that can be hurt, and the truth about what they ran.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use quorumfence_machine::{ControllerId, HostId, InstanceId, SegmentId, WallMillis};
use quorumfence_raft::{Clock, SystemClock};

use super::hosts::GuestRun;
use super::shell::Shell;
use crate::cli::Failure;

/// A guest, and the host that runs it at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its UUID.
    pub instance: InstanceId,
    /// Its name.
    pub name: String,
    /// The host that runs it at first.
    pub home: HostId,
}

/// How to reach a host's BMC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BmcAccess {
    pub(super) address: SocketAddr,
    pub(super) user: String,
    pub(super) password: String,
}

/// Hosts with BMCs and guests, and places for controllers.
///
/// Faults take effect before a method returns. What [`Self::runs`] and [`Self::off_at`] tell MUST NOT come from the
/// product: the verdict rests on it.
pub(super) trait Stage {
    /// Returns the hosts, in order.
    fn hosts(&self) -> Vec<HostId>;
    /// Returns the guests that were started at first.
    fn guests(&self) -> &[Guest];
    /// Returns where controller `id` may listen.
    fn controller_address(&self, id: ControllerId) -> String;
    /// Starts a controller from its configuration.
    async fn start_controller(&mut self, shell: &Shell, id: ControllerId, config: &Path) -> Result<(), Failure>;
    /// Returns the directory of a host's agent.
    fn agent_directory(&self, host: &HostId) -> std::path::PathBuf;
    /// Starts every host with its agent, which joined already.
    async fn start_hosts(&mut self, shell: &Shell) -> Result<(), Failure>;
    /// Returns a host's BMC; `None` when it is nothing that the command line could enrol.
    fn bmc(&self, host: &HostId) -> Option<BmcAccess>;
    /// Enrols a host whose BMC the command line cannot enrol.
    async fn enrol_past_the_command_line(&self, host: &HostId, segment: &SegmentId) -> Result<(), Failure>;
    /// Whether hosts are simulated, so that controllers have to be told to let them in.
    fn is_laboratory(&self) -> bool;
    /// Returns the address by which a host can be pinged, if it has one of its own.
    fn ping(&self, host: &HostId) -> Option<String>;
    /// Starts the guests, each on its home.
    async fn start_guests(&mut self) -> Result<(), Failure>;

    /// Cuts a host's power.
    async fn cut_power(&mut self, host: &HostId) -> Result<(), Failure>;
    /// Pulls a host's network cable; its BMC stays reachable.
    async fn isolate(&mut self, host: &HostId) -> Result<(), Failure>;
    /// Kills a host's BMC for good.
    async fn kill_bmc(&mut self, host: &HostId) -> Result<(), Failure>;
    /// Makes a host's BMC answer nothing.
    async fn silence_bmc(&mut self, host: &HostId) -> Result<(), Failure>;
    /// Ends a BMC's silence.
    async fn wake_bmc(&mut self, host: &HostId) -> Result<(), Failure>;
    /// Kills a controller without a farewell.
    async fn kill_controller(&mut self, id: ControllerId) -> Result<(), Failure>;

    /// Returns what the verdict rests on.
    fn witness(&self) -> &'static str;
    /// Returns the words before a guest's name when its first line is seen.
    fn first_line(&self) -> &'static str;
    /// Returns every run of every guest so far.
    fn runs(&self) -> BTreeMap<InstanceId, Vec<GuestRun>>;
    /// Returns when a host's power went off; `None` while it is on.
    fn off_at(&self, host: &HostId) -> Result<Option<WallMillis>, Failure>;
}

/// Returns the wall clock's time.
pub(super) fn wall() -> WallMillis {
    SystemClock.wall()
}

/// Returns what the wall clock said at `moment`.
pub(super) fn wall_at(moment: Instant) -> WallMillis {
    let ago = Instant::now().saturating_duration_since(moment);
    WallMillis(wall().0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}
