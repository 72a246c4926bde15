//! The loop that every controller runs: from evidence to votes, and from events to the log that people read.
//!
//! ```text
//! board.view ──▶ judge ──▶ Ballot ──▶ Change::Votes        suspects ──▶ evidence::bmc ──▶ board.view
//! ```
//!
//! Level-triggered: each tick computes what has to be voted and asked from the state and the board. A vote whose
//! proposal failed or has no known outcome is simply proposed again.

mod ballot;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use quorumfence_machine::{
    Actor, Change, ControllerId, HostId, LogIndex, Millis, Settings, State, Vote, judge, outage, suspects,
};
use quorumfence_raft::{Clock, Leadership, Members, Point, ProposeError, Runtime};
use tokio::sync::watch::Receiver;

use self::ballot::Ballot;
use crate::agent::Controllers;
use crate::controller::{Kind, Mark, Shared, differs, listed_in};
use crate::environment::Environment;
use crate::evidence::{bmc, reach};

/// A proposal of votes is given up after this long; what still differs is proposed again.
const CAST_DEADLINE: Duration = Duration::from_millis(1000);

/// Proposals of votes in flight at once: the first may hang on a leader that is gone.
const CASTS_MAX: usize = 4;

/// A loop that missed this many ticks was paused with its machine. What it did not hear in that time is its own fault:
/// heartbeats that came meanwhile may still wait to be read.
///
/// In ticks, because a silence that condemns may be shorter than any fixed time: three checks of 250 ms in `fast`.
const TICKS_MISSED_MAX: u64 = 4;

/// Shortest time between two judgements, however much news arrives.
const JUDGE_PAUSE: Millis = Millis(10);

/// Between two judgements, at least and at most.
const TICK_MIN: Millis = Millis(20);
const TICK_MAX: Millis = Millis(250);

/// Between two looks at the members.
const MEMBERS_INTERVAL: Millis = Millis(1000);

/// Watches until the controller stops.
pub(crate) async fn run<E: Environment>(shared: Arc<Shared<E>>) {
    let mut events = shared.replica.events();
    let mut leadership = shared.replica.leadership();
    let mut watch = Watch::new(shared, &leadership);
    let stop = watch.shared.stop.clone();
    loop {
        let wait = watch.wait();
        tokio::select! {
            biased;
            () = stop.stopped() => return,
            () = E::Runtime::sleep(wait) => {}
            Some(cast) = watch.casts.next(), if !watch.casts.is_empty() => watch.cast(cast),
            Some(seen) = watch.bmc_looks.next(), if !watch.bmc_looks.is_empty() => watch.bmc_seen(&seen),
            Some(seen) = watch.looks.next(), if !watch.looks.is_empty() => watch.reach_seen(&seen),
            changed = events.changed() => match changed {
                Ok(()) => watch.shared.follow_events(),
                Err(_) => return,
            },
            changed = leadership.changed() => match changed {
                Ok(()) => watch.follow_leader(&leadership),
                Err(_) => return,
            },
            () = watch.shared.news.notified() => watch.news(),
        }
        let now = watch.shared.clock.now();
        if now >= watch.next_judgement {
            watch.tick(now);
        }
    }
}

type Cast = (Vec<Vote>, Option<Result<LogIndex, ProposeError>>);

struct Watch<E: Environment> {
    shared: Arc<Shared<E>>,
    me: ControllerId,
    ballot: Ballot,
    casts: FuturesUnordered<BoxFuture<'static, Cast>>,
    bmc: bmc::Plan,
    bmc_looks: FuturesUnordered<BoxFuture<'static, bmc::Seen>>,
    reach: reach::Plan,
    looks: FuturesUnordered<BoxFuture<'static, reach::Seen>>,
    suspected: Vec<HostId>,
    /// The last entry as of which it was looked whose list is missing.
    unlisted_at: Option<LogIndex>,
    leader: Option<ControllerId>,
    last_judgement: Millis,
    next_judgement: Millis,
    /// Between two judgements, as the last one's settings say.
    tick: Millis,
    next_members: Millis,
}

/// What one tick found out, under the locks.
struct Judged {
    votes: Vec<Vote>,
    bmc: Vec<bmc::Ask>,
    reach: Vec<reach::Ask>,
    suspects: Vec<HostId>,
    settings: Settings,
}

