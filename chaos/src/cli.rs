//! The verbs, one a file. Exit code 0: every promise held; 1: one is broken; 2: it could not be found out.

pub(crate) mod against;
pub(crate) mod canary;
pub(crate) mod case;
pub(crate) mod child;
pub(crate) mod hosts;
pub(crate) mod model;
pub(crate) mod mutants;
pub(crate) mod processes;
pub(crate) mod progress;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod shrink;
pub(crate) mod soak;
pub(crate) mod stories;
pub(crate) mod sweep;

use std::io::{self, Write};

/// Writes to standard output. A reader that went away is no failure.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
