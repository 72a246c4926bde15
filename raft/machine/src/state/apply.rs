//! From one committed entry to what it changes.

use std::collections::BTreeSet;

use super::{
    Cluster, Controller, EVENTS_MAX, JoinToken, REQUESTS_MAX, State, StoredReply, cluster, fence, host, recovery, vote,
};
use crate::{
    Actor, Applied, Change, ClusterTime, Command, ControllerId, Event, EventRecord, LogIndex, Reason, Rejected, Reply,
};

/// What one change did: its answer and its events, or why it did nothing.
pub(super) type Effect = Result<(Reply, Vec<Event>), Rejected>;

pub(super) fn apply(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    if let Some(cluster) = state.cluster.get_mut(&()) {
        cluster.clock = cluster.clock.max(command.clock);
        cluster.applied = at;
    }
    if let Some(known) = command.request.and_then(|request| state.requests.get(&request)) {
        return Applied { reply: known.reply.clone(), events: Vec::new() };
    }
    let (reply, events) = match change(state, at, command) {
        Ok((reply, events)) => (Ok(reply), events),
        Err(Rejected::Held(Reason::StormBrake)) => {
            (Err(Rejected::Held(Reason::StormBrake)), close_storm_brake(state, at, &command.change))
        }
        Err(rejected) => (Err(rejected), Vec::new()),
    };
    record_events(state, at, command, &events);
    if let Some(request) = command.request {
        state.requests.insert(request, StoredReply { request, at, reply: reply.clone() });
        forget_oldest_request(state);
    }
    Applied { reply, events }
}

pub(super) fn apply_voters(state: &mut State, at: LogIndex, voters: &BTreeSet<ControllerId>) -> Vec<Event> {
    let Some(cluster) = state.cluster.get_mut(&()) else { return Vec::new() };
    if cluster.voters == *voters {
        return Vec::new();
    }
    cluster.voters.clone_from(voters);
    cluster.applied = at;
    let mut events = vec![Event::VotersChanged { voters: voters.iter().copied().collect() }];
    events.extend(vote::voters_changed(state, at));
    fence::voters_changed(state);
    let first = voters.first().copied().unwrap_or(ControllerId(0));
    let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
    for event in &events {
        push_event(state, at, crate::WallMillis(0), clock, Actor::Controller(first), event.clone());
    }
    events
}

