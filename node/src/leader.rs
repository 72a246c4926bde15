//! The loop that works while this controller leads: decide, propose, carry out.
//!
//! ```text
//! state + view ──▶ decide ──▶ proposals          state.work() ──▶ executor::Tasks
//! board.reports ──▶ Change::AgentReport
//! ```
//!
//! Everything that it has begun lives inside [`Leading`], which is dropped when the leadership ends: what was under way
//! is then found in the state by the next leader.

mod proposals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quorumfence_machine::{Actor, AgentReport, Change, ClusterTime, HostId, HostState, Millis, Report, Work, decide};
use quorumfence_raft::{Clock, Leadership, Point, ProposeError, Replica, Runtime, Term};
use tokio::sync::watch::Receiver;

use self::proposals::{About, Ended, Proposals};
use crate::controller::{Shared, differs};
use crate::environment::{self, Environment};
use crate::executor::{Post, Tasks, fence, of_leader, start, stop};

/// Between two decisions when nothing happens: what waits for time is noticed this late.
const TICK: Millis = Millis(100);

/// Shortest time between two decisions, however fast entries are applied.
const PAUSE: Millis = Millis(2);

/// Pause before a result is proposed, or the leadership offered, again.
const RESULT_PAUSE: Duration = Duration::from_millis(100);

/// A change of the voters that lasts this long under one leader was left behind by another.
const CHANGE_PATIENCE: Millis = Millis(2000);

/// A report that changed nothing although it should have is proposed again after this long.
const REPORT_AGAIN: Millis = Millis(5000);

/// Leads whenever the replica does, until the controller stops.
pub(crate) async fn run<E: Environment>(shared: Arc<Shared<E>>) {
    let mut leadership = shared.replica.leadership();
    let stop = shared.stop.clone();
    loop {
        let term = tokio::select! {
            biased;
            () = stop.stopped() => return,
            term = next_term(&mut leadership) => match term {
                Some(term) => term,
                None => return,
            },
        };
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            () = ended(leadership.clone(), term) => {}
            () = Leading::new(Arc::clone(&shared), term).lead() => {}
        }
    }
}

/// Waits until `moment` on the cluster's clock, as this leader continues it.
pub(crate) async fn reach_cluster_time<E: Environment>(shared: &Shared<E>, moment: ClusterTime) {
    loop {
        // Without a time this node does not lead, and whoever waits here is about to be dropped.
        let left = shared.replica.cluster_time().map_or(TICK, |time| moment.since(time));
        if left == Millis::ZERO {
            return;
        }
        E::Runtime::sleep(left.into()).await;
    }
}

/// Proposes a result under one name until its outcome is known. Ends by being dropped when the leadership ends.
pub(crate) async fn report_result<E: Environment>(shared: &Shared<E>, change: Change) {
    let (by, request) = (Actor::Controller(shared.replica.id()), environment::request::<E>());
    loop {
        E::pass(Point::ResultBeforePropose).await;
        match shared.replica.propose(by.clone(), Some(request), change.clone()).await {
            Ok(_) => return,
            Err(ProposeError::Rejected(rejected)) => {
                tracing::info!(%rejected, "a result came too late to count");
                return;
            }
            Err(ProposeError::Stopped) => return,
            Err(error @ (ProposeError::NotLeader(_) | ProposeError::Unknown(_))) => {
                tracing::warn!(%error, "a result is not in the log; it is proposed again");
                E::Runtime::sleep(RESULT_PAUSE).await;
            }
        }
    }
}

/// Returns the term in which this controller leads, once it does; `None` when the replica is gone.
async fn next_term(leadership: &mut Receiver<Leadership>) -> Option<Term> {
    leadership.wait_for(|leadership| leadership.lead_term.is_some()).await.ok()?.lead_term
}

/// Returns when the leadership of `term` is over.
async fn ended(mut leadership: Receiver<Leadership>, term: Term) {
    // An error means that the replica is gone, and the leadership with it.
    let seen = leadership.wait_for(|leadership| leadership.lead_term != Some(term)).await;
    tracing::info!(%term, replica_is_gone = seen.is_err(), "leadership ended");
}

