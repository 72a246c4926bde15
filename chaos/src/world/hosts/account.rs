//! The history of a run, put together at its end from the rig's facts and the controllers' lists of events.
//!
//! Everything runs on one machine, so its wall clock orders it. An entry counts from the moment at which it was proposed,
//! which is before anybody could act on it; what it rests on happened before that. So an innocent order never looks
//! guilty, and a start that overtakes its own commit by milliseconds is acquitted.

#[cfg(test)]
mod tests;

use quorumfence_machine::{
    ControllerId, Destination, Event, EventRecord, HostId, InstanceId, LogIndex, Millis, Token, WallMillis,
};

use super::facts::Fact;
use crate::observation::{Observation, Seen};

/// What one controller lists.
#[derive(Debug)]
pub(super) struct List {
    pub(super) controller: ControllerId,
    pub(super) events: Vec<EventRecord>,
}

/// Returns the observations of a run in order, without its opening and its end. `since` is when the world opened, and
/// what started before `orders_since` was started by the world's own hand.
pub(super) fn history(
    facts: Vec<Fact>,
    lists: &[List],
    since: WallMillis,
    orders_since: WallMillis,
) -> Vec<Observation> {
    let longest = lists.iter().max_by_key(|list| list.events.len());
    let events = longest.map(|list| list.events.as_slice()).unwrap_or_default();
    let mut rows: Vec<Fact> = facts;
    for Fact { at, seen } in &mut rows {
        if let Seen::Started { instance, host, token } = seen
            && *at >= orders_since
        {
            *token = Some(order(events, *instance, host, *at));
        }
    }
    rows.extend(lists.iter().flat_map(applied));
    rows.sort_by_key(|row| (row.at, rank(&row.seen)));
    let since_then = |at: WallMillis| Millis(at.0.saturating_sub(since.0));
    rows.into_iter().map(|Fact { at, seen }| Observation { at: since_then(at), seen }).collect()
}

/// Within a millisecond the hardware comes first: nothing is committed before what it rests on.
fn rank(seen: &Seen) -> u8 {
    match seen {
        Seen::PowerOff { .. } => 0,
        Seen::PowerOn { .. } => 1,
        Seen::Ended { .. } => 2,
        Seen::Applied { .. } => 3,
        Seen::Started { .. } => 4,
        Seen::Opened { .. }
        | Seen::OffTaken { .. }
        | Seen::OffSent { .. }
        | Seen::Installed { .. }
        | Seen::Stopped { .. }
        | Seen::Running { .. }
        | Seen::Called { .. }
        | Seen::Answered { .. }
        | Seen::Fault { .. }
        | Seen::Healed
        | Seen::Closed => 5,
    }
}

/// Returns the token that a start must have had: nobody but the product starts a guest during a run, and it does so on a
/// plan. That is the newest plan for this host, or else the newest for any; a start without any plan gets a token that
/// nobody ever decided.
fn order(events: &[EventRecord], instance: InstanceId, host: &HostId, at: WallMillis) -> Token {
    let plan = |record: &'_ EventRecord| {
        let Event::RecoveryPlanned { instance: of, to: Destination::Host { host, .. }, token, .. } = &record.event
        else {
            return None;
        };
        (*of == instance).then(|| (host.clone(), *token))
    };
    let plans: Vec<(HostId, Token)> = events.iter().filter(|record| record.wall <= at).filter_map(plan).collect();
    let newest = plans.iter().rev().find(|(to, _)| to == host).or(plans.last());
    newest.map_or(Token::default(), |(_, token)| *token)
}

/// Returns what a controller applied. Entries between those of its list changed nothing.
fn applied(list: &List) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut at = WallMillis(0);
    let mut last: Option<LogIndex> = None;
    let controller = list.controller;
    let entry = |index, events| Seen::Applied { controller, index, content: 0, events, digest: None };
    for record in &list.events {
        // Two proposers' stamps may cross by the time that a proposal is under way; the log's order is the truth.
        at = at.max(record.wall);
        if let (Some(index), Some(Fact { seen: Seen::Applied { events, .. }, .. })) = (last, facts.last_mut())
            && index == record.at
        {
            events.push(record.event.clone());
            continue;
        }
        let first = last.map_or(record.at.0, |last| last.0 + 1);
        let silent = (first..record.at.0).map(|index| Fact { at, seen: entry(LogIndex(index), Vec::new()) });
        facts.extend(silent);
        facts.push(Fact { at, seen: entry(record.at, vec![record.event.clone()]) });
        last = Some(record.at);
    }
    facts
}
