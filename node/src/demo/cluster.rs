//! The cluster of real mode without its lessons: what the demo stands on, for harnesses that break it in their own ways.
//!
//! Controllers are processes, hosts are namespaces with libvirtd and QEMU, and every guest writes to a log on the storage
//! that all hosts share. Like the rig it is for a plain thread: the calls block. The processes live no longer than the
//! thread that started them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorumfence_machine::{ControllerId, EventRecord, InstanceId};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::bootstrap;
use super::console::Console;
use super::daemon::Daemon;
use super::hosts::Rig;
use super::place::Place;
use super::real::{self, Logs, Real};
use super::remote::Remote;
use super::shell::Shell;
use super::stage::{Guest, Stage};
use crate::cli::{Exit, Failure};
use crate::config::Profile;

/// What to build.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The `quorumfence` program.
    pub program: &'a Path,
    /// Timing of consensus, heartbeats and checks.
    pub profile: Profile,
    /// Guests, the number of the host that runs each at first (1 to 3), and their priorities.
    pub guests: &'a [(&'a str, u8, u16)],
    /// Room for so many records in the log of each guest, which writes five a second.
    pub records: u32,
}

/// Three controllers, three hosts and their guests. Dropping it ends everything; its files go too unless they are kept.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which things end.
    stage: Real,
    remote: Remote,
    shell: Shell,
    place: Place,
    runtime: Runtime,
}

/// Returns what this machine lacks for a cluster of real hosts, one sentence each.
pub fn missing() -> Vec<String> {
    let mut missing = real::missing();
    if !rustix::process::geteuid().is_root() {
        missing.insert(0, "namespaces need root".into());
    }
    missing.dedup();
    missing
}

impl Cluster {
    /// Builds it until every host is admitted, every guest writes and the cluster may fence.
    pub fn open(wanted: &Wanted<'_>) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::of(Exit::Failed, &error))?;
        let mut place = Place::make()?;
        let directory = place.path().to_path_buf();
        let shell = Shell::of(wanted.program, &directory, Console::Nowhere);
        let opened: Result<_, Failure> = runtime.block_on(async {
            let mut stage = Real::build(&directory, Console::Nowhere, wanted.guests, Logs::Of(wanted.records))?;
            let remote = bootstrap::bootstrap(&mut stage, &shell, Console::Nowhere, wanted.profile).await?;
            shell.run_unseen(&["arm", "--reason", "the run begins"]).await?;
            Ok((stage, remote))
        });
        match opened {
            Ok((stage, remote)) => Ok(Self { stage, remote, shell, place, runtime }),
            Err(failure) => {
                place.keep();
                let kept = format!("the files of the run are kept in {}", directory.display());
                Err(Failure { causes: failure.causes.into_iter().chain([kept]).collect(), ..failure })
            }
        }
    }

    /// Returns the hosts, their BMCs and what the guests write to their consoles.
    pub fn rig(&self) -> &Rig {
        self.stage.rig()
    }

    /// Returns the guests.
    pub fn guests(&self) -> &[Guest] {
        self.stage.guests()
    }

    /// Returns the file of a guest's log.
    pub fn log(&self, instance: InstanceId) -> Option<PathBuf> {
        self.stage.log(instance)
    }

    /// Returns the file with what a controller's processes wrote.
    pub fn controller_log(&self, id: ControllerId) -> PathBuf {
        self.stage.controller_log(id)
    }

    /// Returns all controllers.
    pub fn controllers(&self) -> Vec<ControllerId> {
        (1..=bootstrap::CONTROLLERS).map(ControllerId).collect()
    }

    /// Returns those that have a process.
    pub fn running(&self) -> Vec<ControllerId> {
        self.controllers().into_iter().filter(|id| self.stage.controller(*id).is_some()).collect()
    }

    /// Forgets the controllers that ended by themselves, and returns them.
    pub fn bury(&mut self) -> Vec<ControllerId> {
        self.stage.bury()
    }

    /// Kills a controller, if it runs.
    pub fn kill(&mut self, id: ControllerId) -> Result<(), Failure> {
        match self.stage.controller(id) {
            Some(_) => self.runtime.block_on(self.stage.kill_controller(id)),
            None => Ok(()),
        }
    }

    /// Starts a controller from its disk, unless it runs, and waits until it listens.
    pub fn start(&mut self, id: ControllerId) -> Result<(), Failure> {
        if self.stage.controller(id).is_some() {
            return Ok(());
        }
        let config = self.place.path().join(id.to_string()).join("controller.toml");
        self.runtime.block_on(self.stage.start_controller(&self.shell, id, &config))
    }

    /// Stops a controller where it stands, if it runs.
    pub fn freeze(&self, id: ControllerId) -> Result<(), Failure> {
        self.stage.controller(id).map_or(Ok(()), Daemon::freeze)
    }

    /// Lets a controller go on, if it runs.
    pub fn thaw(&self, id: ControllerId) -> Result<(), Failure> {
        self.stage.controller(id).map_or(Ok(()), Daemon::thaw)
    }

    /// Returns the controller that leads, as those see it that answer within a second.
    pub fn leader(&mut self) -> Option<ControllerId> {
        let states = self.runtime.block_on(self.remote.own_states());
        let newest = states.iter().filter(|state| state.leader.is_some()).max_by_key(|state| state.term)?;
        newest.leader.as_ref().map(|leader| ControllerId(leader.id))
    }

    /// Returns the events from number `first` on that one controller has applied.
    pub fn events(&mut self, id: ControllerId, first: u64) -> Result<Vec<EventRecord>, Failure> {
        self.runtime.block_on(self.remote.events(id, first))
    }

    /// Runs the command line as an operator does and returns what it printed. What takes longer than `limit` may still
    /// have happened.
    pub fn operate(&self, arguments: &[&str], limit: Duration) -> Result<String, Failure> {
        let done = self.runtime.block_on(async { timeout(limit, self.shell.run_unseen(arguments)).await });
        let late = format!("'{}' did not end within {} s", arguments.join(" "), limit.as_secs());
        done.unwrap_or_else(|_| Err(Failure::new(Exit::TimedOut, late)))
    }

    /// Keeps the files of the run for somebody to look into, and returns where they are.
    pub fn keep(&mut self) -> &Path {
        self.place.keep();
        self.place.path()
    }
}