/// One leadership, with everything that is under way in it.
struct Leading<E: Environment> {
    shared: Arc<Shared<E>>,
    term: Term,
    proposals: Proposals,
    tasks: Tasks,
    /// It leads without a vote of its own, and asks a voter to take over.
    leaving: Option<BoxFuture<'static, ()>>,
    /// Since when the group has been between two sets of voters.
    between: Option<Millis>,
    /// It ends a change of the voters that nobody else ends.
    finishing: Option<BoxFuture<'static, ()>>,
    /// What was proposed of each host's reports, in which state of the host, and when.
    forwarded: BTreeMap<HostId, (Arc<AgentReport>, HostState, Millis)>,
}

impl<E: Environment> Drop for Leading<E> {
    fn drop(&mut self) {
        let mut board = self.shared.board();
        board.view.leading = None;
        drop(board);
        self.shared.report.send_replace(Arc::default());
    }
}

impl<E: Environment> Leading<E> {
    fn new(shared: Arc<Shared<E>>, term: Term) -> Self {
        tracing::info!(controller = %shared.replica.id(), %term, "leadership began");
        let applied = || shared.replica.read(|state| state.cluster().map_or(ClusterTime::default(), |row| row.clock));
        let clock = shared.replica.cluster_time().unwrap_or_else(applied);
        shared.board().view.leading = Some((shared.clock.now(), clock));
        Self {
            shared,
            term,
            proposals: Proposals::default(),
            tasks: Tasks::default(),
            leaving: None,
            between: None,
            finishing: None,
            forwarded: BTreeMap::new(),
        }
    }

    async fn lead(mut self) {
        E::pass(Point::LeadBeforeFirstDecision).await;
        let shared = Arc::clone(&self.shared);
        let mut applied = shared.replica.applied();
        let mut is_due = true;
        let mut last = Millis::ZERO;
        loop {
            let now = shared.clock.now();
            if is_due && now >= last + PAUSE {
                (is_due, last) = (false, now);
                self.decide(now);
                self.leave_without_a_vote();
                self.finish_a_change_of_voters(now);
            }
            let wait = if is_due { last + PAUSE - now } else { TICK };
            tokio::select! {
                biased;
                changed = applied.changed() => match changed {
                    Ok(()) => is_due = true,
                    Err(_) => return,
                },
                ended = self.proposals.next_ended() => {
                    self.proposed(ended);
                    is_due = true;
                }
                id = self.tasks.next_ended() => {
                    self.tasks.ended(id, shared.clock.now());
                    is_due = true;
                }
                () = shared.reports.notified() => is_due = true,
                () = async { self.leaving.as_mut().expect("the condition below").await }, if self.leaving.is_some() => {
                    self.leaving = None;
                }
                () = async { self.finishing.as_mut().expect("the condition below").await }, if self.finishing.is_some() => {
                    (self.finishing, self.between) = (None, None);
                }
                () = E::Runtime::sleep(wait.into()) => is_due = true,
            }
        }
    }

    /// Hands over when this controller has no vote any more.
    ///
    /// Raft lets a leader without a vote go on: one that was elected before the entry that took its vote was committed.
    /// No permit is granted to it, so nothing would ever be fenced (found by simulation).
    fn leave_without_a_vote(&mut self) {
        let me = self.shared.replica.id();
        let votes = self.shared.replica.read(|state| {
            state.cluster().is_none_or(|cluster| cluster.voters.is_empty() || cluster.voters.contains(&me))
        });
        if votes || self.leaving.is_some() {
            return;
        }
        self.leaving = Some(hand_over(self.shared.replica.clone()));
    }

    /// Ends a change of the voters that an earlier leader began. Whoever makes one ends it much sooner.
    fn finish_a_change_of_voters(&mut self, now: Millis) {
        if !self.shared.replica.is_between_members() {
            self.between = None;
            return;
        }
        let since = *self.between.get_or_insert(now);
        if self.finishing.is_none() && now - since >= CHANGE_PATIENCE {
            self.finishing = Some(finish_change(self.shared.replica.clone()));
        }
    }

