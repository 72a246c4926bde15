//! The board: what one controller knows and does not replicate, behind one short lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorumfence_machine::{
    AgentReport, HostId, InstanceId, InstanceState, LogIndex, Millis, Order, Outcome, Token, View,
};
use tokio::sync::mpsc;

use super::Readiness;
use crate::agent::Controllers;

/// Between two looks for an outage of this controller's network when hosts that were late are heard again: each counts all.
const OUTAGE_LOOKS: Millis = Millis(100);

/// What one controller knows and does not replicate.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Its evidence.
    pub(crate) view: View,
    /// The agents that attend it.
    pub(crate) attending: BTreeMap<HostId, Presence>,
    /// The newest report of each host that the state does not hold yet.
    pub(crate) reports: BTreeMap<HostId, Arc<AgentReport>>,
    /// The newest report of each other host that attends. An older one may still be on its way into the log.
    settled: BTreeMap<HostId, Settled>,
    next_outage_look: Millis,
    /// Hosts that have not listed what they started, as a leader sees it, each with the last entry by which they had.
    pub(crate) unlisted: BTreeMap<HostId, LogIndex>,
    /// What the slow look at each host's fencing devices said.
    pub(crate) readiness: BTreeMap<HostId, Readiness>,
    /// Who waits for which answer of an agent.
    pub(crate) waiting: BTreeMap<Question, mpsc::Sender<Outcome<InstanceState>>>,
    /// The members of the group.
    pub(crate) peers: Arc<Controllers>,
    /// Whether the controller ended.
    pub(crate) closed: bool,
    seats: u64,
}

/// An agent that attends.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) seat: u64,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) lease_left: Millis,
    pub(crate) laboratory: bool,
}

/// A report that said what the state held.
#[derive(Debug)]
struct Settled {
    report: Arc<AgentReport>,
    /// When the list that the state had then was made, in the same boot.
    listed: Option<Millis>,
}

/// What an answer of an agent answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) host: HostId,
    pub(crate) instance: InstanceId,
    pub(crate) token: Token,
}

impl Board {
    /// Gives a host's agent a seat. Its former seat, if any, ends with its channel of orders.
    pub(crate) fn sit(&mut self, host: &HostId, orders: mpsc::Sender<Order>) -> u64 {
        self.seats += 1;
        // What it said over the former line may be old by now; it reports first thing.
        self.drop_report(host);
        if !self.closed {
            let presence = Presence { seat: self.seats, orders, lease_left: Millis::ZERO, laboratory: false };
            self.attending.insert(host.clone(), presence);
        }
        self.seats
    }

    /// Returns whether this is the seat of the host's newest line.
    pub(crate) fn is_seated(&self, host: &HostId, seat: u64) -> bool {
        self.attending.get(host).is_some_and(|presence| presence.seat == seat)
    }

    /// Returns whether a host is heard in the boot of this report: a line that is dead and not known to be may have left an
    /// old one behind.
    pub(crate) fn hears(&self, host: &HostId, report: &AgentReport, suspect_after: Millis, now: Millis) -> bool {
        let beat = self.view.hosts.get(host).and_then(|sight| sight.heartbeat);
        beat.is_some_and(|beat| beat.boot == report.boot && now - beat.at <= suspect_after)
    }

    /// Returns whether a host that is heard now was late, and it is time to look whether there was an outage.
    pub(crate) fn comes_back(&mut self, host: &HostId, late_after: Millis, now: Millis) -> bool {
        let beat = self.view.hosts.get(host).and_then(|sight| sight.heartbeat);
        if beat.is_none_or(|beat| now - beat.at <= late_after) || now < self.next_outage_look {
            return false;
        }
        self.next_outage_look = now + OUTAGE_LOOKS;
        true
    }

    pub(crate) fn leave(&mut self, host: &HostId, seat: u64) {
        if self.is_seated(host, seat) {
            self.attending.remove(host);
            self.drop_report(host);
        }
    }

    /// Takes a host's newest report, which the state lacks.
    pub(crate) fn file(&mut self, host: &HostId, report: Arc<AgentReport>) {
        self.settled.remove(host);
        self.reports.insert(host.clone(), report);
    }

    /// Takes a host's newest report, which says what the state holds by a list that was made at `listed` in the same boot.
    pub(crate) fn settle(&mut self, host: &HostId, report: Arc<AgentReport>, listed: Option<Millis>) {
        self.reports.remove(host);
        self.settled.insert(host.clone(), Settled { report, listed });
    }

