//! The loop that does what is this controller's turn, or what the leader leaves undone, whether it leads or not.
//!
//! ```text
//! state.work(), executor = me ──▶ executor::Tasks ──▶ permit, off, result
//! board.reports, overdue      ──▶ Change::AgentReport
//! state.work(), overdue       ──▶ executor::Tasks ──▶ start, stop, result
//! ```
//!
//! A line between one controller and one BMC may be broken while another's works, so attempts go round the voters. The same
//! is true of agents: what they report and what they are ordered goes by way of any voter, after the leader had its time.
//! What a deputy has begun ends with its turn, with its permit and with the controller.

mod agents;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use quorumfence_machine::{Actor, AgentReport, Change, ClusterTime, FenceWork, HostId, Millis, Work, WorkId};
use quorumfence_raft::{Clock, Point, Replica, Runtime};

use self::agents::Undone;
use crate::controller::Shared;
use crate::environment::Environment;
use crate::executor::{Post, Tasks, fence, of_deputy, start, stop};
use crate::watch::rank;

/// While it has a turn: a task that ended is looked at again this late.
const TICK: Millis = Millis(100);

/// Between two looks at what the leader has left undone.
const LOOK: Millis = Millis(500);

/// A report that was not taken by then is passed on again.
const REPORT_DEADLINE: Millis = Millis(3000);

/// Does what is its turn until the controller stops.
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
    let (mut turns, mut tasks, mut undone) = (Turns::default(), Tasks::default(), Undone::default());
    let mut reports: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let (mut orders, mut next_look) = (Vec::new(), Millis::ZERO);
    loop {
        let now = shared.clock.now();
        if now >= next_look {
            next_look = now + LOOK;
            let look = look(&shared, &mut undone, now);
            orders = look.orders;
            reports
                .extend(look.reports.into_iter().map(|(host, report)| pass_on(shared.replica.clone(), host, report)));
        }
        let (attempts, clock) = shared.replica.read(|state| {
            let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
            (of_deputy(state, me), clock)
        });
        let pause = if attempts.is_empty() { next_look - now } else { TICK.min(next_look - now) };
        let mut wanted = turns.take(attempts, clock, now);
        wanted.extend(orders.iter().cloned());
        tasks.reconcile(wanted, now, |work| carry_out(Arc::clone(&shared), turns.due(&work, now), work));
        tokio::select! {
            biased;
            changed = applied.changed() => if changed.is_err() {
                return;
            },
            id = tasks.next_ended() => tasks.ended(id, shared.clock.now()),
            Some(()) = reports.next(), if !reports.is_empty() => {}
            () = E::Runtime::sleep(pause.into()) => {}
        }
    }
}

/// What the leader has left undone.
#[derive(Default)]
struct Look {
    orders: Vec<Work>,
    reports: Vec<(HostId, Arc<AgentReport>)>,
}

/// Looks for what is undone. Whoever leads does it all, and who has no vote does nothing.
fn look<E: Environment>(shared: &Shared<E>, undone: &mut Undone, now: Millis) -> Look {
    let me = shared.replica.id();
    let leads = shared.replica.leadership().borrow().lead_term.is_some();
    shared.replica.read(|state| {
        if leads || state.cluster().is_none_or(|cluster| !cluster.voters.contains(&me)) {
            *undone = Undone::default();
            return Look::default();
        }
        let (board, rank) = (shared.board(), rank(state, me));
        Look {
            orders: undone.orders(state.work(), &board, rank, now),
            reports: undone.reports(state, &board, rank, now),
        }
    })
}

/// Passes a report on in its agent's name. Generic, as [`carry_out`] is, so that the future is `Send`.
fn pass_on<E: Environment>(replica: Replica<E>, host: HostId, report: Arc<AgentReport>) -> BoxFuture<'static, ()> {
    async move {
        let change = Change::AgentReport { host: host.clone(), report: (*report).clone() };
        let proposed = replica.propose(Actor::Agent(host.clone()), None, change);
        match E::Runtime::timeout(REPORT_DEADLINE.into(), proposed).await {
            Ok(Ok((at, _))) => tracing::info!(%host, %at, "a report that the leader did not bring is in the log"),
            Ok(Err(error)) => tracing::info!(%host, %error, "a report that the leader did not bring is not in the log"),
            Err(_) => tracing::info!(%host, "nobody took a report that the leader did not bring"),
        }
    }
    .boxed()
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
            Work::Start(work) => start::run(shared, work).await,
            Work::Stop(work) => stop::run(shared, work).await,
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
