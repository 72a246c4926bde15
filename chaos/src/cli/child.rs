//! A run in a process of its own: one that aborts, hangs or leaks harms no other.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use quorumfence_chaos::mutants;

use super::case::{self, Report};

/// A run that takes this long hangs: a hundred times the usual.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) program: PathBuf,
    /// The bug that is awake, in a program that has bugs.
    pub(crate) planted: Option<String>,
}

impl Child {
    /// Returns this very program, with the bug that is awake in it.
    pub(crate) fn this() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program does not find itself")?;
        Ok(Self { program, planted: std::env::var(mutants::VARIABLE).ok() })
    }

    /// Plays one seed.
    pub(crate) fn seed(&self, seed: u64) -> anyhow::Result<Report> {
        self.tell(seed, &["run", "--json", "--seed", &seed.to_string()])
    }

    /// Plays one case.
    pub(crate) fn case(&self, path: &Path) -> anyhow::Result<Report> {
        let run = case::read(path)?;
        let path = path.to_str().with_context(|| format!("{} has no readable name", path.display()))?;
        self.tell(run.seed, &["replay", "--json", path])
    }

    /// Plays one canary.
    pub(crate) fn canary(&self, seed: u64, guilt: &str) -> anyhow::Result<Report> {
        self.tell(seed, &["canary", guilt, "--seed", &seed.to_string()])
    }

    /// Returns what the process reported. One that says nothing has broken the promise to end in order.
    fn tell(&self, seed: u64, arguments: &[&str]) -> anyhow::Result<Report> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.env_remove(mutants::VARIABLE).envs(self.planted.iter().map(|name| (mutants::VARIABLE, name)));
        let mut child = command.spawn().with_context(|| format!("seed {seed} cannot be started"))?;
        let mut output = child.stdout.take().context("a piped output is there")?;
        let (sender, said) = mpsc::sync_channel(1);
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            let read = output.read_to_string(&mut text);
            // Who gave up waiting does not want it any more.
            drop(sender.send(read.map(|_| text)));
        });
        let Ok(text) = said.recv_timeout(PATIENCE) else {
            child.kill().and_then(|()| child.wait()).with_context(|| format!("seed {seed} hangs and does not end"))?;
            return Ok(Report::lost(seed, format!("the process did not end within {PATIENCE:?}")));
        };
        let status = child.wait().with_context(|| format!("seed {seed} does not end"))?;
        reader.join().ok().context("the reader does not panic")?;
        let text = text.with_context(|| format!("seed {seed} cannot be read"))?;
        let lost = |_| Report::lost(seed, format!("the process ended with {status} and said {text:?}"));
        Ok(serde_json::from_str(&text).unwrap_or_else(lost))
    }
}
