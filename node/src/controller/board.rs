//! The board: what one controller knows and does not replicate, behind one short lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorumfence_machine::{
    AgentReport, HostId, InstanceId, InstanceState, LogIndex, Millis, Order, Outcome, Token, View,
};
use tokio::sync::mpsc;

use super::Readiness;
use crate::agent::Controllers;

/// What one controller knows and does not replicate.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Its evidence.
    pub(crate) view: View,
    /// The agents that attend it.
    pub(crate) attending: BTreeMap<HostId, Presence>,
    /// The newest report of each host that the state does not hold yet.
    pub(crate) reports: BTreeMap<HostId, Arc<AgentReport>>,
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
        self.reports.remove(host);
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

    pub(crate) fn leave(&mut self, host: &HostId, seat: u64) {
        if self.is_seated(host, seat) {
            self.attending.remove(host);
            self.reports.remove(host);
        }
    }

    /// Ends every seat and takes no more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.attending.clear();
    }
}