impl<E: Environment> Watch<E> {
    fn new(shared: Arc<Shared<E>>, leadership: &Receiver<Leadership>) -> Self {
        let now = shared.clock.now();
        let leader = leadership.borrow().leader.as_ref().map(|leader| leader.id);
        Self {
            me: shared.replica.id(),
            ballot: Ballot::default(),
            casts: FuturesUnordered::new(),
            bmc: bmc::Plan::default(),
            bmc_looks: FuturesUnordered::new(),
            reach: reach::Plan::default(),
            looks: FuturesUnordered::new(),
            suspected: Vec::new(),
            unlisted_at: None,
            leader,
            last_judgement: now,
            next_judgement: now,
            tick: TICK_MAX,
            next_members: now,
            shared,
        }
    }

    fn wait(&self) -> Duration {
        (self.next_judgement - self.shared.clock.now()).max(Millis(1)).into()
    }

    fn news(&mut self) {
        self.next_judgement = self.next_judgement.min(self.last_judgement + JUDGE_PAUSE);
    }

    fn tick(&mut self, now: Millis) {
        if now - self.last_judgement > self.tick.times(TICKS_MISSED_MAX) {
            tracing::warn!(paused = %(now - self.last_judgement), "this controller did not run; silence from before does not count");
            self.shared.board().view.since = now;
        }
        self.follow_members(now);
        let judged = self.judge(now);
        self.last_judgement = now;
        self.tick = tick(&judged.settings);
        self.next_judgement = now + self.tick;
        self.note_suspects(judged.suspects, now);
        self.propose(judged.votes);
        let deadline: Duration = judged.settings.device_deadline.into();
        for ask in judged.bmc {
            if ask.why == bmc::Why::Suspect {
                self.shared.note(&ask.host, None, Kind::BmcAsked);
            }
            let devices = self.shared.devices.clone();
            let look = async move {
                E::pass(Point::EvidenceBeforeLook).await;
                let seen = bmc::look(devices, ask, deadline).await;
                E::pass(Point::EvidenceAfterLook).await;
                seen
            };
            self.bmc_looks.push(look.boxed());
        }
        for ask in judged.reach {
            self.looks.push(reach::look(self.shared.probes.clone(), ask).boxed());
        }
    }

    fn judge(&mut self, now: Millis) -> Judged {
        let shared = Arc::clone(&self.shared);
        let applied = *shared.replica.applied().borrow();
        // Every controller asks: the leader may be the one that an agent does not hear. It looks at every instance, so it is
        // done once for each change, and before anybody waits for the board.
        let has_changed = self.unlisted_at.replace(applied) != Some(applied);
        shared.replica.read(|state| {
            let unlisted = has_changed.then(|| state.unlisted());
            let mut board = shared.board();
            if let Some(unlisted) = unlisted {
                board.unlisted = unlisted;
            }
            board.sort_reports(
                |host, report| differs(state, host, report),
                |host, report| listed_in(state, host, report.boot),
            );
            let verdicts = judge(state, &board.view, now);
            if let Some(outage) = outage(state, &board.view, now) {
                board.view.outage = Some(outage);
            }
            let view = &board.view;
            let may_vote = self.casts.len() < CASTS_MAX;
            let votes = if may_vote { self.ballot.changed(state, self.me, verdicts, now) } else { Vec::new() };
            let suspects = suspects(state, view, now);
            let named = suspects
                .iter()
                .filter_map(|id| Some((state.host(id)?, view.hosts.get(id).and_then(|sight| sight.power))));
            let rank = rank(state, self.me);
            let mut bmc = self.bmc.suspects(&named.collect::<Vec<_>>(), rank, now);
            bmc.extend(self.bmc.sweep(state.hosts(), rank, now));
            let reach = self.reach.due(state, view, now);
            Judged { votes, bmc, reach, suspects, settings: state.settings() }
        })
    }

