//! Recoveries: from a proven fence to instances that run again.

mod death;

use super::apply::Effect;
use super::{AgentFacts, Assignment, Host, HostState, Instance, Recovery, RecoveryStage, Stage, State, instance};
use crate::{
    AgentReport, BootId, ClusterTime, Destination, Event, HostId, InstanceId, InstanceState, LogIndex, Move, Outcome,
    Parking, Refusal, Rejected, Reply, StartWork, StopWork, Stray, Token, Work,
};

pub(crate) use self::death::waits_for_lists;
pub(super) use self::death::{keep_unsettled, remember_deaths, settle_deaths, to_be_listed};

/// Opens the recovery of everything that a fenced host ran or was about to run, and of what other hands had moved there, if
/// its owner can never tell any more. What it had let go and another host runs goes to that host.
///
/// An assignment to it ends here, also when there is no successor: a kept target would be tried again after its
/// reboot, which is a second copy (rule 39).
pub(super) fn open(state: &mut State, at: LogIndex, host: &HostId, token: Token) -> Vec<Event> {
    let mut events = death::end_with(state, at, host);
    let touched: Vec<InstanceId> = state
        .instances
        .values()
        .filter(|row| {
            let assigned_here = row.assignment().is_some_and(|assignment| assignment.host == *host);
            let ran_here =
                row.owner == *host && row.recovery.is_none() && row.ha_enabled && row.state.dies_with_its_owner();
            assigned_here || ran_here
        })
        .map(|row| row.id)
        .collect();
    touched.into_iter().for_each(|id| wait(state, id, token));
    let left = state.instances.values().filter(|row| row.owner == *host && row.recovery.is_none());
    let left = left.filter_map(|row| Some((row.id, runs_since(state, row)?.id.clone()))).collect();
    events.extend(instance::give(state, at, left));
    events
}

/// Lets an instance wait for another host, under the fence that proved its last one dead.
pub(super) fn wait(state: &mut State, id: InstanceId, fence: Token) {
    let Some(instance) = state.instances.get_mut(&id) else { return };
    let refusals = instance.recovery.as_ref().map_or(0, |recovery| recovery.refusals);
    let stage = RecoveryStage::Waiting;
    instance.recovery = Some(Recovery { fence, stage, refusals, not_before: ClusterTime::default() });
    instance.may_have_died = None;
}

/// Returns the hosts that must list again what they listed before the log gave it to another one, before another host did,
/// or before they were cut off; each with that entry. So must the owner of what another host has listed since.
pub(super) fn told_of_old(state: &State) -> impl Iterator<Item = (&HostId, LogIndex)> {
    let of_others = state.hosts.values().flat_map(|host| {
        host.agent.iter().flat_map(|facts| {
            let is_open = |row: &&Instance| row.is_open_on(&host.id) && may_run(state, host, row.id);
            let rows = facts.running.iter().filter_map(|id| state.instances.get(id)).filter(is_open);
            let asked_for = rows.filter_map(|row| list_wanted(state, host, facts, row));
            let heard_again = (host.up_boot().is_some() && !facts.is_current()).then_some(facts.heard_again_at);
            asked_for.chain(heard_again).map(|since| (&host.id, since))
        })
    });
    of_others.chain(owners_asked(state))
}

/// Returns the owners whose list has what another host began to list as running after them, each with that entry. What came
/// back before its owner could say that it had left changes nothing in the owner's list, which is news all the same.
fn owners_asked(state: &State) -> impl Iterator<Item = (&HostId, LogIndex)> {
    state.instances.values().filter(|row| row.recovery.is_none()).filter_map(|row| {
        let since = row.listed_elsewhere_at.filter(|since| !row.was_seen_since(*since))?;
        let owner = state.hosts.get(&row.owner).filter(|owner| lists_running(owner, row.id).is_some())?;
        may_run_on(state, row.id).any(|host| host.id != owner.id).then_some((&owner.id, since))
    })
}

/// Returns the entry that a host must know of to say whether an instance is there since; `None` where its list says so, or
/// another one's does.
fn list_wanted(state: &State, host: &Host, facts: &AgentFacts, row: &Instance) -> Option<LogIndex> {
    let given = row.assignment().map_or(row.token, |to| to.token).0;
    if !row.is_told_by(facts.as_of) {
        return Some(given);
    }
    if facts.runs(&row.id) && row.was_seen_since(facts.list_at) {
        return row.seen_as_of;
    }
    let is_last = state.is_last_to_list(host, row, facts.as_of);
    let is_unclear = !is_last && host.up_boot() == Some(facts.boot) && runs_since(state, row).is_none();
    is_unclear.then(|| listed_elsewhere_until(state, host, row))
}

