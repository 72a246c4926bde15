//! Where the instances of fenced hosts go, in priority order.

use std::collections::BTreeMap;

use super::placement::Room;
use super::report::{Decision, Reason};
use crate::state::{may_run_on, runs_since, waits_for_lists};
use crate::{
    Change, ClusterTime, Destination, Host, HostId, Instance, Millis, Move, Parking, Recovery, RecoveryStage,
    SegmentId, State, Token, View,
};

/// Moves in one command: what one entry can carry with definitions left out.
const MOVES_MAX: usize = 256;

pub(super) fn decide(state: &State, view: &View, now: Millis, clock: ClusterTime, decision: &mut Decision) {
    let settings = state.settings();
    let healthy = |host: &Host| {
        let beat = view.hosts.get(&host.id).and_then(|sight| sight.heartbeat);
        beat.is_some_and(|beat| {
            let fresh = settings.suspect_after + beat.slack(settings.heartbeat_interval);
            host.up_boot() == Some(beat.boot) && now - beat.at <= fresh
        })
    };
    let mut open: Vec<(&Instance, &Recovery)> =
        state.instances().filter_map(|row| Some((row, row.recovery.as_ref()?))).collect();
    open.retain(|(_, recovery)| !matches!(recovery.stage, RecoveryStage::Assigned(_)));
    open.sort_by(|(a, _), (b, _)| b.priority.cmp(&a.priority).then(a.id.cmp(&b.id)));

    let mut rooms: BTreeMap<SegmentId, Room> = BTreeMap::new();
    let mut plans: BTreeMap<Token, Vec<Move>> = BTreeMap::new();
    let mut parked: BTreeMap<(HostId, Parking), u32> = BTreeMap::new();
    let mut copies: BTreeMap<(HostId, HostId), u32> = BTreeMap::new();
    for (instance, recovery) in open {
        if let Some(other) = copy_elsewhere(state, instance) {
            *copies.entry((instance.owner.clone(), other.id.clone())).or_default() += 1;
            continue;
        }
        let Some(to) = destination(state, healthy, clock, &mut rooms, instance, recovery) else { continue };
        if let Destination::Parked(why) = to {
            *parked.entry((instance.owner.clone(), why)).or_default() += 1;
        }
        let unchanged = matches!((&recovery.stage, &to), (RecoveryStage::Parked(a), Destination::Parked(b)) if a == b);
        let plan = plans.entry(recovery.fence).or_default();
        if !unchanged && plan.len() < MOVES_MAX {
            plan.push(Move { instance: instance.id, to });
        }
    }
    for (token, moves) in plans.into_iter().filter(|(_, moves)| !moves.is_empty()) {
        decision.propose(Change::RecoveryPlan { token, moves });
    }
    for (dead, owner) in waits_for_lists(state) {
        *copies.entry((dead.clone(), owner.clone())).or_default() += 1;
    }
    for ((owner, host), instances) in copies {
        decision.report.note(&owner, Reason::WaitsForCopies { instances, host });
    }
    for ((host, why), instances) in parked {
        decision.report.note(&host, Reason::Parked { instances, why });
    }
}

/// Returns a host that may still run an instance, beside the one to settle it on: it is being stopped there, or has not
/// listed what is there now, or that host's own fence decides, or a person.
fn copy_elsewhere<'a>(state: &'a State, instance: &Instance) -> Option<&'a Host> {
    let runs_on = runs_since(state, instance).map(|host| &host.id);
    may_run_on(state, instance.id).find(|host| Some(&host.id) != runs_on)
}

/// `None` means that it is not the time to say: too many starts are in flight, or the pause after a refusal lasts.
fn destination(
    state: &State,
    healthy: impl Fn(&Host) -> bool,
    clock: ClusterTime,
    rooms: &mut BTreeMap<SegmentId, Room>,
    instance: &Instance,
    recovery: &Recovery,
) -> Option<Destination> {
    let settings = state.settings();
    let segment = state.host(&instance.owner)?.segment()?;
    if let Some((host, boot)) = runs_since(state, instance).and_then(|host| Some((host.id.clone(), host.up_boot()?))) {
        return Some(Destination::Host { host, boot });
    }
    if !state.segment(segment)?.evacuation_enabled {
        return Some(Destination::Parked(Parking::EvacuationDisabled));
    }
    let pauses = clock < recovery.not_before;
    let refused_by = match &recovery.stage {
        RecoveryStage::Refused { refusal, .. } if recovery.refusals >= settings.max_restart_attempts => {
            return Some(Destination::Parked(Parking::Refused(*refusal)));
        }
        RecoveryStage::Refused { .. } if pauses => return None,
        RecoveryStage::Parked(why @ Parking::Refused(_)) if pauses => return Some(Destination::Parked(*why)),
        RecoveryStage::Refused { host, .. } => Some(host),
        RecoveryStage::Waiting | RecoveryStage::Assigned(_) | RecoveryStage::Parked(_) => None,
    };
    let room = rooms.entry(segment.clone()).or_insert_with(|| Room::of(state, segment, healthy));
    room.take(instance, refused_by, settings.starts_per_host_max)
}
