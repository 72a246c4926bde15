//! One line to every controller: heartbeats and reports out, acknowledgements and orders in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use quorumfence_machine::{Input, Millis};
use quorumfence_raft::{Clock, Peer, Point, Runtime};
use tokio::sync::mpsc;

use super::{AgentMessage, Beat, ControllerMessage, Line, Shared};
use crate::environment::{AgentEnvironment, Link};

/// Messages that wait on one line. A line that is this far behind is given up for its missing acknowledgements.
const LINE_MAX: usize = 256;

/// Heartbeats are sent this often until a controller says otherwise.
const INTERVAL_FIRST: Millis = Millis(1000);

/// Heartbeats without an acknowledgement before a line counts as dead, and the shortest time for it.
const BEATS_LOST: u64 = 3;
const SILENCE_MIN: Millis = Millis(2000);

/// First pause before a controller is called again; it doubles up to the longest. Each has jitter, so that the agents
/// of a whole site do not call a controller that comes back all at once.
const BACK_OFF_FIRST: Millis = Millis(100);
pub(crate) const BACK_OFF_MAX: Millis = Millis(2000);

/// Controllers called at once: the largest group, and room for members that come while others go.
const LINKS_MAX: usize = 16;

/// Keeps a line to every known controller until the agent stops.
pub(super) async fn run<E: AgentEnvironment>(shared: Arc<Shared<E>>) {
    let stop = shared.stop.clone();
    let mut known = shared.controllers.subscribe();
    let mut open: BTreeMap<Peer, AbortHandle> = BTreeMap::new();
    let mut links: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    loop {
        let controllers = Arc::clone(&known.borrow_and_update());
        open.retain(|peer, handle| {
            let stays = controllers.peers.contains(peer);
            if !stays {
                handle.abort();
            }
            stays
        });
        for peer in controllers.peers.iter().take(LINKS_MAX) {
            if !open.contains_key(peer) {
                let (handle, registration) = AbortHandle::new_pair();
                open.insert(peer.clone(), handle);
                let link = keep(Arc::clone(&shared), peer.clone());
                links.push(Abortable::new(link, registration).map(drop).boxed());
            }
        }
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            changed = known.changed() => assert!(changed.is_ok(), "this task holds the sender"),
            Some(()) = links.next(), if !links.is_empty() => {}
        }
    }
}

/// Keeps calling one controller. Never ends by itself.
async fn keep<E: AgentEnvironment>(shared: Arc<Shared<E>>, peer: Peer) {
    let mut back_off = BACK_OFF_FIRST;
    loop {
        let was_acknowledged = attend(&shared, &peer).await;
        back_off = if was_acknowledged { BACK_OFF_FIRST } else { (back_off + back_off).min(BACK_OFF_MAX) };
        let jitter = E::random() % (back_off.0 / 2 + 1);
        E::Runtime::sleep(Duration::from_millis(back_off.0 / 2 + jitter)).await;
    }
}

/// Attends one controller over one connection. Returns whether it ever acknowledged.
async fn attend<E: AgentEnvironment>(shared: &Arc<Shared<E>>, peer: &Peer) -> bool {
    let (messages, outbound) = mpsc::channel(LINE_MAX);
    let (deliver, inbound) = mpsc::channel(LINE_MAX);
    E::pass(Point::AgentBeforeCall).await;
    let mut conversation = Conversation::begin(shared, peer, messages, inbound);
    let ended = tokio::select! {
        biased;
        ended = shared.link.attend(peer, outbound, deliver) => ended.map_or_else(|error| error.to_string(), |()| "closed".into()),
        why = conversation.talk() => why.to_owned(),
    };
    tracing::debug!(host = %shared.host, controller = %peer, %ended, "a line to a controller ended");
    conversation.acknowledged.is_some()
}

/// What is said over one connection. Its place in the list of lines is left when dropped.
struct Conversation<'a, E: AgentEnvironment> {
    shared: &'a Arc<Shared<E>>,
    peer: &'a Peer,
    messages: mpsc::Sender<AgentMessage>,
    inbound: mpsc::Receiver<ControllerMessage>,
    sequence: u64,
    interval: Millis,
    next_beat: Millis,
    begun: Millis,
    acknowledged: Option<Millis>,
}

