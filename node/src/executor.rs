//! The executor: carries out the state's work, all of it while this controller leads; at any time the attempts at fences
//! that are its turn, and what a leader leaves undone.
//!
//! A task takes one piece of work, calls a driver or an agent, and reports the outcome into the log. It decides
//! nothing. The tasks live inside the leader's or the deputy's loop and end with it: dropping the loop drops every driver
//! call, so nothing acts for a leader that is none any more.

pub(crate) mod fence;
pub(crate) mod start;
pub(crate) mod stop;
mod turn;

use std::collections::BTreeMap;

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use quorumfence_machine::{Millis, Work, WorkId};

pub(crate) use self::turn::{Post, of_deputy, of_leader};

/// Tasks at once. Fences and starts are limited by the settings; this limits stops after a large storm.
const TASKS_MAX: usize = 1024;

/// A task that ended while its work is still wanted starts again after this long.
const REST: Millis = Millis(500);

/// The tasks that carry out work, by what they carry out.
#[derive(Default)]
pub(crate) struct Tasks {
    running: BTreeMap<WorkId, AbortHandle>,
    ended: FuturesUnordered<BoxFuture<'static, WorkId>>,
    resting: BTreeMap<WorkId, Millis>,
}

impl Tasks {
    /// Ends tasks whose work is not wanted any more, and starts those whose work is.
    pub(crate) fn reconcile(&mut self, wanted: Vec<Work>, now: Millis, start: impl Fn(Work) -> BoxFuture<'static, ()>) {
        let mut wanted: BTreeMap<WorkId, Work> = wanted.into_iter().map(|work| (work.id(), work)).collect();
        self.running.iter().filter(|(id, _)| !wanted.contains_key(id)).for_each(|(_, handle)| handle.abort());
        self.resting.retain(|id, until| wanted.contains_key(id) && *until > now);
        for id in self.to_start(wanted.keys()) {
            let Some(work) = wanted.remove(&id) else { continue };
            let (handle, registration) = AbortHandle::new_pair();
            let task = Abortable::new(start(work), registration);
            self.running.insert(id.clone(), handle);
            self.ended.push(task.map(|_| id).boxed());
        }
    }

    /// Waits for the next task that ends; for ever when there is none.
    pub(crate) async fn next_ended(&mut self) -> WorkId {
        match self.ended.next().await {
            Some(id) => id,
            None => std::future::pending().await,
        }
    }

    /// Forgets a task that ended.
    pub(crate) fn ended(&mut self, id: WorkId, now: Millis) {
        self.running.remove(&id);
        self.resting.insert(id, now + REST);
    }

    /// Returns the wanted work that nobody does. A fence waits until the task of its last attempt is gone: two tasks
    /// of one token would share its devices.
    fn to_start<'a>(&self, wanted: impl Iterator<Item = &'a WorkId>) -> Vec<WorkId> {
        let is_free = |id: &&WorkId| match id {
            WorkId::Fence { token, .. } => {
                let of_token =
                    WorkId::Fence { token: *token, attempt: 0 }..=WorkId::Fence { token: *token, attempt: u32::MAX };
                self.running.range(of_token).next().is_none()
            }
            WorkId::Start { .. } | WorkId::Stop { .. } => !self.running.contains_key(id),
        };
        let room = TASKS_MAX.saturating_sub(self.running.len());
        wanted.filter(is_free).filter(|id| !self.resting.contains_key(id)).take(room).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
