//! The only task of an agent that waits for its disk: what was refused is kept here before it is answered.
//!
//! A refusal that is not kept is not answered, and no other answer would be honest: on the word of a refusal another host
//! starts the instance, and a later process of this boot that knew nothing of it would carry out a late copy of the order.
//! So the assignment stands until the disk works, which is tried again and again, or until the host is fenced, which ends
//! the boot and with it all that an order could still do there. Meanwhile the report says that this host can refuse
//! nothing, so that it is given nothing more. To end the assignment in any other way would rest on this process living on.
//!
//! Kept means synced, although a power cut ends the boot that a refusal is about: a disk that fails drops pages that it
//! could not write, and only a sync says so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use quorumfence_machine::{AgentReport, Answer, ControllerId};
use quorumfence_raft::{Point, Runtime};
use tokio::sync::{mpsc, watch};

use super::{Controllers, Shared};
use crate::environment::AgentEnvironment;

/// A disk that needs longer is as good as none for whoever looks for a target.
const PATIENCE: Duration = Duration::from_secs(5);

/// A disk that did not keep what it was given is tried again after this long, also when nothing is refused.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// A refusal that waits for the disk.
#[derive(Debug)]
pub(super) struct Unkept {
    /// Whom to answer.
    pub(super) to: ControllerId,
    /// What.
    pub(super) answer: Answer,
}

/// What the keeper is given to do.
#[derive(Debug)]
pub(super) struct Errands {
    /// What to keep and then to answer.
    pub(super) unkept: mpsc::Receiver<Unkept>,
    /// The controllers to remember for the next start.
    pub(super) controllers: watch::Receiver<Arc<Controllers>>,
}

/// Keeps until the agent stops. What the disk is doing then ends by itself.
pub(super) async fn run<E: AgentEnvironment>(shared: Arc<Shared<E>>, errands: Errands) {
    let stop = shared.stop.clone();
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        () = keep_on(shared, errands).boxed() => {}
    }
}

async fn keep_on<E: AgentEnvironment>(shared: Arc<Shared<E>>, errands: Errands) {
    let Errands { mut unkept, mut controllers } = errands;
    // Whether the disk keeps anything is known before the first order comes.
    keep(&shared).await;
    loop {
        tokio::select! {
            biased;
            Some(first) = unkept.recv() => {
                let mut refused = vec![first];
                while let Ok(next) = unkept.try_recv() {
                    refused.push(next);
                }
                if keep(&shared).await {
                    refused.into_iter().for_each(|Unkept { to, answer }| shared.answer(to, answer));
                } else {
                    tracing::error!(host = %shared.host, refusals = refused.len(), "refusals cannot be kept, so they are not answered; look at the disk of this host");
                }
            }
            changed = controllers.changed() => {
                assert!(changed.is_ok(), "the agent holds the sender");
                let newest = Arc::clone(&controllers.borrow_and_update());
                remember(&shared, newest).await;
            }
            () = E::Runtime::sleep(TRY_AGAIN), if shared.cannot_refuse.load(Ordering::SeqCst) => {
                keep(&shared).await;
            }
        }
    }
}

/// Makes sure that all refusals outlive this process. Returns whether they do.
async fn keep<E: AgentEnvironment>(shared: &Arc<Shared<E>>) -> bool {
    let refusals = shared.machine().refusals();
    let (keeps, list) = (Arc::clone(shared), refusals.clone());
    let mut keeping = async move {
        E::pass(Point::AgentBeforeKeep).await;
        let kept = E::Runtime::spawn_blocking(move || (keeps.keep)(&list)).await;
        E::pass(Point::AgentAfterKeep).await;
        kept.unwrap_or_else(|error| {
            tracing::error!(%error, "the thread that keeps refusals failed");
            false
        })
    }
    .boxed();
    let soon = E::Runtime::timeout(PATIENCE, &mut keeping).await;
    let is_kept = match soon {
        Ok(is_kept) => is_kept,
        Err(_) => {
            can_refuse(shared, false);
            keeping.await
        }
    };
    if is_kept {
        *shared.kept() = refusals;
    }
    can_refuse(shared, is_kept);
    is_kept
}

/// Puts into the report whether this agent can refuse anything.
fn can_refuse<E: AgentEnvironment>(shared: &Shared<E>, can: bool) {
    if shared.cannot_refuse.swap(!can, Ordering::SeqCst) != can {
        return;
    }
    if can {
        tracing::info!(host = %shared.host, "refusals are kept again, so this host may be given instances");
    } else {
        tracing::error!(host = %shared.host, "refusals are not kept, so this host is given no instances; look at its disk");
    }
    shared.report.send_if_modified(|last| {
        let Some(report) = last else { return false };
        *report = Arc::new(AgentReport { cannot_refuse: !can, ..AgentReport::clone(report) });
        true
    });
}

async fn remember<E: AgentEnvironment>(shared: &Arc<Shared<E>>, controllers: Arc<Controllers>) {
    let remembers = Arc::clone(shared);
    if let Err(error) = E::Runtime::spawn_blocking(move || (remembers.found)(&controllers)).await {
        tracing::error!(%error, "the thread that remembers controllers failed");
    }
}
