//! `quorumfence controller`: the nodes that decide.

mod join;
mod run;

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::super::{Exit, Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Run this controller until it is told to stop.
    Run(run::Args),
    /// Join this machine to a cluster as a controller.
    Join(join::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Run(args) => run::run(args, globals).await,
            Self::Join(args) => join::run(args, globals).await,
        }
    }
}

/// Refuses a place where a node's configuration could not be written in the end, before a token is used up for it.
pub(super) fn check_config_place(path: &Path, data_dir: &Path) -> Result<(), Failure> {
    if path.exists() {
        let message = format!(
            "{} exists already, so nothing was written; name another file with --config, or move this one away",
            path.display()
        );
        return Err(Failure::new(Exit::Conflict, message));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) if parent != data_dir && !parent.is_dir() => {
            let message = format!(
                "{} is no directory, so no configuration can be written there; make it first",
                parent.display()
            );
            Err(Failure::new(Exit::Usage, message))
        }
        Some(_) | None => Ok(()),
    }
}

/// Writes a node's configuration where no file is.
pub(super) fn write_config<T: Serialize>(path: &Path, config: &T) -> Result<(), Failure> {
    let text = toml::to_string(config).expect("configurations have texts and lists, which TOML has too");
    let written = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write the configuration {}", path.display())).because(Some(&error))
    })
}