impl State {
    /// Returns whether a list says where an instance is since the log gave it to its owner, and the last one did not.
    pub fn is_told_anew(&self, host: &HostId, report: &AgentReport) -> bool {
        let facts = self.hosts.get(host).and_then(|row| row.agent.as_ref());
        let wanted = |id: &InstanceId, last: &AgentFacts| {
            let row = self.instances.get(id).filter(|row| row.is_open_on(host))?;
            list_wanted(self, self.hosts.get(host)?, last, row)
        };
        facts.is_some_and(|last| {
            let heard_again = (!last.is_current()).then_some(last.heard_again_at);
            let mut wanted = last.running.iter().filter_map(|id| wanted(id, last)).chain(heard_again);
            wanted.any(|since| report.as_of.is_none_or(|as_of| since <= as_of))
                || owners_asked(self).any(|(owner, since)| owner == host && report.as_of >= Some(since))
        })
    }

    /// Returns whether a list of a host that has an instance was made after every other host's that had it. The older one
    /// tells of the time before it was moved. What its owner listed says nothing: it had it before all others.
    pub fn is_last_to_list(&self, host: &Host, row: &Instance, as_of: Option<LogIndex>) -> bool {
        as_of.is_none_or(|as_of| listed_elsewhere_until(self, host, row) <= as_of)
    }

    /// Returns the copies of an instance that are to be stopped.
    pub fn strays(&self, id: &InstanceId) -> Vec<Stray> {
        let copies = strays(self).filter_map(|work| match work {
            Work::Stop(stop) if stop.instance == *id => Some(Stray { host: stop.host, boot: stop.boot }),
            Work::Stop(_) | Work::Start(_) | Work::Fence(_) => None,
        });
        copies.collect()
    }
}

/// Gives a host that returns its own instances back, stopped, where evacuation is off: no other host waits for them,
/// and its former boot is proven over.
pub(super) fn end_where_evacuation_is_off(state: &mut State, at: LogIndex, host: &HostId) {
    let segment = state.hosts.get(host).and_then(Host::segment).and_then(|segment| state.segments.get(segment));
    if segment.is_none_or(|segment| segment.evacuation_enabled) {
        return;
    }
    let may_run_somewhere = |id: InstanceId| {
        let not_fenced = state.hosts.values().filter(|row| !matches!(row.state, HostState::Fenced { .. }));
        not_fenced.filter_map(|row| row.agent.as_ref()).any(|agent| agent.running.contains(&id))
    };
    let returned: Vec<InstanceId> = state
        .instances
        .values()
        .filter(|row| row.owner == *host && row.recovery.is_some() && row.assignment().is_none())
        .filter(|row| !may_run_somewhere(row.id))
        .map(|row| row.id)
        .collect();
    for id in returned {
        let Some(instance) = state.instances.get_mut(&id) else { continue };
        instance.recovery = None;
        instance.state = InstanceState::Stopped;
        instance.token = Token(at);
    }
}

pub(super) fn plan(state: &mut State, at: LogIndex, token: Token, moves: &[Move]) -> Effect {
    let proven = state.fences.get(&token).is_some_and(|fence| matches!(fence.stage, Stage::Proven { .. }));
    if !proven {
        return Err(Rejected::NoParent(token.0));
    }
    // One move that is out of date does not keep the others waiting.
    let (moves, refused): (Vec<&Move>, Vec<&Move>) =
        moves.iter().partition(|step| check_move(state, token, step).is_ok());
    if let (true, Some(step)) = (moves.is_empty(), refused.first()) {
        check_move(state, token, step)?;
    }
    let clock = state.cluster().ok_or(Rejected::NoCluster)?.clock;
    let round_pause = state.settings().human_retry_pause;
    let mut events = Vec::new();
    for step in moves {
        let Some(instance) = state.instances.get_mut(&step.instance) else { continue };
        let from = instance.owner.clone();
        let Some(recovery) = &mut instance.recovery else { continue };
        let stage = match &step.to {
            Destination::Host { host, boot } => {
                RecoveryStage::Assigned(Assignment { token: Token(at), host: host.clone(), boot: *boot })
            }
            Destination::Parked(why) => RecoveryStage::Parked(*why),
        };
        if recovery.stage != stage {
            if matches!(step.to, Destination::Parked(Parking::Refused(_))) {
                recovery.refusals = 0;
                recovery.not_before = clock.after(round_pause);
            }
            recovery.stage = stage;
            events.push(Event::RecoveryPlanned {
                instance: step.instance,
                from,
                to: step.to.clone(),
                token: Token(at),
            });
        }
    }
    events.extend(finished(state, token));
    Ok((Reply::Done, events))
}

