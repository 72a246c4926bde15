//! The history, once or as it happens.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use quorumfence_machine::{EventRecord, State};
use quorumfence_proto::pb;
use tokio::sync::watch;
use tonic::Status;

use super::super::Node;
use crate::environment::Environment;

/// Events that are copied out of the state at once.
const PORTION: usize = 256;

pub(super) type EventStream = Pin<Box<dyn Stream<Item = Result<pb::EventRecord, Status>> + Send>>;

/// Returns the events from number `first` on; with `follow`, later ones as they happen until the caller goes.
pub(super) fn list<E: Environment>(node: Arc<Node<E>>, first: u64, follow: bool) -> EventStream {
    let newest = node.controller.replica().events();
    let reader = Reader { node, newest, follow, next: first, portion: VecDeque::new() };
    Box::pin(stream::unfold(reader, |mut reader| async move {
        let record = reader.next().await?;
        Some((Ok(record.into()), reader))
    }))
}

struct Reader<E: Environment> {
    node: Arc<Node<E>>,
    newest: watch::Receiver<u64>,
    follow: bool,
    next: u64,
    portion: VecDeque<EventRecord>,
}

impl<E: Environment> Reader<E> {
    async fn next(&mut self) -> Option<EventRecord> {
        loop {
            if let Some(record) = self.portion.pop_front() {
                self.next = record.sequence + 1;
                return Some(record);
            }
            // Seen before the read: an event after it wakes the wait below.
            self.newest.borrow_and_update();
            let first = self.next;
            let portion = |state: &State| state.events_from(first).take(PORTION).cloned().collect();
            self.portion = self.node.controller.replica().read(portion);
            if self.portion.is_empty() {
                if !self.follow {
                    return None;
                }
                self.newest.changed().await.ok()?;
            }
        }
    }
}
