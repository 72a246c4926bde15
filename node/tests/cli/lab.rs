//! Controllers as processes on loopback, in a directory of their own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Everything here takes far less, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command wrote and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A directory, an operator context in it, and the processes that were started.
pub(crate) struct Lab {
    place: TempDir,
    processes: Vec<Child>,
}

impl Lab {
    /// Returns a laboratory without any controller.
    pub(crate) fn empty() -> Self {
        Self { place: tempfile::tempdir().expect("a temporary directory"), processes: Vec::new() }
    }

    /// Returns a laboratory with one controller that runs, and its address.
    pub(crate) fn with_one_controller() -> (Self, String) {
        let mut lab = Self::empty();
        let address = lab.found();
        lab.start_controller("c1");
        lab.eventually(&["status"], |ran| ran.code == 0);
        (lab, address)
    }

    /// Founds a cluster and returns its first controller's address.
    pub(crate) fn found(&self) -> String {
        let address = free_address();
        let ran = self.run(&[
            "cluster",
            "init",
            "--name",
            "lab",
            "--data-dir",
            "c1",
            "--listen",
            &address,
            "--advertise",
            &address,
            "--profile",
            "fast",
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        address
    }

    /// Starts the controller in a data directory.
    pub(crate) fn start_controller(&mut self, data_dir: &str) -> u32 {
        let config = format!("{data_dir}/controller.toml");
        self.start(&["controller", "run", "--config", &config], data_dir)
    }

    /// Starts a process that goes on, and returns its id.
    pub(crate) fn start(&mut self, arguments: &[&str], log: &str) -> u32 {
        let log = std::fs::File::create(self.path(&format!("{log}.log"))).expect("a log");
        let process = self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let process = process.expect("the binary starts");
        let id = process.id();
        self.processes.push(process);
        id
    }

    /// Ends a process at once, as a power cut would.
    pub(crate) fn kill(&mut self, id: u32) {
        let process = self.processes.iter_mut().find(|process| process.id() == id).expect("it was started here");
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }

    /// Asks a process to stop and returns its exit code.
    pub(crate) fn stop(&mut self, id: u32) -> Option<i32> {
        let process = self.processes.iter_mut().find(|process| process.id() == id).expect("it was started here");
        let pid = rustix::process::Pid::from_child(process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        process.wait().expect("it ends").code()
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).stdin(Stdio::null()).output().expect("the binary runs");
        Ran {
            code: output.status.code().expect("no signal ended it"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Runs the binary, which must succeed, and returns what it printed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?} {ran:?}");
        ran.out
    }

    /// Runs the binary, which must succeed, and returns the items of its document.
    pub(crate) fn items(&self, arguments: &[&str]) -> Value {
        let printed = self.must(&[&["-o", "json"], arguments].concat());
        let document: Value = serde_json::from_str(&printed).expect("a document");
        assert_eq!(document["apiVersion"], "quorumfence.dev/v1");
        document["items"].clone()
    }

    /// Runs the binary again and again until the answer is the wanted one.
    pub(crate) fn eventually(&self, arguments: &[&str], wanted: impl Fn(&Ran) -> bool) -> Ran {
        let tries = PATIENCE.as_millis() / 100;
        let mut last = None;
        for _ in 0..tries {
            let ran = self.run(arguments);
            if wanted(&ran) {
                return ran;
            }
            last = Some(ran);
            std::thread::park_timeout(Duration::from_millis(100));
        }
        panic!("{arguments:?} did not give the wanted answer within {PATIENCE:?}: {last:?}");
    }

    /// Returns a path in the laboratory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorumfence"));
        command.current_dir(&self.place).args(arguments);
        command
            .env_clear()
            .env("QUORUMFENCE_CONTEXT", self.path("operator.toml"))
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in &mut self.processes {
            if process.kill().is_err() {
                continue;
            }
            process.wait().expect("a killed process ends");
        }
    }
}

/// Returns an address of loopback that is free at this moment.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("it can be written");
}

/// Returns a failed command's whole appearance.
pub(crate) fn failed(code: i32, err: &str) -> Ran {
    Ran { code, out: String::new(), err: err.into() }
}