impl<E: AgentEnvironment> Drop for Conversation<'_, E> {
    fn drop(&mut self) {
        let mut outbound = self.shared.outbound();
        let is_mine = outbound.get(&self.peer.id).is_some_and(|line| line.messages.same_channel(&self.messages));
        if is_mine {
            outbound.remove(&self.peer.id);
        }
    }
}

impl<'a, E: AgentEnvironment> Conversation<'a, E> {
    fn begin(
        shared: &'a Arc<Shared<E>>,
        peer: &'a Peer,
        messages: mpsc::Sender<AgentMessage>,
        inbound: mpsc::Receiver<ControllerMessage>,
    ) -> Self {
        let line = Line { messages: messages.clone(), is_acknowledged: false };
        shared.outbound().insert(peer.id, line);
        let now = shared.clock.now();
        let (interval, acknowledged) = (INTERVAL_FIRST, None);
        Self { shared, peer, messages, inbound, sequence: 0, interval, next_beat: now, begun: now, acknowledged }
    }

    /// Talks until the controller is silent for too long, or the line is full.
    async fn talk(&mut self) -> &'static str {
        let mut report = self.shared.report.subscribe();
        report.mark_changed();
        loop {
            let now = self.shared.clock.now();
            if now - self.acknowledged.unwrap_or(self.begun) > self.interval.times(BEATS_LOST).max(SILENCE_MIN) {
                return "no acknowledgement";
            }
            if now >= self.next_beat && !self.beat(now) {
                return "full";
            }
            let wait = self.next_beat - now;
            tokio::select! {
                biased;
                message = self.inbound.recv() => match message {
                    Some(message) => self.hear(message),
                    None => return "closed by the controller",
                },
                () = E::Runtime::sleep(wait.into()) => {}
                changed = report.changed() => {
                    assert!(changed.is_ok(), "the agent holds the sender");
                    let newest = report.borrow_and_update().clone();
                    if let Some(newest) = newest && self.messages.try_send(AgentMessage::Report(newest)).is_err() {
                        return "full";
                    }
                }
            }
        }
    }

    fn beat(&mut self, now: Millis) -> bool {
        self.sequence += 1;
        self.next_beat = now + self.interval;
        let lease_left = self.shared.machine().lease_left(now);
        let Shared { boot, laboratory, .. } = **self.shared;
        let next_within = self.interval;
        let beat = Beat { sequence: self.sequence, boot, sent: now, lease_left, laboratory, next_within };
        self.messages.try_send(AgentMessage::Beat(beat)).is_ok()
    }

    fn hear(&mut self, message: ControllerMessage) {
        let from = self.peer.id;
        match message {
            ControllerMessage::Ack(ack) => {
                if self.acknowledged.is_none()
                    && let Some(line) = self.shared.outbound().get_mut(&from)
                {
                    line.is_acknowledged = true;
                }
                let now = self.shared.clock.now();
                self.acknowledged = Some(now);
                if ack.heartbeat_interval != self.interval && ack.heartbeat_interval > Millis::ZERO {
                    self.interval = ack.heartbeat_interval;
                    self.next_beat = self.next_beat.min(now + self.interval);
                }
                self.shared.handle(Input::Acknowledged { from, sent: ack.sent, admitted: ack.admitted });
                self.shared.learn(&ack.controllers);
                self.shared.told.fetch_max(ack.applied.max(ack.list_as_of.unwrap_or_default()).0, Ordering::SeqCst);
                self.shared.list_as_of.send_if_modified(|known| {
                    let is_later = ack.list_as_of > *known;
                    *known = ack.list_as_of.max(*known);
                    is_later
                });
            }
            ControllerMessage::Order(order) => {
                tracing::info!(host = %self.shared.host, %from, instance = %order.instance, token = %order.token, "order received");
                // Only what is committed is ordered.
                self.shared.told.fetch_max(order.token.0.0, Ordering::SeqCst);
                self.shared.handle(Input::Order { from, order });
            }
        }
    }
}
