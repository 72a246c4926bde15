//! The command line: parse, ask a controller, print.
//!
//! One verb is one file below [`commands`]: its arguments with their help, then one function. Every answer is a table
//! for people or, with `-o json`, a document whose shape stays. Every failure says what happened, what it means and
//! what to do, and ends the process with the [`Exit`] code that scripts can rely on.

pub mod client;
pub mod commands;
mod confirm;
mod duration;
mod failure;
mod join;
pub mod output;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use self::client::Client;
pub use self::failure::{Exit, Failure};
use self::output::Format;
use crate::cluster::operator::{self, Context};
use crate::telemetry;

/// High availability for virtual machines: finds dead hosts by a quorum, proves them off, restarts their instances.
#[derive(Debug, Parser)]
#[command(name = "quorumfence", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit codes: 0 ok; 1 failed; 2 usage; 3 not found; 4 refused by safety policy; \
                        5 time-out; 6 unreachable; 7 conflict.")]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: commands::Command,
}

/// What every verb understands.
#[derive(Debug, Clone, clap::Args)]
pub struct Globals {
    /// How to print the answer.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
    /// How long to try or to wait, such as 500ms, 30s or 5m.
    #[arg(long, global = true, value_parser = duration::parse, default_value = "30s", value_name = "TIME")]
    pub timeout: Duration,
    /// Do not ask for confirmation.
    #[arg(long, global = true)]
    pub yes: bool,
    /// The operator context to use [default: $QUORUMFENCE_CONTEXT or ~/.config/quorumfence/operator.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// How log lines on standard error look.
    #[arg(long, global = true, value_enum, default_value_t = telemetry::Format::Human, value_name = "FORMAT")]
    pub log: telemetry::Format,
}

impl Globals {
    /// Returns where the operator context is.
    pub fn context_path(&self) -> Result<PathBuf, Failure> {
        match &self.context {
            Some(path) => Ok(path.clone()),
            None => operator::default_path().map_err(|error| Failure::of(Exit::Usage, &error)),
        }
    }

    /// Returns a client of the cluster in the operator context.
    pub fn client(&self) -> Result<Client, Failure> {
        let path = self.context_path()?;
        let context = Context::load(&path).map_err(|error| Failure::of(Exit::Failed, &error))?;
        Ok(Client::new(context, path, self.timeout))
    }
}

/// Runs the program that the arguments ask for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The demo talks to people, and its log goes to a file.
    if !matches!(cli.command, commands::Command::Demo(_)) {
        telemetry::start(cli.globals.log);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::of(Exit::Failed, &error).report(),
    };
    match runtime.block_on(cli.command.run(&cli.globals)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
