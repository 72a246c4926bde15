//! The loop that makes the attempts at fences which are this controller's turn, whether it leads or not.
//!
//! ```text
//! state.work(), executor = me ──▶ executor::Tasks ──▶ permit, off, result
//! ```
//!
//! A line between one controller and one BMC may be broken while another's works, so attempts go round the voters. A
//! deputy does nothing else: starts and stops are the leader's. What it has begun ends with its turn, with its permit and
//! with the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quorumfence_machine::{ClusterTime, FenceWork, Millis, Work, WorkId};
use quorumfence_raft::{Clock, Point, Runtime};

use crate::controller::Shared;
use crate::environment::Environment;
use crate::executor::{Post, Tasks, fence, of_deputy};

/// While it has a turn: a task that ended is looked at again this late.
const TICK: Millis = Millis(100);

/// Makes the attempts that are its turn until the controller stops.
pub(crate) async fn run<E: Environment>(shared: Arc<Shared<E>>) {
    let stop = shared.stop.clone();
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        () = serve(shared) => {}
    }
}

async fn serve<E: Environment>(shared: Arc<Shared<E>>) {
    let me = shared.replica.id();
    let mut applied = shared.replica.applied();
    let mut turns = Turns::default();
    let mut tasks = Tasks::default();
    loop {
        let now = shared.clock.now();
        let (attempts, clock) = shared.replica.read(|state| {
            let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
            (of_deputy(state, me), clock)
        });
        let has_turn = !attempts.is_empty();
        let wanted = turns.take(attempts, clock, now);
        tasks.reconcile(wanted, now, |work| carry_out(Arc::clone(&shared), turns.due(&work, now), work));
        tokio::select! {
            biased;
            changed = applied.changed() => if changed.is_err() {
                return;
            },
            id = tasks.next_ended() => tasks.ended(id, shared.clock.now()),
            () = E::Runtime::sleep(TICK.into()), if has_turn => {}
        }
    }
}

/// When each attempt is due on this controller's own clock.
///
/// Only a leader continues the cluster's clock. To everybody else it stands still between two entries, so what is left
/// until an attempt is due counts from when its turn was first seen.
#[derive(Debug, Default)]
struct Turns(BTreeMap<WorkId, Millis>);

impl Turns {
    /// Takes the present turns, of a state whose clock is `clock`. Returns them as work.
    fn take(&mut self, attempts: Vec<FenceWork>, clock: ClusterTime, now: Millis) -> Vec<Work> {
        let due = |work: &FenceWork| now + work.not_before.since(clock);
        let known = std::mem::take(&mut self.0);
        let mut wanted = Vec::new();
        for work in attempts {
            let seen = due(&work);
            let work = Work::Fence(work);
            let id = work.id();
            let due = known.get(&id).copied().unwrap_or(seen);
            self.0.insert(id, due);
            wanted.push(work);
        }
        wanted
    }

    fn due(&self, work: &Work, now: Millis) -> Millis {
        self.0.get(&work.id()).copied().unwrap_or(now)
    }
}

fn carry_out<E: Environment>(shared: Arc<Shared<E>>, due: Millis, work: Work) -> BoxFuture<'static, ()> {
    async move {
        E::pass(Point::WorkBeforeBegin).await;
        match work {
            Work::Fence(work) => fence::run(shared, Post::Deputy { due }, work).await,
            Work::Start(_) | Work::Stop(_) => {}
        }
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use quorumfence_machine::{ControllerId, LogIndex, Token};

    use super::*;
    use crate::sample::host;

    fn attempt(number: u32, not_before: u64) -> FenceWork {
        FenceWork {
            token: Token(LogIndex(1)),
            host: host("a"),
            level: 0,
            attempt: number,
            not_before: ClusterTime(not_before),
            executor: Some(ControllerId(2)),
            identity: None,
            devices: Vec::new(),
        }
    }

    #[test]
    fn a_turn_is_due_as_long_after_it_was_first_seen_as_the_clusters_clock_says() {
        let mut turns = Turns::default();
        let work = |number, not_before| Work::Fence(attempt(number, not_before));
        let take = |turns: &mut Turns, number, clock, now| {
            let wanted = turns.take(vec![attempt(number, 10_000)], ClusterTime(clock), Millis(now));
            assert_eq!(wanted, [work(number, 10_000)]);
            turns.due(&wanted[0], Millis(0))
        };
        assert_eq!(take(&mut turns, 2, 9000, 500), Millis(1500));
        assert_eq!(take(&mut turns, 2, 9000, 900), Millis(1500), "the clock stands still, and time passes");
        assert_eq!(take(&mut turns, 3, 11_000, 900), Millis(900), "it is late");
        assert_eq!(turns.take(Vec::new(), ClusterTime(0), Millis(0)), []);
        assert_eq!(take(&mut turns, 3, 9000, 2000), Millis(3000), "it is another turn");
    }
}
