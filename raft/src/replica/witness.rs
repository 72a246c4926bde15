//! Somebody who sees every entry as it is applied: the audit trail, and the judges of a simulation.

use std::collections::BTreeSet;

use quorumfence_machine::{Command, ControllerId, Event, LogIndex, State};

use crate::Term;

/// Hears of every entry. Called while the entry is being applied, so it MUST be short and MUST NOT call the replica.
///
/// What passes by is committed by a quorum, and not yet durable in the records of this replica: after a crash it passes
/// by again.
pub trait Witness: Send + Sync {
    /// An entry was applied.
    fn applied(&self, passage: &Passage<'_>);

    /// A snapshot that ends at this entry replaced the whole state.
    fn installed(&self, at: LogIndex, state: &State);
}

/// One entry and what it changed.
#[derive(Debug)]
pub struct Passage<'a> {
    /// The entry.
    pub at: LogIndex,
    /// The term in which it was proposed. A term has one leader.
    pub term: Term,
    /// What it says.
    pub entry: Said<'a>,
    /// What it changed.
    pub events: &'a [Event],
    /// The state behind it.
    pub state: &'a State,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A command.
    Command(&'a Command),
    /// Who votes from here on.
    Voters(&'a BTreeSet<ControllerId>),
}
