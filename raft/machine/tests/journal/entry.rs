//! Entries as text: `INDEX JSON` for a command, `INDEX voters ID ID ...` for a membership.

use std::collections::BTreeSet;

use quorumfence_machine::{Command, ControllerId, LogIndex};

/// One committed entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) at: LogIndex,
    pub(crate) said: Said,
}

#[derive(Debug)]
pub(crate) enum Said {
    Command(Box<Command>),
    Voters(BTreeSet<ControllerId>),
}

/// Reads a journal. Lines that begin with '#' are for people.
pub(crate) fn read(text: &str) -> Vec<Entry> {
    text.lines().filter(|line| !line.starts_with('#')).map(parse).collect()
}

fn parse(line: &str) -> Entry {
    let (index, said) = line.split_once(' ').unwrap_or_else(|| panic!("'{line}' has no index"));
    let said = match said.strip_prefix("voters ") {
        Some(ids) => Said::Voters(ids.split(' ').map(|id| id.parse().expect("a controller's number")).collect()),
        None => Said::Command(serde_json::from_str(said).unwrap_or_else(|error| panic!("{error} in '{line}'"))),
    };
    Entry { at: LogIndex(index.parse().expect("an index is a number")), said }
}
