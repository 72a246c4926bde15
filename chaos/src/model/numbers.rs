//! Log indexes that do not tell in which order independent entries came.
//!
//! Two fences that have nothing to do with each other may be logged in any order. With one count for all entries each
//! order would be another state for ever after. So an entry gets an index that is larger than those it can be compared
//! with: decisions and permits count for each host, plans for themselves and above what they rest on. Entries that give
//! nothing a name have the index of the founding. For the same reason a state forgets its events.

use quorumfence_machine::{Change, LogIndex, Record, State, Token};

use super::log::Past;
use super::world::{HostNumber, INSTANCE};

/// Hosts count in lanes of their own, and the last lane is the plans'.
const LANES: u64 = 4;

/// The index of the founding, and of every entry that gives nothing a name.
const FOUNDED: LogIndex = LogIndex(100);

/// Returns the index of the next entry.
pub(super) fn of(state: &State, past: &mut Past, change: &Change) -> LogIndex {
    if let Change::FenceDecide { host, .. } = change {
        next(state, u64::from(HostNumber::of(host).0))
    } else if let Change::PermitGrant { token, .. } = change {
        next(state, token.0.0 % LANES)
    } else if let Change::RecoveryPlan { token, .. } = change {
        let row = state.instance(&INSTANCE);
        let owned = row.map_or(*token, |row| row.token);
        past.plan = above([past.plan, owned.0.0, token.0.0].into_iter(), LANES - 1);
        LogIndex(past.plan)
    } else {
        FOUNDED
    }
}

/// Returns the state without its events and answered requests, and without the number of its last entry.
pub(super) fn forgetful(state: &State) -> State {
    let mut records = state.records();
    records.retain(|record| !matches!(record, Record::Event(_) | Record::Request(_) | Record::JoinToken(_)));
    for record in &mut records {
        if let Record::Cluster(cluster) = record {
            cluster.applied = FOUNDED;
        }
    }
    State::from_records(records)
}

fn next(state: &State, lane: u64) -> LogIndex {
    let permits = state.fences().flat_map(|fence| &fence.permits).map(|permit| permit.at);
    let tokens = state.fences().map(|fence| fence.token).map(|Token(at)| at);
    let taken = tokens.chain(permits).map(|at| at.0).filter(|at| at % LANES == lane);
    LogIndex(above(taken.chain([FOUNDED.0]), lane))
}

fn above(taken: impl Iterator<Item = u64>, lane: u64) -> u64 {
    let newest = taken.max().unwrap_or_default();
    newest / LANES * LANES + LANES + lane
}
