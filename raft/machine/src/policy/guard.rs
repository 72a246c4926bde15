//! Brakes: what holds a fence back. The leader asks them before it proposes, and `State::apply` asks them again, so
//! that they hold across leader changes (promise S5).

use crate::{Host, HostState, ProofClass, Reason, SegmentId, Stage, State};

/// Returns the first brake that holds the fence of a lost host back.
///
/// A host that rebooted by itself needs no power action: its new boot is the proof, so only `disarm` holds it.
pub(crate) fn holds(state: &State, host: &Host) -> Option<Reason> {
    let cluster = state.cluster()?;
    if !cluster.armed {
        return Some(Reason::Disarmed);
    }
    let Some(enrolment) = &host.enrolment else { return Some(Reason::NotEnrolled) };
    if !needs_power(state, host) {
        return None;
    }
    if host.maintenance.is_some() {
        return Some(Reason::Maintenance);
    }
    if enrolment.levels.is_empty() {
        return Some(Reason::NoFencingLevel);
    }
    in_flight(state).or_else(|| storm(state)).or_else(|| minimum_healthy(state, &enrolment.segment))
}

/// Returns whether the fence of a lost host has to cut its power: its agent reports no later boot, or that is no proof.
pub(crate) fn needs_power(state: &State, host: &Host) -> bool {
    !rebooted(host) || !state.settings().proofs.contains(&ProofClass::NewBootId)
}

/// Returns whether the host's agent reports another boot than the one that was lost.
pub(crate) fn rebooted(host: &Host) -> bool {
    match (host.state, &host.agent) {
        (HostState::Lost { boot, .. }, Some(agent)) => agent.boot != boot,
        (HostState::Lost { .. }, None)
        | (HostState::New | HostState::Up { .. } | HostState::Fencing { .. } | HostState::Fenced { .. }, _) => false,
    }
}

/// A fence that waits for a person is not in flight: one dead BMC must not keep every other host from being fenced. The
/// storm window goes on counting it.
fn in_flight(state: &State) -> Option<Reason> {
    let max = state.settings().fences_in_flight_max;
    let open = state.fences().filter(|fence| fence.stage == Stage::Working).count();
    let in_flight = u32::try_from(open).unwrap_or(u32::MAX);
    (in_flight >= max).then_some(Reason::FencesInFlight { in_flight, max })
}

fn storm(state: &State) -> Option<Reason> {
    let cluster = state.cluster()?;
    let settings = &cluster.settings;
    let recent =
        cluster.decided.iter().filter(|decided| cluster.clock.since(**decided) < settings.storm_window).count();
    let too_many = recent >= settings.storm_fences_max as usize;
    (cluster.storm.is_some() || too_many).then_some(Reason::StormBrake)
}

/// Counts admitted hosts out of maintenance as healthy. The host in question is lost, so it is not among them.
fn minimum_healthy(state: &State, segment: &SegmentId) -> Option<Reason> {
    let percent = state.segment(segment)?.minimum_healthy_percent;
    let members = || state.hosts().filter(|host| host.segment() == Some(segment) && host.state != HostState::New);
    let hosts = members().count();
    let healthy = members().filter(|host| host.up_boot().is_some() && host.maintenance.is_none()).count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (healthy * 100 < hosts * usize::from(percent)).then(|| Reason::MinimumHealthy {
        healthy: count(healthy),
        hosts: count(hosts),
        percent,
    })
}
