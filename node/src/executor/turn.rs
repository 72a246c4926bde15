//! Whose turn an attempt is, and since when.
//!
//! ```text
//! nobody's by name     whoever leads                      ─ not_before ─▶ permit
//! a voter's            that voter, whether it leads       ─ not_before, others' permits ended ─▶ permit
//!                      or not
//!                      whoever leads, in its place        ─ the same ─ PATIENCE ─ its permit ended ─▶ permit
//! ```
//!
//! Two executors at one BMC steal each other's sessions, which is why each waits for what another may still do. It is
//! no matter of safety: whoever acts holds a permit of its own.

use quorumfence_machine::{ClusterTime, ControllerId, FenceWork, LogIndex, Millis, Permit, State, Work};
use quorumfence_raft::{Clock, Runtime, Term};

use crate::controller::Shared;
use crate::environment::Environment;
use crate::leader;

/// A voter that did not ask for a permit within this time after its attempt became due is away: the leader stands in.
const PATIENCE: Millis = Millis(2000);

/// What makes an attempt a controller's to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Post {
    /// It leads in this term, and acts only while it does.
    Leader(Term),
    /// It is this controller's turn, which is due then on its own clock. Its permit alone bounds what it does.
    Deputy { due: Millis },
}

/// Returns the work that a leader carries out: everything but the attempts that are its own turn, which it makes as any
/// other voter would.
pub(crate) fn of_leader(work: Vec<Work>, me: ControllerId) -> Vec<Work> {
    let is_mine = |work: &Work| match work {
        Work::Fence(work) => work.executor == Some(me),
        Work::Start(_) | Work::Stop(_) => false,
    };
    work.into_iter().filter(|work| !is_mine(work)).collect()
}

/// Returns the attempts that are this controller's turn.
pub(crate) fn of_deputy(state: &State, me: ControllerId) -> Vec<FenceWork> {
    // Every controller looks at each step of its state, and almost never has a turn.
    if state.fences().all(|fence| fence.executor != Some(me)) {
        return Vec::new();
    }
    let attempts = state.work().into_iter().filter_map(|work| match work {
        Work::Fence(work) => Some(work),
        Work::Start(_) | Work::Stop(_) => None,
    });
    attempts.filter(|work| work.executor == Some(me)).collect()
}

/// Waits until this controller may ask for the attempt's permit.
pub(super) async fn wait<E: Environment>(shared: &Shared<E>, post: Post, work: &FenceWork) {
    let me = shared.replica.id();
    match post {
        Post::Leader(_) if work.executor.is_none() => leader::reach_cluster_time(shared, work.not_before).await,
        Post::Leader(_) => {
            let free = || shared.replica.read(|state| free_from(state, work, me));
            let reach = |moment| leader::reach_cluster_time(shared, moment);
            stand_in(free, reach, |time| E::Runtime::sleep(time.into())).await;
            tracing::info!(host = %work.host, token = %work.token, attempt = work.attempt, "the leader stands in for a voter that is away");
        }
        Post::Deputy { due } => {
            sleep_until(shared, due).await;
            let mut newest = LogIndex(0);
            let next = |newest| shared.replica.read(|state| others_permit(state, work, me, newest));
            while let Some((at, left)) = next(newest) {
                newest = at;
                sleep_until(shared, shared.clock.now() + left).await;
            }
        }
    }
}

/// Waits until the attempt is due and nobody else can act, then for the voter whose turn it is, then for what that one
/// may do if it asked meanwhile. No longer than that: one that asks and dies again and again stops nothing.
pub(super) async fn stand_in<R: Future<Output = ()>, P: Future<Output = ()>>(
    free: impl Fn() -> ClusterTime,
    reach: impl Fn(ClusterTime) -> R,
    pause: impl FnOnce(Millis) -> P,
) {
    reach(free()).await;
    pause(PATIENCE).await;
    reach(free()).await;
}

/// Returns when the attempt is due and no permit of anybody else lives any more.
pub(super) fn free_from(state: &State, work: &FenceWork, me: ControllerId) -> ClusterTime {
    others(state, work, me).map(|permit| permit.ends).fold(work.not_before, ClusterTime::max)
}

/// Returns the newest permit of anybody else that is younger than `after`, and how long it lives, as the state knows it.
fn others_permit(state: &State, work: &FenceWork, me: ControllerId, after: LogIndex) -> Option<(LogIndex, Millis)> {
    let clock = state.cluster()?.clock;
    let newest = others(state, work, me).filter(|permit| permit.at > after).max_by_key(|permit| permit.at)?;
    Some((newest.at, newest.ends.since(clock)))
}

fn others<'a>(state: &'a State, work: &FenceWork, me: ControllerId) -> impl Iterator<Item = &'a Permit> {
    let permits = state.fence(&work.token).into_iter().flat_map(|fence| &fence.permits);
    permits.filter(move |permit| !permit.ended && permit.executor != me)
}

async fn sleep_until<E: Environment>(shared: &Shared<E>, moment: Millis) {
    loop {
        let left = moment - shared.clock.now();
        if left == Millis::ZERO {
            return;
        }
        E::Runtime::sleep(left.into()).await;
    }
}
