//! Agents that attend this controller: heartbeats in, acknowledgements and orders out.
//!
//! The path of a heartbeat is short on purpose: one look at the state, one at the board, no log entry, no task.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use quorumfence_machine::{AgentReport, Answer, BootId, HostId, LogIndex, Millis, Order, State, late_after, outage};
use quorumfence_raft::Clock;
use tokio::sync::mpsc;

use super::Shared;
use super::board::Question;
use super::inventory;
use crate::agent::{Ack, AgentMessage, Beat, ControllerMessage, Controllers};
use crate::environment::Environment;

/// Orders that wait for one agent's connection; the leader sends what did not fit again.
const ORDERS_MAX: usize = 256;

pub(super) fn attend<E, S>(
    shared: Arc<Shared<E>>,
    host: HostId,
    inbound: S,
) -> impl Stream<Item = ControllerMessage> + Send + use<E, S>
where
    E: Environment,
    S: Stream<Item = AgentMessage> + Send + 'static,
{
    let (sender, orders) = mpsc::channel(ORDERS_MAX);
    let number = shared.board().sit(&host, sender);
    let seat = Seat { shared, host, number, told: None };
    let session = Session { seat, orders, inbound: Box::pin(inbound) };
    stream::unfold(session, |mut session| async move {
        let message = session.next().await?;
        Some((message, session))
    })
}

struct Session<E: Environment, S> {
    seat: Seat<E>,
    orders: mpsc::Receiver<Order>,
    inbound: Pin<Box<S>>,
}

impl<E: Environment, S: Stream<Item = AgentMessage>> Session<E, S> {
    async fn next(&mut self) -> Option<ControllerMessage> {
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => return order.map(ControllerMessage::Order),
                message = self.inbound.next() => {
                    if let Some(ack) = self.seat.hear(message?) {
                        return Some(ControllerMessage::Ack(ack));
                    }
                }
            }
        }
    }
}

/// One agent's place. It ends with the stream.
struct Seat<E: Environment> {
    shared: Arc<Shared<E>>,
    host: HostId,
    number: u64,
    told: Option<Arc<Controllers>>,
}

impl<E: Environment> Drop for Seat<E> {
    fn drop(&mut self) {
        self.shared.board().leave(&self.host, self.number);
    }
}

/// What the answer to a heartbeat takes from the state.
struct Facts {
    admitted: Option<BootId>,
    heartbeat_interval: Millis,
    suspect_after: Millis,
    late_after: Millis,
    /// The entry that the agent is told of before it lists what is there, in a boot that the log does not know.
    new_boot_since: Option<LogIndex>,
}

impl<E: Environment> Seat<E> {
    fn hear(&mut self, message: AgentMessage) -> Option<Ack> {
        match message {
            AgentMessage::Beat(beat) => return Some(self.beat(beat)),
            AgentMessage::Report(report) => self.report(report),
            AgentMessage::Answer(answer) => self.answer(answer),
        }
        None
    }

    fn beat(&mut self, beat: Beat) -> Ack {
        let applied = *self.shared.replica.applied().borrow();
        let facts = self.shared.replica.read(|state| facts(state, &self.host, beat.boot));
        let at = self.shared.clock.now();
        self.note_an_outage(facts.late_after, at);
        let (peers, list_as_of, is_news) = {
            let mut board = self.shared.board();
            let last = board.view.hosts.get(&self.host).and_then(|sight| sight.heartbeat);
            let is_news = last.is_none_or(|last| last.boot != beat.boot || at - last.at > facts.suspect_after);
            board.view.heard(&self.host, beat.boot, at, facts.suspect_after);
            board.view.next_within(&self.host, beat.next_within);
            if let Some(presence) = board.attending.get_mut(&self.host)
                && presence.seat == self.number
            {
                presence.lease_left = beat.lease_left;
                presence.laboratory = beat.laboratory;
            }
            let unlisted = board.unlisted.get(&self.host).copied();
            (Arc::clone(&board.peers), unlisted.max(facts.new_boot_since), is_news)
        };
        if is_news {
            self.shared.news.notify_one();
        }
        let known = self.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &peers));
        let controllers = if known { Arc::default() } else { Arc::clone(&peers) };
        self.told = Some(peers);
        Ack {
            sequence: beat.sequence,
            sent: beat.sent,
            admitted: facts.admitted,
            controllers,
            heartbeat_interval: facts.heartbeat_interval,
            list_as_of,
            applied,
        }
    }

    /// Looks, before a host that was late is heard again, whether most were.
    fn note_an_outage(&self, late_after: Millis, at: Millis) {
        let comes_back = self.shared.board().comes_back(&self.host, late_after, at);
        if comes_back {
            self.shared.replica.read(|state| {
                let mut board = self.shared.board();
                if let Some(outage) = outage(state, &board.view, at) {
                    board.view.outage = Some(outage);
                }
            });
        }
    }

    fn report(&self, report: Arc<AgentReport>) {
        if !self.shared.board().is_seated(&self.host, self.number) {
            // The agent has called again since, and reports there.
            return;
        }
        let (is_news, machine, listed) = self.shared.replica.read(|state| {
            let known = state.host(&self.host).and_then(|host| host.agent.as_ref()).and_then(|facts| facts.system_uuid);
            let listed = inventory::listed_in(state, &self.host, report.boot);
            (inventory::differs(state, &self.host, &report), known, listed)
        });
        if !is_news && inventory::contradict(machine, report.system_uuid) {
            tracing::warn!(host = %self.host, "the agent reports from another machine than the host's; it is not heard until the host is fenced and enrolled again");
        }
        if is_news {
            self.shared.board().file(&self.host, report);
            self.shared.news.notify_one();
            self.shared.reports.notify_one();
        } else {
            self.shared.board().settle(&self.host, report, listed);
        }
    }

    fn answer(&self, answer: Answer) {
        let Answer { token, instance, outcome } = answer;
        let question = Question { host: self.host.clone(), instance, token };
        let waits = self.shared.board().waiting.get(&question).cloned();
        // Nobody waits, or somebody has an answer already: the order is sent again where one is still wanted.
        let taken = waits.is_some_and(|waits| waits.try_send(outcome).is_ok());
        tracing::debug!(host = %self.host, %instance, %token, taken, "an agent answered an order");
    }
}

fn facts(state: &State, host: &HostId, boot: BootId) -> Facts {
    let (heartbeat_interval, suspect_after) = match state.cluster() {
        Some(cluster) => (cluster.settings.heartbeat_interval, cluster.settings.suspect_after),
        None => {
            let settings = state.settings();
            (settings.heartbeat_interval, settings.suspect_after)
        }
    };
    let admitted = state.host(host).and_then(|host| host.up_boot());
    Facts {
        admitted,
        heartbeat_interval,
        suspect_after,
        late_after: late_after(heartbeat_interval),
        new_boot_since: state.new_boot_since(host, boot),
    }
}
