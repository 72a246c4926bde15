//! The operator of the demo: runs the command line as one would at a terminal, and shows it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::console::Console;
use crate::cli::{Exit, Failure};
use crate::cluster::operator::CONTEXT_VARIABLE;

/// Longest run of one command; most take some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs commands of this very program with the operator's context of this run.
#[derive(Debug)]
pub(super) struct Shell {
    program: PathBuf,
    directory: PathBuf,
    console: Console,
}

impl Shell {
    /// Everything of the run is below `directory`, which is shown as `$DIR`.
    pub(super) fn new(directory: &Path, console: Console) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::Failed, "the demo cannot find its own program, which it runs as an operator would")
                .because(Some(&error))
        })?;
        Ok(Self::of(&program, directory, console))
    }

    /// The same for another program's file.
    pub(super) fn of(program: &Path, directory: &Path, console: Console) -> Self {
        Self { program: program.into(), directory: directory.into(), console }
    }

    /// Returns this program's file.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the operator's context.
    pub(super) fn context(&self) -> PathBuf {
        self.directory.join("operator.toml")
    }

    /// Returns a text as it is shown: without this run's directory.
    pub(super) fn shorten(&self, text: &str) -> String {
        text.replace(&*self.directory.to_string_lossy(), "$DIR")
    }

    /// Shows a command, runs it to its end and returns what it printed.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.console.say(&format!("  $ {}", self.shown(arguments)))?;
        self.run_unseen(arguments).await
    }

    /// Runs a command to its end and returns what it printed.
    pub(super) async fn run_unseen(&self, arguments: &[&str]) -> Result<String, Failure> {
        let shown = self.shown(arguments);
        let mut command = Command::new(&self.program);
        command.args(arguments).env(CONTEXT_VARIABLE, self.context()).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await.map_err(|_| {
            Failure::new(Exit::TimedOut, format!("'{shown}' did not end within {} s", PATIENCE.as_secs()))
        })?;
        let output = output
            .map_err(|error| Failure::new(Exit::Failed, format!("'{shown}' cannot be run")).because(Some(&error)))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut failure =
            Failure::new(Exit::Failed, format!("'{shown}' failed ({}), so the demo cannot go on", output.status));
        failure.causes = String::from_utf8_lossy(&output.stderr).lines().map(Into::into).collect();
        Err(failure)
    }

    /// Runs a command and shows what it printed.
    pub(super) async fn show(&self, arguments: &[&str]) -> Result<(), Failure> {
        let text = self.run(arguments).await?;
        self.console.quote(&text)
    }

    /// A token is a secret, and long.
    fn shown(&self, arguments: &[&str]) -> String {
        let mut words = vec!["quorumfence".to_string()];
        let mut is_secret = false;
        for argument in arguments {
            let shown = if is_secret { "$TOKEN".into() } else { self.shorten(argument) };
            words.push(if shown.contains(' ') { format!("'{shown}'") } else { shown });
            is_secret = *argument == "--token";
        }
        words.join(" ")
    }
}
