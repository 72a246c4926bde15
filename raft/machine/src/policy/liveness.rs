//! From one controller's evidence to its votes.

use crate::state::unclear_since;
use crate::{
    ClusterTime, ControllerId, Evidence, Heartbeat, Host, HostId, HostState, Millis, Outage, Power, Settings, Sight,
    State, Uncertainty, Verdict, View, Vote,
};

/// After its controllers can be reached again an agent needs this long at most until it is heard: a pause between two
/// calls, a call that goes nowhere, and one that is answered.
pub const CALL_AGAIN: Millis = Millis(5000);

/// A host that was silent for longer when an outage began has had three times the time that its agent needs to call again.
const EXCUSED_MAX: Millis = CALL_AGAIN.times(3);

/// A vote that condemns a host which is not lost is cast anew after this long, on the cluster's clock.
pub const CAST_AGAIN: Millis = Millis(10_000);

/// Heartbeats that a host misses at least before its silence condemns it.
const BEATS_MISSED_MIN: u64 = 3;

/// Returns this controller's verdicts on the enrolled hosts of which something can be said.
///
/// Silence counts from `view.since` on at the earliest: a controller that just started is patient (rule 19), and so is one
/// that most hosts were silent to until a moment ago. A host without a verdict keeps the vote that it has. Whoever watches
/// notes in `view.outage` what [`outage`] says.
pub fn judge(state: &State, view: &View, now: Millis) -> Vec<Vote> {
    let settings = state.settings();
    let mut votes: Vec<Vote> = state.hosts().filter_map(|host| judge_host(state, host, &settings, view, now)).collect();
    let hearing = Hearing::of(state, &settings, view, now, &votes);
    if hearing.late.len() > hearing.heard {
        for vote in votes.iter_mut().filter(|vote| vote.verdict == Verdict::Unreachable) {
            vote.verdict = Verdict::CannotTell(Uncertainty::CutOff);
        }
    } else if let Some(outage) = view.outage {
        // Hosts are not heard again all at once. Those that are still to come were not silent, nobody could hear them.
        votes.retain(|vote| {
            let patience = || silence_max(state, view, &vote.host, &settings).max(CALL_AGAIN);
            let is_excused = || outage.since - last_heard(view, &vote.host) <= EXCUSED_MAX;
            vote.verdict != Verdict::Unreachable || now - outage.seen > patience() || !is_excused()
        });
    }
    votes
}

/// Returns the outage of this controller's network that it is in, as far as it can tell: more hosts fell silent at once than
/// are heard.
///
/// It is asked when a controller judges, and just before a host that was late is heard again: an outage may begin after one
/// judgement and be over before the next, and for the host that was heard first it lasted longest (found by simulation).
/// Hosts that fell silent long before the last one are dead for reasons of their own, or a host that is slow would excuse
/// them for ever.
pub fn outage(state: &State, view: &View, now: Millis) -> Option<Outage> {
    let settings = state.settings();
    let votes: Vec<Vote> = state.hosts().filter_map(|host| judge_host(state, host, &settings, view, now)).collect();
    let Hearing { heard, late } = Hearing::of(state, &settings, view, now, &votes);
    let since = late.iter().copied().max()?;
    let slack = state.hosts().map(|host| view.slack(&host.id, settings.heartbeat_interval)).max().unwrap_or_default();
    let apart = settings.heartbeat_interval.times(BEATS_MISSED_MIN) + slack;
    let at_once = late.iter().filter(|last| since - **last <= apart);
    (at_once.count() > heard).then_some(Outage { since, seen: now })
}

/// Returns after how long without a heartbeat a host is late, long before its silence condemns it.
pub fn late_after(heartbeat_interval: Millis) -> Millis {
    Millis(heartbeat_interval.0.saturating_mul(3) / 2)
}

/// Returns when a host was heard last, or could have been.
fn last_heard(view: &View, host: &HostId) -> Millis {
    view.hosts.get(host).and_then(|sight| sight.heartbeat).map_or(view.since, |beat| beat.at.max(view.since))
}

