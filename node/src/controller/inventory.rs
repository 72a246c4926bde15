//! Which agents' reports say something that the state does not hold.

use std::collections::BTreeSet;

use quorumfence_machine::{
    AgentReport, BootId, Host, HostId, HostState, Instance, InstanceId, InstanceReport, InstanceState, Millis, State,
    SystemUuid,
};

/// Returns whether applying a report would change the state. It mirrors what the machine does with one.
pub(crate) fn differs(state: &State, id: &HostId, report: &AgentReport) -> bool {
    let Some(host) = state.host(id) else { return false };
    let machine = host.agent.as_ref().and_then(|facts| facts.system_uuid);
    if host.state != HostState::New && contradict(machine, report.system_uuid) {
        // The machine refuses the whole report, each time.
        return false;
    }
    if host.agent.as_ref().is_some_and(|facts| facts.has_said_more(report) || facts.earlier.contains(&report.boot)) {
        return false;
    }
    if let Some(since) = state.new_boot_since(id, report.boot) {
        // The agent is asked for a list that shows that this boot is the later one.
        return report.as_of >= Some(since);
    }
    let running: BTreeSet<InstanceId> = listed(report, InstanceState::is_here).collect();
    let moving: BTreeSet<InstanceId> = listed(report, |state| state == InstanceState::Moving).collect();
    let facts_agree = host.agent.as_ref().is_some_and(|facts| {
        facts.boot == report.boot
            && (report.system_uuid.is_none() || facts.system_uuid == report.system_uuid)
            && facts.memory_mib == report.memory_mib
            && facts.cannot_refuse == report.cannot_refuse
            && facts.running == running
            && facts.moving == moving
    });
    if !facts_agree {
        return true;
    }
    let may_own = match host.state {
        HostState::New => true,
        HostState::Up { boot } => boot == report.boot,
        HostState::Lost { .. } | HostState::Fencing { .. } | HostState::Fenced { .. } => false,
    };
    report.instances.iter().any(|row| row_differs(state, host, report, row, may_own))
        || state.is_told_anew(id, report)
        || (may_own && some_are_missing(state, id, &running, report))
        || state.tells_of_a_death(id, report)
}

/// Returns when the state's list of a host was made, if in this boot.
pub(crate) fn listed_in(state: &State, host: &HostId, boot: BootId) -> Option<Millis> {
    let facts = state.host(host).and_then(|host| host.agent.as_ref()).filter(|facts| facts.boot == boot);
    facts.map(|facts| facts.listed)
}

fn listed(report: &AgentReport, is_in: impl Fn(InstanceState) -> bool) -> impl Iterator<Item = InstanceId> {
    report.instances.iter().filter(move |row| is_in(row.state)).map(|row| row.id)
}

/// Whether two names of a machine cannot both be true.
pub(crate) fn contradict(known: Option<SystemUuid>, reported: Option<SystemUuid>) -> bool {
    known.zip(reported).is_some_and(|(known, reported)| known != reported)
}

fn row_differs(state: &State, host: &Host, report: &AgentReport, row: &InstanceReport, may_own: bool) -> bool {
    let Some(known) = state.instance(&row.id) else { return may_own && row.state != InstanceState::Migrated };
    let is_running = row.state == InstanceState::Running;
    if known.assignment().is_some_and(|to| to.host == host.id && to.boot == report.boot) {
        return is_running && known.is_told_by(report.as_of);
    }
    if known.owner == host.id {
        return may_own && known.recovery.is_none() && !agrees(known, row);
    }
    let may_move = is_running && known.recovery.is_none() && host.up_boot() == Some(report.boot);
    let is_last = known.is_told_by(report.as_of) && state.is_last_to_list(host, known, report.as_of);
    may_move && is_last && is_current(host, report) && state.has_let_go(&known.owner, row.id)
}

/// Returns whether a list was made since its host was heard again.
fn is_current(host: &Host, report: &AgentReport) -> bool {
    let heard_again = host.agent.as_ref().map(|facts| facts.heard_again_at);
    report.as_of.is_none_or(|as_of| heard_again.is_none_or(|since| since <= as_of))
}

fn agrees(known: &Instance, row: &InstanceReport) -> bool {
    known.name == row.name
        && known.ha_enabled == row.ha_enabled
        && known.priority == row.priority
        && known.memory_mib == row.memory_mib
        && known.state == known.state_after(row.state)
        && known.definition == row.definition
}

fn some_are_missing(state: &State, id: &HostId, running: &BTreeSet<InstanceId>, report: &AgentReport) -> bool {
    let mut reported: Option<BTreeSet<InstanceId>> = None;
    state
        .instances()
        .filter(|row| row.owner == *id && row.recovery.is_none() && row.state.dies_with_its_owner())
        .filter(|row| row.could_be_missing(running, report))
        .any(|row| {
            let reported = reported.get_or_insert_with(|| report.instances.iter().map(|row| row.id).collect());
            !reported.contains(&row.id)
        })
}

#[cfg(test)]
mod tests;
