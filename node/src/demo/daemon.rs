//! Processes that run for as long as the demo does.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Exit, Failure};

/// A process that dies with its handle, and with the demo however that ends.
///
/// `setpriv` asks the kernel to kill the process when the thread that started it ends. So this MUST be made on the main
/// thread, which ends last: the demo is never spawned as a task.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
}

/// The program that ties a process to its parent's life, and the Debian package that brings it.
pub(super) const SETPRIV: (&str, &str) = ("setpriv", "util-linux");

impl Daemon {
    /// Starts `program`, whose log lines go to the end of `log`.
    pub(super) fn start(program: &Path, arguments: &[&str], log: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("{} cannot be started as a process of the demo", program.display()))
                .because(Some(&error))
        };
        let log = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
        let also = log.try_clone().map_err(failed)?;
        let child = Command::new(SETPRIV.0)
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .spawn()
            .map_err(failed)?;
        Ok(Self { child })
    }

    /// Stops it where it stands.
    pub(super) fn freeze(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill_process(Pid::from_child(&self.child), signal).map_err(|error| Failure::of(Exit::Failed, &error))
    }

    /// Returns whether it ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        // A process that cannot be asked about is no longer ours.
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = killed {
            tracing::error!(%error, pid = self.child.id(), "a process of the demo could not be ended");
        }
    }
}
