//! Group commit: one sync for all that wait, then their answers, in the order of their writes.

use std::io;

use openraft::RaftTypeConfig;
use openraft::alias::{MpscReceiverOf, OneshotSenderOf};
use openraft::async_runtime::{MpscReceiver, OneshotSender};
use openraft::storage::IOFlushed;

use super::WAITERS_MAX;
use crate::kv::Kv;
use crate::store::{Store, chain};

/// Somebody whose write is made but not yet durable.
pub(super) enum Waiter<C: RaftTypeConfig> {
    Append(IOFlushed<C>),
    Vote(OneshotSenderOf<C, Result<(), io::Error>>),
}

/// Answers all waiters until the log is dropped.
///
/// After a failure the store refuses every sync, so every later waiter gets an error too.
pub(super) async fn run<C: RaftTypeConfig, K: Kv>(store: Store<K>, mut queue: MpscReceiverOf<C, Waiter<C>>) {
    while let Some(first) = queue.recv().await {
        let mut waiters = vec![first];
        while waiters.len() < WAITERS_MAX
            && let Ok(next) = queue.try_recv()
        {
            waiters.push(next);
        }
        let failed = store.sync().await.err().map(|error| chain(&error));
        for waiter in waiters {
            let result = failed.clone().map_or(Ok(()), |reason| Err(io::Error::other(reason)));
            match waiter {
                Waiter::Append(callback) => callback.io_completed(result),
                // A caller that went away does not ask any more.
                Waiter::Vote(done) => drop(done.send(result)),
            }
        }
    }
}
