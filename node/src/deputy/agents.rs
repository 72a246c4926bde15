//! What a deputy does between the log and agents that the leader may not reach.
//!
//! The leader does all of it at once for whoever attends it, so a deputy waits before it takes something for left undone.
//! What is done twice does no harm: reports carry their order, an agent starts nothing that the log has heard of, and the log
//! takes one result of each token.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorumfence_machine::{AgentReport, HostId, Millis, State, Work, WorkId};

use crate::controller::{Board, differs};

/// What the leader has left undone for so long the first voter does, and each further one as much later.
const PATIENCE: Millis = Millis(1500);

/// The same for the report of a boot that the log does not know: a fence may be waiting for that proof.
const NEW_BOOT_PATIENCE: Millis = Millis(300);

/// A report that was passed on and changed nothing is passed on again after this long.
const AGAIN: Millis = Millis(5000);

/// When this controller does what it has seen undone.
#[derive(Debug, Default)]
pub(super) struct Undone {
    reports: BTreeMap<HostId, (Arc<AgentReport>, Millis)>,
    orders: BTreeMap<WorkId, Millis>,
}

impl Undone {
    /// Returns the starts and stops that are overdue at agents which attend this controller, of all that is wanted.
    pub(super) fn orders(&mut self, wanted: Vec<Work>, board: &Board, rank: u64, now: Millis) -> Vec<Work> {
        let attends = |work: &Work| match work {
            Work::Fence(_) => false,
            Work::Start(start) => board.attending.contains_key(&start.host),
            Work::Stop(stop) => board.attending.contains_key(&stop.host),
        };
        let known = std::mem::take(&mut self.orders);
        let mut overdue = Vec::new();
        for work in wanted.into_iter().filter(attends) {
            let id = work.id();
            let due = known.get(&id).copied().unwrap_or(now + PATIENCE.times(1 + rank));
            self.orders.insert(id, due);
            if now >= due {
                overdue.push(work);
            }
        }
        overdue
    }

    /// Returns the reports that the log should hold by now.
    pub(super) fn reports(
        &mut self,
        state: &State,
        board: &Board,
        rank: u64,
        now: Millis,
    ) -> Vec<(HostId, Arc<AgentReport>)> {
        let suspect_after = state.settings().suspect_after;
        let mut known = std::mem::take(&mut self.reports);
        let mut overdue = Vec::new();
        for (host, report) in &board.reports {
            if !board.hears(host, report, suspect_after, now) || !differs(state, host, report) {
                continue;
            }
            let facts = state.host(host).and_then(|row| row.agent.as_ref());
            let is_known_boot = facts.is_some_and(|facts| facts.boot == report.boot);
            let patience = if is_known_boot { PATIENCE } else { NEW_BOOT_PATIENCE };
            let seen = known.remove(host).filter(|(seen, _)| Arc::ptr_eq(seen, report));
            let mut due = seen.map_or(now + patience.times(1 + rank), |(_, due)| due);
            if now >= due {
                due = now + AGAIN;
                overdue.push((host.clone(), Arc::clone(report)));
            }
            self.reports.insert(host.clone(), (Arc::clone(report), due));
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use quorumfence_machine::{Heartbeat, InstanceId, LogIndex, StopWork, Token};
    use tokio::sync::mpsc;

    use super::*;
    use crate::sample::{Log, boot, host, report};

    fn stop(name: &str) -> Work {
        let instance = InstanceId([1; 16]);
        Work::Stop(StopWork { token: Token(LogIndex(9)), instance, host: host(name), boot: boot(2) })
    }

    #[test]
    fn an_order_is_overdue_when_the_leader_had_its_time_and_only_where_the_agent_attends() {
        let mut board = Board::default();
        board.sit(&host("a"), mpsc::channel(1).0);
        let mut undone = Undone::default();
        let mut at = |now: u64, wanted: &[Work]| undone.orders(wanted.to_vec(), &board, 1, Millis(now));
        let both = [stop("a"), stop("b")];
        assert_eq!(at(1000, &both), []);
        assert_eq!(at(3999, &both), []);
        assert_eq!(at(4000, &both), [stop("a")]);
        assert_eq!(at(4500, &[]), [], "somebody has done it");
        assert_eq!(at(5000, &both), [], "it is another one");
    }

    #[test]
    fn a_report_of_a_host_that_is_heard_is_overdue_when_the_leader_had_its_time() {
        let mut board = Board::default();
        let state = Log::of(&["a"]).state;
        let report = Arc::new(report(7, Vec::new()));
        board.reports.insert(host("a"), Arc::clone(&report));
        let hear = |board: &mut Board, at| {
            let beat = Heartbeat { boot: report.boot, at: Millis(at), steady_since: Millis(0), next_within: Millis(0) };
            board.view.hosts.entry(host("a")).or_default().heartbeat = Some(beat);
        };
        let mut undone = Undone::default();
        assert!(undone.reports(&state, &board, 0, Millis(0)).is_empty());
        hear(&mut board, 1000);
        assert!(undone.reports(&state, &board, 0, Millis(1000)).is_empty());
        hear(&mut board, 1300);
        assert_eq!(undone.reports(&state, &board, 0, Millis(1300)), [(host("a"), Arc::clone(&report))]);
        hear(&mut board, 6000);
        assert!(undone.reports(&state, &board, 0, Millis(6000)).is_empty(), "it has been passed on");
        hear(&mut board, 6300);
        assert_eq!(undone.reports(&state, &board, 0, Millis(6300)).len(), 1, "it changed nothing");
        assert!(undone.reports(&state, &board, 0, Millis(60_000)).is_empty(), "the host is not heard any more");
    }
}