    /// Puts aside what the state holds by now, and takes out again what an older list has changed since: such a one may be
    /// committed late, and the agent says nothing twice. What anything else changed is not the agent's word, unless it is asked
    /// and has answered before.
    ///
    /// `listed` says when the state's list of a host was made, if in the boot of this report.
    pub(crate) fn sort_reports(
        &mut self,
        differs: impl Fn(&HostId, &AgentReport) -> bool,
        listed: impl Fn(&HostId, &AgentReport) -> Option<Millis>,
    ) {
        for (host, report) in self.reports.extract_if(.., |host, report| !differs(host, report)) {
            let listed = listed(&host, &report);
            self.settled.insert(host, Settled { report, listed });
        }
        let overtaken = self.settled.extract_if(.., |host, row| {
            let newest = listed(host, &row.report);
            let is_older = newest.is_some_and(|newest| newest < row.report.listed);
            if newest == row.listed || !is_older {
                return false;
            }
            row.listed = newest;
            differs(host, &row.report)
        });
        self.reports.extend(overtaken.map(|(host, row)| (host, row.report)));
        let unlisted = &self.unlisted;
        let answers = self.settled.extract_if(.., |host, row| {
            let has_answered = unlisted.get(host).is_some_and(|asked| row.report.as_of >= Some(*asked));
            has_answered && differs(host, &row.report)
        });
        self.reports.extend(answers.map(|(host, row)| (host, row.report)));
    }

    fn drop_report(&mut self, host: &HostId) {
        self.reports.remove(host);
        self.settled.remove(host);
    }

    /// Ends every seat and takes no more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.attending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, boot, host};

    const LATE: Millis = Millis(1500);

    fn report(listed: u64) -> Arc<AgentReport> {
        Arc::new(AgentReport { listed: Millis(listed), ..sample::report(1, vec![]) })
    }

    fn newest(board: &Board) -> Option<u64> {
        board.reports.get(&host("a")).map(|report| report.listed.0)
    }

    /// Sorts the reports of a board whose state has a list of this time.
    fn sort(board: &mut Board, differs: bool, listed: u64) -> Option<u64> {
        board.sort_reports(|_, _| differs, |_, _| Some(Millis(listed)));
        newest(board)
    }

    #[test]
    fn what_the_state_held_once_is_news_again_when_an_older_list_was_committed_late() {
        let mut board = Board::default();
        board.file(&host("a"), report(5));
        board.settle(&host("a"), report(9), Some(Millis(1)));
        assert_eq!(newest(&board), None, "the state holds what the newer one says");
        assert_eq!(sort(&mut board, true, 5), Some(9), "the older one was committed");
        assert_eq!(sort(&mut board, false, 9), None);
    }

    #[test]
    fn what_no_older_list_changed_is_not_said_again() {
        let mut board = Board::default();
        board.settle(&host("a"), report(9), Some(Millis(5)));
        assert_eq!(sort(&mut board, true, 5), None, "a proof says more than the list that came before it");
        assert_eq!(sort(&mut board, true, 9), None, "it was committed itself");
        assert_eq!(sort(&mut board, true, 10), None, "a later one was");
        assert_eq!(sort(&mut board, false, 6), None, "an older one says the same");
        assert_eq!(sort(&mut board, true, 6), None, "and something else changed the state");
        assert_eq!(sort(&mut board, true, 7), Some(9));
        board.sort_reports(|_, _| false, |_, _| None);
        assert_eq!(sort(&mut board, true, 8), Some(9));
    }

    #[test]
    fn what_answers_a_question_that_came_after_it_is_taken_out_again() {
        let mut board = Board::default();
        let as_of = |at| Arc::new(AgentReport { as_of: Some(LogIndex(at)), ..(*report(9)).clone() });
        board.settle(&host("a"), as_of(7), Some(Millis(9)));
        assert_eq!(sort(&mut board, true, 9), None, "nobody has asked");
        board.unlisted = [(host("a"), LogIndex(8))].into();
        assert_eq!(sort(&mut board, true, 9), None, "it is older than the question");
        board.settle(&host("a"), as_of(8), Some(Millis(9)));
        assert_eq!(sort(&mut board, false, 9), None, "it tells nothing new");
        board.settle(&host("a"), as_of(8), Some(Millis(9)));
        assert_eq!(sort(&mut board, true, 9), Some(9));
    }

    #[test]
    fn what_an_agent_said_over_a_former_line_is_not_taken_out_again() {
        for leaves in [false, true] {
            let mut board = Board::default();
            let seat = board.sit(&host("a"), mpsc::channel(1).0);
            board.settle(&host("a"), report(9), None);
            if leaves {
                board.leave(&host("a"), seat);
            } else {
                board.sit(&host("a"), mpsc::channel(1).0);
            }
            assert_eq!(sort(&mut board, true, 1), None);
        }
    }

    #[test]
    fn a_host_comes_back_when_it_was_late_and_one_look_serves_for_a_while() {
        let mut board = Board::default();
        assert!(!board.comes_back(&host("a"), LATE, Millis(9000)), "it was never heard");
        board.view.heard(&host("a"), boot(1), Millis(1000), LATE);
        assert!(!board.comes_back(&host("a"), LATE, Millis(2500)));
        assert!(board.comes_back(&host("a"), LATE, Millis(2501)));
        assert!(!board.comes_back(&host("a"), LATE, Millis(2600)));
        assert!(board.comes_back(&host("a"), LATE, Millis(2601)));
    }
}