fn check_move(state: &State, token: Token, step: &Move) -> Result<(), Rejected> {
    let free = state
        .instances
        .get(&step.instance)
        .and_then(|row| row.recovery.as_ref())
        .is_some_and(|recovery| recovery.fence == token && !matches!(recovery.stage, RecoveryStage::Assigned(_)));
    if !free {
        return Err(Rejected::NoAssignment(step.instance));
    }
    match &step.to {
        Destination::Parked(_) => Ok(()),
        Destination::Host { host, boot } => {
            let target = state.hosts.get(host).ok_or_else(|| Rejected::UnknownHost(host.clone()))?;
            if target.up_boot() != Some(*boot) {
                return Err(Rejected::WrongBoot(host.clone()));
            }
            // Nothing starts on a host in maintenance. What a live migration brought there is there already.
            let runs_on = state.instances.get(&step.instance).and_then(|row| runs_since(state, row));
            match runs_on {
                _ if !is_free_for(state, step.instance, host) => Err(Rejected::NoAssignment(step.instance)),
                None if target.maintenance.is_some() => Err(Rejected::WrongBoot(host.clone())),
                Some(_) | None => Ok(()),
            }
        }
    }
}

/// Returns the admitted host that an instance runs on, as its agent said after the log gave it to its owner.
///
/// A live migration can finish while its source is being fenced. Then the instance is there, and only there it may go. Where
/// several hosts listed it the last list counts, if it is known which one that is, and none that its owner followed with one of
/// its own.
pub(crate) fn runs_since<'a>(state: &'a State, row: &Instance) -> Option<&'a Host> {
    state.hosts.values().find(|host| {
        lists_running(host, row.id).is_some_and(|agent| {
            let is_last = state.is_last_to_list(host, row, agent.as_of) && !row.was_seen_since(agent.list_at);
            row.is_told_by(agent.as_of) && is_last
        })
    })
}

fn lists_running(host: &Host, id: InstanceId) -> Option<&AgentFacts> {
    let runs = |agent: &&AgentFacts| host.up_boot() == Some(agent.boot) && agent.is_current() && agent.runs(&id);
    host.agent.as_ref().filter(runs)
}

/// Returns an entry that came after every list with an instance of another host than this one and its owner.
fn listed_elsewhere_until(state: &State, host: &Host, row: &Instance) -> LogIndex {
    let others = state.hosts.values().filter(|other| other.id != host.id && other.id != row.owner);
    let listed = others.filter_map(|other| other.agent.as_ref()?.listed_until(&row.id));
    let died = row.may_have_died.as_ref().filter(|death| death.host != host.id).map(|death| death.proven_at);
    listed.chain(died).max().unwrap_or_default()
}

/// Returns the hosts that an instance may still run on, as their agents listed it in a boot that is not proven over.
///
/// Beside what is up, a host that came back by itself with it, or one that is lost: a successor would be a second copy.
pub(crate) fn may_run_on(state: &State, id: InstanceId) -> impl Iterator<Item = &Host> {
    state.hosts.values().filter(move |host| may_run(state, host, id))
}

pub(super) fn may_run(state: &State, host: &Host, id: InstanceId) -> bool {
    host.agent.as_ref().is_some_and(|agent| agent.running.contains(&id) && !is_over(state, host, agent.boot))
}

/// Returns whether a boot of a host is proven over.
fn is_over(state: &State, host: &Host, boot: BootId) -> bool {
    match host.state {
        HostState::Fenced { token } => state.fences.get(&token).is_none_or(|fence| fence.boot == Some(boot)),
        HostState::New | HostState::Up { .. } | HostState::Lost { .. } | HostState::Fencing { .. } => false,
    }
}

/// Returns whether a host is proven off, so that it cannot tell anything.
fn is_proven_off(state: &State, host: &HostId) -> bool {
    state.hosts.get(host).is_some_and(|host| matches!(host.state, HostState::Fenced { .. }))
}

/// Returns whether a start on this host would be the only copy, as far as agents have listed what runs.
fn is_free_for(state: &State, id: InstanceId, target: &HostId) -> bool {
    may_run_on(state, id).all(|host| host.id == *target)
}

pub(super) fn result(
    state: &mut State,
    at: LogIndex,
    id: InstanceId,
    token: Token,
    outcome: &Outcome<InstanceState>,
) -> Effect {
    let instance = state.instances.get(&id).ok_or(Rejected::NoAssignment(id))?;
    let assignment = instance.assignment().filter(|assignment| assignment.token == token).cloned();
    let assignment = assignment.ok_or(Rejected::NoAssignment(id))?;
    let events = match outcome {
        Outcome::Observed(InstanceState::Running) => started(state, at, id, token),
        Outcome::Observed(InstanceState::Stopped | InstanceState::Crashed) => {
            refused(state, id, &assignment, Refusal::Hypervisor)
        }
        Outcome::Refused(refusal) => refused(state, id, &assignment, *refusal),
        Outcome::Observed(InstanceState::Moving | InstanceState::Migrated) | Outcome::Unknown(_) => Vec::new(),
    };
    Ok((Reply::Done, events))
}

