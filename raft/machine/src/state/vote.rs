//! Quorum liveness: votes of the current voters make a host lost.

use super::apply::Effect;
use super::{CastVote, Host, HostState, State, instance};
use crate::policy::CAST_AGAIN;
use crate::{BootId, ClusterTime, ControllerId, Event, HostId, LogIndex, Millis, Rejected, Reply, Verdict, Vote};

/// How long a vote condemns: three times as long as until it is cast anew.
pub(in crate::state) const CONDEMNS_FOR: Millis = Millis(3 * CAST_AGAIN.0);

pub(super) fn cast(state: &mut State, at: LogIndex, controller: ControllerId, votes: &[Vote]) -> Effect {
    let cluster = state.cluster().ok_or(Rejected::NoCluster)?;
    if !cluster.voters.contains(&controller) {
        return Err(Rejected::NotAVoter(controller));
    }
    let clock = cluster.clock;
    let mut events = Vec::new();
    for vote in votes {
        let Some(host) = state.hosts.get_mut(&vote.host) else { continue };
        let cast = CastVote { verdict: vote.verdict, at, clock, evidence: vote.evidence.clone() };
        let before = host.votes.insert(controller, cast);
        if before.is_none_or(|before| before.verdict != vote.verdict) {
            events.push(Event::VoteCast { controller, host: vote.host.clone(), verdict: vote.verdict });
        }
        events.extend(recount(state, at, &vote.host));
    }
    Ok((Reply::Done, events))
}

/// Drops the votes of controllers that are no voters any more, and counts again.
pub(super) fn voters_changed(state: &mut State, at: LogIndex) -> Vec<Event> {
    let Some(voters) = state.cluster().map(|cluster| cluster.voters.clone()) else { return Vec::new() };
    let names: Vec<HostId> = state.hosts.keys().cloned().collect();
    let mut events = Vec::new();
    for name in names {
        if let Some(host) = state.hosts.get_mut(&name) {
            host.votes.retain(|controller, _| voters.contains(controller));
        }
        events.extend(recount(state, at, &name));
    }
    events
}

/// Returns how many current voters cast a verdict of this kind.
fn count(state: &State, host: &HostId, of_kind: impl Fn(Verdict) -> bool) -> usize {
    count_cast(state, host, |vote| of_kind(vote.verdict))
}

fn count_cast(state: &State, host: &HostId, counts: impl Fn(&CastVote) -> bool) -> usize {
    let (Some(cluster), Some(host)) = (state.cluster(), state.hosts.get(host)) else { return 0 };
    host.votes.iter().filter(|(voter, vote)| cluster.voters.contains(voter) && counts(vote)).count()
}

/// Returns how many current voters condemn the boot that the host was admitted in: they see it dead, or hear another
/// boot, which means the same for everything that ran in the old one (rule 40).
///
/// A boot that was fenced before came earlier. Whoever heard it last knows nothing of the admitted one. A vote that is not
/// cast anew in time is that of a controller which died since, perhaps long ago: nobody can say what it would see now.
fn condemning(state: &State, name: &HostId) -> usize {
    let admitted = state.hosts.get(name).and_then(Host::admitted_boot);
    let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
    count_cast(state, name, |vote| {
        let condemns = match vote.verdict {
            Verdict::Alive { boot } => {
                admitted.is_some_and(|admitted| admitted != boot) && !state.is_fenced_boot(name, boot)
            }
            Verdict::Unreachable | Verdict::PoweredOff => true,
            Verdict::CannotTell(_) => false,
        };
        condemns && clock.since(vote.clock) <= CONDEMNS_FOR
    })
}

/// Returns whether some voter hears the host in a later boot.
pub(super) fn another_boot_is_heard(state: &State, host: &HostId, boot: BootId) -> bool {
    let is_later = |verdict| match verdict {
        Verdict::Alive { boot: heard } => heard != boot && !state.is_fenced_boot(host, heard),
        Verdict::Unreachable | Verdict::PoweredOff | Verdict::CannotTell(_) => false,
    };
    count(state, host, is_later) > 0
}

/// A lost host becomes up again only while nothing is decided, and only in the boot that was lost (rules 40 and 42).
///
/// That is a verdict too, so a majority must hear that boot (rule 21), and say so since (rule 42): neither a controller
/// that cannot tell any more nor one that died before makes a dead host live.
pub(super) fn recount(state: &mut State, at: LogIndex, name: &HostId) -> Vec<Event> {
    let condemned = condemning(state, name);
    let Some((majority, voters)) = state.cluster().map(|cluster| (cluster.majority(), cluster.voters.len())) else {
        return Vec::new();
    };
    let Some(host) = state.hosts.get(name) else { return Vec::new() };
    let (next, event) = match host.state {
        HostState::Up { boot } if condemned >= majority => (
            HostState::Lost { boot, at },
            Event::HostLost { host: name.clone(), votes: small(condemned), voters: small(voters) },
        ),
        HostState::Lost { boot, at: lost_at }
            if count_cast(state, name, |vote| vote.verdict == Verdict::Alive { boot } && vote.at > lost_at)
                >= majority
                && host.agent.as_ref().is_some_and(|agent| agent.boot == boot) =>
        {
            (HostState::Up { boot }, Event::HostRegained { host: name.clone() })
        }
        HostState::New
        | HostState::Up { .. }
        | HostState::Lost { .. }
        | HostState::Fencing { .. }
        | HostState::Fenced { .. } => return Vec::new(),
    };
    if let Some(host) = state.hosts.get_mut(name) {
        host.state = next;
        if let Some(facts) = host.agent.as_mut().filter(|_| matches!(next, HostState::Up { .. })) {
            facts.heard_again_at = at;
        }
    }
    let mut events = vec![event];
    if matches!(next, HostState::Up { .. }) {
        // With a list that says how old it is nothing is settled yet: the next one does. A log of old is applied as it was.
        events.extend(instance::settle(state, at, name));
    }
    events
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