    /// Proposes what is to be decided, and has the work of what is decided done.
    fn decide(&mut self, now: Millis) {
        let shared = Arc::clone(&self.shared);
        let (decision, work) = shared.replica.read(|state| {
            let board = shared.board();
            (decide(state, &board.view, now), of_leader(state.work(), shared.replica.id()))
        });
        let me = Actor::Controller(shared.replica.id());
        for change in decision.changes {
            self.proposals.offer(&shared.replica, me.clone(), change, now);
        }
        self.publish(decision.report);
        self.forward_reports(now);
        let term = self.term;
        self.tasks.reconcile(work, now, |work| carry_out(Arc::clone(&shared), term, work));
    }

    fn publish(&self, report: Report) {
        self.shared.report.send_if_modified(|shown| {
            let differs = **shown != report;
            if differs {
                *shown = Arc::new(report);
            }
            differs
        });
    }

    /// Proposes agents' reports that the state does not hold, in their agents' names.
    fn forward_reports(&mut self, now: Millis) {
        let shared = Arc::clone(&self.shared);
        let reports: BTreeMap<HostId, (Arc<AgentReport>, HostState)> = shared.replica.read(|state| {
            let board = shared.board();
            let suspect_after = state.settings().suspect_after;
            let unsettled = board.reports.iter().filter(|(host, report)| differs(state, host, report));
            let unsettled = unsettled.filter(|(host, report)| board.hears(host, report, suspect_after, now));
            unsettled
                .filter_map(|(host, report)| Some((host.clone(), (Arc::clone(report), state.host(host)?.state))))
                .collect()
        });
        self.forwarded.retain(|host, _| reports.contains_key(host));
        for (host, (report, row)) in reports {
            let is_new = self.forwarded.get(&host).is_none_or(|(known, in_state, at)| {
                !Arc::ptr_eq(known, &report) || *in_state != row || now - *at >= REPORT_AGAIN
            });
            if !is_new {
                continue;
            }
            let change = Change::AgentReport { host: host.clone(), report: (*report).clone() };
            if self.proposals.offer(&self.shared.replica, Actor::Agent(host.clone()), change, now) {
                self.forwarded.insert(host, (report, row, now));
            }
        }
    }

    fn proposed(&mut self, ended: Ended) {
        if let (About::Report(host), Err(ProposeError::NotLeader(_) | ProposeError::Unknown(_))) =
            (&ended.about, &ended.result)
        {
            self.forwarded.remove(host);
        }
        self.proposals.ended(ended, self.shared.clock.now());
    }
}

/// Asks the voter that has caught up most to lead. Generic, as [`carry_out`] is, so that the future is `Send`.
fn hand_over<E: Environment>(replica: Replica<E>) -> BoxFuture<'static, ()> {
    async move {
        tracing::warn!(controller = %replica.id(), "this leader has no vote; it hands over");
        if let Err(error) = replica.hand_over(None).await {
            tracing::warn!(%error, "nobody took the leadership over; it is tried again");
            E::Runtime::sleep(RESULT_PAUSE).await;
        }
    }
    .boxed()
}

/// Ends a change of the voters. What fails is tried again.
fn finish_change<E: Environment>(replica: Replica<E>) -> BoxFuture<'static, ()> {
    async move {
        tracing::warn!(controller = %replica.id(), "an earlier leader left a change of the voters half done; it is ended");
        if let Err(error) = replica.finish_change().await {
            tracing::warn!(%error, "the change of the voters is not ended; it is tried again");
        }
    }
    .boxed()
}

fn carry_out<E: Environment>(shared: Arc<Shared<E>>, term: Term, work: Work) -> BoxFuture<'static, ()> {
    async move {
        E::pass(Point::WorkBeforeBegin).await;
        match work {
            Work::Fence(work) => fence::run(shared, Post::Leader(term), work).await,
            Work::Start(work) => start::run(shared, work).await,
            Work::Stop(work) => stop::run(shared, work).await,
        }
    }
    .boxed()
}