/// Settles an instance that was ordered to one host on another, which it was moved to since.
pub(super) fn moved(state: &mut State, at: LogIndex, id: InstanceId, to: &HostId) -> Vec<Event> {
    let Some(instance) = state.instances.get_mut(&id) else { return Vec::new() };
    let Some(recovery) = instance.recovery.take() else { return Vec::new() };
    let from = instance.owner.clone();
    instance.belongs_to(to.clone(), Token(at));
    instance.state = InstanceState::Running;
    if let Some(fence) = state.fences.get_mut(&recovery.fence) {
        fence.started += 1;
    }
    let mut events = vec![Event::InstanceMoved { instance: id, from, to: to.clone() }];
    events.extend(finished(state, recovery.fence));
    events
}

/// Settles an instance on its assigned host.
pub(super) fn started(state: &mut State, at: LogIndex, id: InstanceId, token: Token) -> Vec<Event> {
    let Some(instance) = state.instances.get_mut(&id) else { return Vec::new() };
    let Some(assignment) = instance.assignment().filter(|assignment| assignment.token == token).cloned() else {
        return Vec::new();
    };
    let Some(recovery) = instance.recovery.take() else { return Vec::new() };
    instance.belongs_to(assignment.host.clone(), token);
    instance.state = InstanceState::Running;
    instance.started_at = Some(at);
    if let Some(fence) = state.fences.get_mut(&recovery.fence) {
        fence.started += 1;
    }
    let mut events = vec![Event::InstanceStarted { instance: id, host: assignment.host, token }];
    events.extend(finished(state, recovery.fence));
    events
}

fn refused(state: &mut State, id: InstanceId, assignment: &Assignment, refusal: Refusal) -> Vec<Event> {
    let settings = state.settings();
    let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
    let Some(instance) = state.instances.get_mut(&id) else { return Vec::new() };
    if let Some(recovery) = &mut instance.recovery {
        let doublings = recovery.refusals.min(10);
        recovery.refusals += 1;
        recovery.not_before = clock.after(settings.retry_pause.times(1 << doublings));
        recovery.stage = RecoveryStage::Refused { host: assignment.host.clone(), refusal };
    }
    vec![Event::StartRefused { instance: id, host: assignment.host.clone(), token: assignment.token, refusal }]
}

/// Says once that nothing of a fence is on its way any more.
fn finished(state: &State, fence: Token) -> Option<Event> {
    let row = state.fences.get(&fence)?;
    let mut parked = 0;
    for recovery in state.instances.values().filter_map(|instance| instance.recovery.as_ref()) {
        match recovery.stage {
            _ if recovery.fence != fence => {}
            RecoveryStage::Parked(_) => parked += 1,
            RecoveryStage::Waiting | RecoveryStage::Assigned(_) | RecoveryStage::Refused { .. } => return None,
        }
    }
    Some(Event::RecoveryFinished { host: row.host.clone(), token: fence, started: row.started, parked })
}

/// Returns the starts that are assigned, and the stray copies to stop on hosts that came back.
pub(super) fn work(state: &State) -> Vec<Work> {
    let starts = state.instances.values().filter_map(|row| {
        let assignment = row.assignment()?;
        let up = state.hosts.get(&assignment.host).is_some_and(|host| host.up_boot() == Some(assignment.boot));
        (up && is_free_for(state, row.id, &assignment.host)).then(|| {
            Work::Start(StartWork {
                token: assignment.token,
                instance: row.id,
                host: assignment.host.clone(),
                boot: assignment.boot,
                definition: row.definition.clone(),
            })
        })
    });
    starts.chain(strays(state)).collect()
}

/// A copy is stray on a host that came back in another boot while the log gives the instance to somebody else.
fn strays(state: &State) -> impl Iterator<Item = Work> {
    state.hosts.values().flat_map(move |host| {
        let returned = match host.state {
            HostState::Fenced { token } | HostState::Fencing { token } => {
                state.fences.get(&token).map(|fence| fence.boot)
            }
            HostState::New | HostState::Up { .. } | HostState::Lost { .. } => None,
        };
        let agent = host.agent.as_ref().filter(|agent| returned.is_some_and(|boot| boot != Some(agent.boot)));
        agent.into_iter().flat_map(move |agent| {
            agent.running.iter().filter_map(move |id| {
                let row = state.instances.get(id).filter(|row| row.is_stray_on(host))?;
                let token = match (row.holder(), &row.recovery) {
                    (Some((_, token, _)), _) => token,
                    (None, Some(recovery)) => recovery.fence,
                    (None, None) => return None,
                };
                Some(Work::Stop(StopWork { token, instance: *id, host: host.id.clone(), boot: agent.boot }))
            })
        })
    })
}