/// How many hosts are heard, and when those that are late and should be heard were heard last.
///
/// Late is whoever is a heartbeat and a half behind, long before silence condemns. When a network fails, the host that
/// was heard first is silent for too long first; the others seem well then, and are not heard any more either. Since
/// silence lasts three intervals and hosts are at most one apart, all of them are late by then (rule 21).
struct Hearing {
    heard: usize,
    late: Vec<Millis>,
}

impl Hearing {
    fn of(state: &State, settings: &Settings, view: &View, now: Millis, votes: &[Vote]) -> Self {
        let late_after = late_after(settings.heartbeat_interval);
        // A host that is off, on purpose or already dealt with is silent for a reason of its own; one that answers
        // otherwise can be reached. Any host that is heard shows that this controller can hear.
        let should_be_heard = |host: &Host| {
            // Votes are in the order of their hosts.
            let vote = votes.binary_search_by(|vote| vote.host.cmp(&host.id)).ok().map(|place| &votes[place]);
            let has_a_reason = vote.is_some_and(|vote| match vote.verdict {
                Verdict::PoweredOff | Verdict::CannotTell(_) => true,
                Verdict::Unreachable | Verdict::Alive { .. } => false,
            });
            host.admitted_boot().is_some() && host.maintenance.is_none() && !has_a_reason
        };
        let mut hearing = Self { heard: 0, late: Vec::new() };
        for host in state.hosts().filter(|host| host.enrolment.is_some()) {
            let Some(beat) = view.hosts.get(&host.id).and_then(|sight| sight.heartbeat) else { continue };
            let last = beat.at.max(view.since);
            if now - last <= late_after {
                hearing.heard += 1;
            } else if now - last <= late_after + beat.slack(settings.heartbeat_interval) {
                // Its agent does not know yet that it is wanted more often: nobody can tell whether it can be heard.
            } else if should_be_heard(host) {
                hearing.late.push(last);
            }
        }
        hearing
    }
}

/// Returns the longest silence of a host that does not condemn it.
///
/// Settings that ask for heartbeats more often are in force before the agents know: an agent learns it with the answer
/// to its next one, which it sends when the former settings said.
fn silence_max(state: &State, view: &View, host: &HostId, settings: &Settings) -> Millis {
    let enrolment = state.host(host).and_then(|host| host.enrolment.as_ref());
    let segment = enrolment.and_then(|enrolment| state.segment(&enrolment.segment));
    let threshold =
        segment.map(|segment| segment.check_interval.times(u64::from(segment.failure_threshold))).unwrap_or_default();
    threshold.max(settings.suspect_after).max(settings.heartbeat_interval.times(BEATS_MISSED_MIN))
        + view.slack(host, settings.heartbeat_interval)
}

/// Returns the hosts whose BMC should be asked now whether the power is off.
///
/// Only hosts that are admitted, enrolled with a device, and whose heartbeats are late.
pub fn suspects(state: &State, view: &View, now: Millis) -> Vec<HostId> {
    let settings = state.settings();
    state
        .hosts()
        .filter(|host| match host.state {
            HostState::Up { .. } | HostState::Lost { .. } => true,
            HostState::New | HostState::Fencing { .. } | HostState::Fenced { .. } => false,
        })
        .filter(|host| host.maintenance.is_none())
        .filter(|host| host.enrolment.as_ref().is_some_and(|enrolment| !enrolment.levels.is_empty()))
        .filter(|host| {
            let heard = view.hosts.get(&host.id).and_then(|sight| sight.heartbeat).map_or(view.since, |beat| beat.at);
            now - heard.max(view.since) > settings.suspect_after
        })
        .map(|host| host.id.clone())
        .collect()
}

