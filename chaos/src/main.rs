//! `quorumfence-chaos`: breaks simulated clusters until a promise breaks.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cli;

/// Breaks simulated clusters until a promise breaks.
#[derive(Debug, Parser)]
#[command(name = "quorumfence-chaos", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Plays many seeds, each in a process of its own; stops at the first broken promise.
    Sim(cli::sweep::Args),
    /// Plays one seed.
    Run(cli::run::Args),
    /// Plays a case that a sweep or a shrink wrote.
    Replay(cli::replay::Args),
    /// Looks for the fewest faults that still break the promise.
    Shrink(cli::shrink::Args),
    /// Plays stories, and shows where one is told in another way than it is written.
    Stories(cli::stories::Args),
    /// Checks the fencing protocol in every state within bounds, whole or without one guard.
    Model(cli::model::Args),
    /// Plays fresh seeds until the time is over or a promise breaks.
    Soak(cli::soak::Args),
    /// Draws the timeline of a run as one HTML page.
    Report(cli::report::Args),
    /// Plants known bugs in a copy of the tree, and looks how soon each is convicted.
    Mutants(cli::mutants::Args),
    /// Plays one run in which the world is guilty; every sweep plays them all.
    Canary(cli::canary::Args),
}

fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    match std::panic::catch_unwind(|| run(verb)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            tell(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
        Err(_) => {
            for panic in cli::case::panics() {
                tell(&format!("error: the harness itself {panic}"));
            }
            ExitCode::from(101)
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Sim(args) => cli::sweep::run(&args),
        Verb::Run(args) => cli::run::run(&args),
        Verb::Replay(args) => cli::replay::run(&args),
        Verb::Shrink(args) => cli::shrink::run(&args),
        Verb::Stories(args) => cli::stories::run(&args),
        Verb::Model(args) => cli::model::run(&args),
        Verb::Soak(args) => cli::soak::run(&args),
        Verb::Report(args) => cli::report::run(&args),
        Verb::Mutants(args) => cli::mutants::run(&args),
        Verb::Canary(args) => cli::canary::run(&args),
    }
}

/// A standard error that went away changes nothing about the exit code.
fn tell(what: &str) {
    drop(writeln!(io::stderr(), "{what}"));
}