    fn note_suspects(&mut self, suspects: Vec<HostId>, now: Millis) {
        for host in suspects.iter().filter(|host| self.suspected.binary_search(host).is_err()) {
            let heard = self.shared.board().view.hosts.get(host).and_then(|sight| sight.heartbeat);
            let Some(at) = heard.map(|beat| beat.at) else { continue };
            let wall = quorumfence_machine::WallMillis(self.shared.clock.wall().0.saturating_sub((now - at).0));
            self.shared.moments.note(Mark { at, wall, host: host.clone(), token: None, kind: Kind::LastHeartbeat });
            tracing::info!(%host, silent_for = %(now - at), "heartbeats are late");
        }
        self.suspected = suspects;
    }

    fn propose(&mut self, votes: Vec<Vote>) {
        if votes.is_empty() {
            return;
        }
        for vote in &votes {
            self.shared.note(&vote.host, None, Kind::Voted(vote.verdict));
        }
        let (replica, me) = (self.shared.replica.clone(), self.me);
        let cast = async move {
            E::pass(Point::VotesBeforeCast).await;
            let change = Change::Votes { controller: me, votes: votes.clone() };
            let proposed = replica.propose(Actor::Controller(me), None, change);
            let ended = E::Runtime::timeout(CAST_DEADLINE, proposed).await.ok();
            E::pass(Point::VotesAfterCast).await;
            (votes, ended.map(|proposed| proposed.map(|(at, _)| at)))
        };
        self.casts.push(cast.boxed());
    }

    fn cast(&mut self, (votes, ended): Cast) {
        match ended {
            Some(Ok(at)) => self.ballot.committed(&votes, at),
            Some(Err(error)) => {
                tracing::debug!(%error, votes = votes.len(), "votes were not cast");
                self.ballot.failed(&votes);
            }
            None => self.ballot.failed(&votes),
        }
    }

    fn bmc_seen(&mut self, seen: &bmc::Seen) {
        let (now, wall) = (self.shared.clock.now(), self.shared.clock.wall());
        let host = &seen.ask.host;
        let enrolment = self.shared.replica.read(|state| state.host(host).and_then(|row| row.enrolment.clone()));
        self.bmc.ended(seen, enrolment.as_ref(), now);
        {
            let mut board = self.shared.board();
            if let Some(reading) = seen.reading() {
                board.view.hosts.entry(host.clone()).or_default().power = Some(reading);
            }
            if seen.ask.why == bmc::Why::Sweep {
                let readiness = seen.readiness(wall, board.readiness.get(host));
                board.readiness.insert(host.clone(), readiness);
            }
        }
        match seen.ask.why {
            bmc::Why::Suspect => {
                if let Some(power) = seen.power() {
                    self.shared.note(host, None, Kind::BmcRead(power));
                }
                self.news();
            }
            bmc::Why::Sweep if !seen.is_fenceable() => {
                tracing::warn!(%host, outcome = ?seen.power(), "no fencing level of this host answers; it could not be fenced");
            }
            bmc::Why::Sweep => {}
        }
    }

    fn reach_seen(&mut self, seen: &reach::Seen) {
        self.reach.ended(&seen.ask);
        seen.enter(&mut self.shared.board().view);
    }

    /// Silence during an election is not a host's silence (rule 19).
    fn follow_leader(&mut self, leadership: &Receiver<Leadership>) {
        let leader = leadership.borrow().leader.as_ref().map(|leader| leader.id);
        if leader.is_none() || leader == self.leader {
            return;
        }
        self.leader = leader;
        self.shared.board().view.since = self.shared.clock.now();
    }

    fn follow_members(&mut self, now: Millis) {
        if now < self.next_members {
            return;
        }
        self.next_members = now + MEMBERS_INTERVAL;
        let Members { at, peers } = self.shared.replica.applied_members();
        let mut board = self.shared.board();
        let controllers = Controllers { at, peers };
        if *board.peers != controllers {
            board.peers = Arc::new(controllers);
        }
    }
}

/// Often enough that a late heartbeat is noticed in a quarter of an interval.
fn tick(settings: &Settings) -> Millis {
    Millis(settings.heartbeat_interval.0 / 4).clamp(TICK_MIN, TICK_MAX)
}

/// Returns this controller's place among the voters, from 0; behind them all when it is none.
pub(crate) fn rank(state: &State, me: ControllerId) -> u64 {
    let ahead = state.cluster().map_or(0, |cluster| cluster.voters.range(..me).count());
    u64::try_from(ahead).unwrap_or(u64::MAX)
}