/// Returns the votes that differ from what this controller has in the log.
///
/// Not having seen a host since a restart is no news about it: a committed vote that condemns stays (rule 19). Hearing
/// a host that the majority has lost meanwhile is news: it tells this controller from one that died before. So is a
/// verdict that still condemns a host which others do not condemn, or that alone says of a host that it lives: a vote that
/// nobody repeats counts no more.
pub fn changed_votes(state: &State, controller: ControllerId, votes: Vec<Vote>) -> Vec<Vote> {
    let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
    let is_news = |vote: &Vote| {
        let Some(host) = state.host(&vote.host) else { return true };
        let Some(cast) = host.votes.get(&controller) else { return true };
        match vote.verdict {
            Verdict::CannotTell(Uncertainty::NeverSeen) => !cast.verdict.condemns() && cast.verdict != vote.verdict,
            Verdict::Alive { .. } if state.lost_at(host).is_some_and(|lost_at| cast.at <= lost_at) => true,
            verdict @ Verdict::Alive { .. } if cast.verdict == verdict && unclear_since(state, host).is_some() => {
                clock.since(cast.clock) >= CAST_AGAIN
            }
            verdict if cast.verdict == verdict && condemns_alone(host, verdict) => {
                clock.since(cast.clock) >= CAST_AGAIN
            }
            Verdict::Alive { .. } | Verdict::Unreachable | Verdict::PoweredOff | Verdict::CannotTell(_) => {
                cast.verdict != vote.verdict
            }
        }
    };
    votes.into_iter().filter(is_news).collect()
}

/// Returns whether a verdict condemns a host that is not lost.
fn condemns_alone(host: &Host, verdict: Verdict) -> bool {
    host.up_boot().is_some_and(|admitted| match verdict {
        Verdict::Alive { boot } => boot != admitted,
        Verdict::Unreachable | Verdict::PoweredOff => true,
        Verdict::CannotTell(_) => false,
    })
}

/// Returns the verdict on one host; `None` while patience lasts and nothing can be said.
fn judge_host(state: &State, host: &Host, settings: &Settings, view: &View, now: Millis) -> Option<Vote> {
    let enrolment = host.enrolment.as_ref()?;
    let unseen = Sight::default();
    let sight = view.hosts.get(&host.id).unwrap_or(&unseen);
    let evidence = Evidence {
        heartbeat_age: sight.heartbeat.map(|beat| now - beat.at),
        ping_age: sight.ping.map(|at| now - at),
        health_age: sight.health.map(|at| now - at),
        power: sight.power.map(|reading| reading.power),
    };
    state.segment(&enrolment.segment)?;
    let silence_max = silence_max(state, view, &host.id, settings);
    let fresh = |beat: Heartbeat| settings.suspect_after + beat.slack(settings.heartbeat_interval);
    let off_since =
        |moment: Millis| sight.power.is_some_and(|reading| reading.power == Power::Off && reading.at > moment);
    let silent_for = |last: Option<Millis>| now - last.unwrap_or(view.since).max(view.since);
    let answers = |probed: bool, last: Option<Millis>| probed && last.is_some() && silent_for(last) <= silence_max;
    let is_later_than =
        |heard| host.admitted_boot().is_some_and(|admitted| admitted != heard) && state.is_fenced_boot(&host.id, heard);
    let verdict = match sight.heartbeat {
        Some(beat) if now - beat.at <= fresh(beat) => Verdict::Alive { boot: beat.boot },
        Some(beat) if off_since(beat.at) => Verdict::PoweredOff,
        None if off_since(view.since) => Verdict::PoweredOff,
        Some(_) | None if silent_for(sight.heartbeat.map(|beat| beat.at)) <= silence_max => return None,
        None => Verdict::CannotTell(Uncertainty::NeverSeen),
        // The silence of a boot that was fenced condemns no later one, which was never seen here (rule 24).
        Some(beat) if is_later_than(beat.boot) => Verdict::CannotTell(Uncertainty::NeverSeen),
        Some(_) if answers(enrolment.ping.is_some(), sight.ping) => Verdict::CannotTell(Uncertainty::AgentSilent),
        Some(_) if answers(enrolment.health.is_some(), sight.health) => Verdict::CannotTell(Uncertainty::AgentSilent),
        Some(_) => Verdict::Unreachable,
    };
    Some(Vote { host: host.id.clone(), verdict, evidence })
}