#[expect(clippy::too_many_lines, reason = "one arm per change reads best in one table")]
fn change(state: &mut State, at: LogIndex, command: &Command) -> Effect {
    if state.cluster().is_none() && !matches!(command.change, Change::ClusterCreate { .. }) {
        return Err(Rejected::NoCluster);
    }
    match &command.change {
        Change::ClusterCreate { cluster, name, address, settings } => {
            if state.cluster().is_some() {
                return Err(Rejected::ClusterExists);
            }
            settings.check()?;
            let first = ControllerId(1);
            let row = Cluster {
                id: *cluster,
                name: name.clone(),
                armed: false,
                armed_reason: "a new cluster observes until it is armed".into(),
                storm: None,
                decided: Vec::new(),
                settings: settings.clone(),
                clock: command.clock,
                voters: BTreeSet::from([first]),
                last_controller: first,
                applied: at,
            };
            state.cluster.insert((), row);
            state.controllers.insert(first, Controller { id: first, address: address.clone(), joined_at: at });
            Ok((
                Reply::Done,
                vec![Event::ClusterCreated { name: name.clone() }, Event::ControllerJoined { controller: first }],
            ))
        }
        Change::SettingsSet { settings } => {
            settings.check()?;
            with_cluster(state, |cluster| cluster.settings = settings.clone())?;
            Ok((Reply::Done, vec![Event::SettingsChanged { settings: Some(Box::new(settings.clone())) }]))
        }
        Change::Arm { reason } => {
            with_cluster(state, |cluster| {
                cluster.armed = true;
                cluster.armed_reason.clone_from(reason);
                cluster.storm = None;
                cluster.decided.clear();
            })?;
            Ok((Reply::Done, vec![Event::Armed { reason: reason.clone() }]))
        }
        Change::Disarm { reason } => {
            with_cluster(state, |cluster| {
                cluster.armed = false;
                cluster.armed_reason.clone_from(reason);
            })?;
            Ok((Reply::Done, vec![Event::Disarmed { reason: reason.clone() }]))
        }
        Change::JoinTokenCreate { id, secret_hash, role, life, uses } => {
            let token = JoinToken {
                id: id.clone(),
                secret_hash: *secret_hash,
                role: *role,
                ends: ClusterTime::default(),
                uses_left: *uses,
            };
            cluster::create_join_token(state, token, *life)
        }
        Change::Join { id, secret_hash, joiner } => cluster::join(state, at, id, secret_hash, joiner),
        Change::SegmentCreate { segment } => {
            if state.segments.contains(&segment.id) {
                return Err(Rejected::SegmentExists(segment.id.clone()));
            }
            check_segment(segment)?;
            state.segments.insert(segment.id.clone(), segment.clone());
            Ok((Reply::Done, vec![Event::SegmentCreated { segment: segment.id.clone() }]))
        }
        Change::HostEnrol { host, enrolment } => host::enrol(state, host, enrolment),
        Change::HostMaintenance { host, reason } => host::set_maintenance(state, at, host, reason.as_deref()),
        Change::HostConfirmDead { host, reason, boot } => {
            fence::confirm_dead(state, at, host, fence::Word { by: &command.by, reason, boot: *boot })
        }
        Change::AgentReport { host, report } => host::report(state, at, host, report),
        Change::Votes { controller, votes } => vote::cast(state, at, *controller, votes),
        Change::HostAdmit { host, boot } => host::admit(state, at, host, *boot),
        Change::FenceDecide { host, lost_at } => fence::decide(state, at, host, *lost_at),
        Change::PermitGrant { token, executor, level, life } => {
            fence::grant(state, at, *token, fence::Request { executor: *executor, level: *level, life: *life })
        }
        Change::FenceResult { token, permit, outcomes } => fence::result(state, at, *token, *permit, outcomes),
        Change::FenceNewBoot { token, boot } => fence::new_boot(state, at, *token, *boot),
        Change::RecoveryPlan { token, moves } => recovery::plan(state, at, *token, moves),
        Change::RecoveryResult { instance, token, outcome } => recovery::result(state, at, *instance, *token, outcome),
    }
}

fn with_cluster(state: &mut State, change: impl FnOnce(&mut Cluster)) -> Result<(), Rejected> {
    change(state.cluster.get_mut(&()).ok_or(Rejected::NoCluster)?);
    Ok(())
}

fn check_segment(segment: &crate::Segment) -> Result<(), Rejected> {
    if segment.failure_threshold == 0 || segment.check_interval.0 < 50 {
        return Err(Rejected::Invalid(
            "a segment needs a failure threshold of at least 1 and a check interval of at least 50 ms".into(),
        ));
    }
    if segment.minimum_healthy_percent > 100 {
        return Err(Rejected::Invalid("the minimum healthy share is a percentage from 0 to 100".into()));
    }
    Ok(())
}

/// The brake closes in the log, where the next leader finds it closed; only `arm` opens it (rule 23).
fn close_storm_brake(state: &mut State, at: LogIndex, change: &Change) -> Vec<Event> {
    let Change::FenceDecide { host, .. } = change else { return Vec::new() };
    match state.cluster.get_mut(&()) {
        Some(cluster) if cluster.storm.is_none() => {
            cluster.storm = Some(at);
            vec![Event::StormBrakeClosed { host: host.clone() }]
        }
        Some(_) | None => Vec::new(),
    }
}

fn record_events(state: &mut State, at: LogIndex, command: &Command, events: &[Event]) {
    let clock = state.cluster().map_or(command.clock, |cluster| cluster.clock);
    for event in events {
        push_event(state, at, command.wall, clock, command.by.clone(), event.clone());
    }
}

fn push_event(state: &mut State, at: LogIndex, wall: crate::WallMillis, clock: ClusterTime, by: Actor, event: Event) {
    let sequence = state.events.last_key().unwrap_or(0) + 1;
    state.events.insert(sequence, EventRecord { sequence, at, wall, clock, by, event });
    if let Some(first) = state.events.first_key()
        && first + EVENTS_MAX <= sequence
    {
        state.events.remove(&first);
    }
}

fn forget_oldest_request(state: &mut State) {
    if state.requests.len() <= REQUESTS_MAX {
        return;
    }
    let oldest = state.requests.values().min_by_key(|stored| (stored.at, stored.request)).map(|stored| stored.request);
    if let Some(request) = oldest {
        state.requests.remove(&request);
    }
}
