//! Three real controllers on loopback, in a directory of their own, and what is done to their processes.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Everything here takes far less, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Controllers, their operator's context, and hosts that are only names.
pub(crate) struct Lab {
    place: TempDir,
    controllers: Vec<Option<Child>>,
    pub(crate) addresses: Vec<String>,
}

impl Lab {
    /// Founds a cluster of three voters with hosts of these names.
    pub(crate) fn with_three_controllers(hosts: &[&str]) -> Self {
        let mut lab = Self { place: tempfile::tempdir().unwrap(), controllers: Vec::new(), addresses: Vec::new() };
        let first = free_address();
        let place = ["--data-dir", "c1", "--listen", &first, "--advertise", &first, "--profile", "fast"];
        lab.must(&[&["cluster", "init", "--name", "lab"], &place[..]].concat());
        lab.start(1);
        lab.addresses.push(first.clone());
        lab.eventually(&["status"]);
        for (number, directory) in [(2, "c2"), (3, "c3")] {
            let (token, address) = (lab.must(&["token", "create", "--role", "controller"]), free_address());
            let place = ["--data-dir", directory, "--listen", &address, "--advertise", &address, "--profile", "fast"];
            let join = ["controller", "join", "--token", token.trim(), "--controller", &first];
            lab.must(&[&join[..], &place[..]].concat());
            lab.start(number);
            lab.addresses.push(address);
            lab.eventually(&["member", "add", &number.to_string(), "--promote", "--wait"]);
        }
        for host in hosts {
            let token = lab.must(&["token", "create", "--role", "agent"]);
            let join =
                ["agent", "join", "--token", token.trim(), "--controller", &first, "--host", host, "--data-dir", host];
            lab.must(&join);
        }
        // The operator's context learns where all controllers are.
        lab.eventually(&["status"]);
        lab
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.path("operator.toml")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Starts a controller, counted from 1.
    pub(crate) fn start(&mut self, number: usize) {
        let config = format!("c{number}/controller.toml");
        let log = File::options().create(true).append(true).open(self.path(&format!("c{number}.log"))).unwrap();
        let mut command = self.command(&["controller", "run", "--config", &config]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        if self.controllers.len() < number {
            self.controllers.resize_with(number, || None);
        }
        self.controllers[number - 1] = Some(child);
    }

    /// Ends a controller at once.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.controllers[number - 1].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops a controller where it stands, or lets it go on.
    pub(crate) fn signal(&self, number: usize, signal: Signal) {
        if let Some(child) = &self.controllers[number - 1] {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn eventually(&self, arguments: &[&str]) {
        let mut last = String::new();
        for _ in 0..PATIENCE.as_millis() / 200 {
            let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
            if output.status.success() {
                return;
            }
            last = String::from_utf8_lossy(&output.stderr).into_owned();
            std::thread::park_timeout(Duration::from_millis(200));
        }
        panic!("{arguments:?} did not succeed within {PATIENCE:?}: {last}");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(product());
        command.current_dir(&self.place).args(arguments);
        command.env_clear().env("QUORUMFENCE_CONTEXT", self.context()).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.controllers.iter_mut().flatten() {
            // One that ended by itself is gone already.
            drop(child.kill().and_then(|()| child.wait()));
        }
    }
}

/// Returns the product's binary, which cargo builds beside this package's.
fn product() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_quorumfence-chaos")).with_file_name("quorumfence");
    assert!(
        beside.exists(),
        "{} is missing; build it with: cargo build --release -p quorumfence-node",
        beside.display()
    );
    beside
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
