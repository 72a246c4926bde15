//! Hosts: enrolment, agents' facts, admission.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::apply::Effect;
use super::{AgentFacts, Fence, Instance, RecoveryStage, Stage, State, instance, recovery};
use crate::{
    AgentReport, BootId, ClusterTime, ControllerId, Enrolment, Event, Evidence, HostId, InstanceId, LogIndex, Reason,
    Rejected, Reply, SegmentId, SystemUuid, Token, Verdict,
};

/// A hypervisor host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub id: HostId,
    /// Whether an agent holds a certificate for this name.
    pub agent_joined: bool,
    /// Where it belongs and how to reach it; `None` until it is enrolled.
    pub enrolment: Option<Enrolment>,
    /// What its agent says; `None` until it said something.
    pub agent: Option<AgentFacts>,
    /// Maintenance, when it is in it.
    pub maintenance: Option<Maintenance>,
    /// Where it is on its way from admission to fence and back.
    pub state: HostState,
    /// The current verdict of each controller.
    pub votes: BTreeMap<ControllerId, CastVote>,
}

/// That a host is in maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Maintenance {
    /// Why.
    pub reason: String,
    /// Since which entry.
    pub since: LogIndex,
}

/// Where a host is between admission and fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostState {
    /// Never admitted: silence cannot condemn it.
    New,
    /// Admitted with this boot.
    Up {
        /// The admitted boot.
        boot: BootId,
    },
    /// A majority sees it dead; nothing is decided.
    Lost {
        /// The boot that is lost.
        boot: BootId,
        /// The entry that made it lost.
        at: LogIndex,
    },
    /// A fence is decided and not proven.
    Fencing {
        /// The fence.
        token: Token,
    },
    /// It is proven unable to run. It stays so until another boot is admitted.
    Fenced {
        /// The fence.
        token: Token,
    },
}

/// One controller's current verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CastVote {
    /// The verdict.
    pub verdict: Verdict,
    /// The entry that brought it.
    pub at: LogIndex,
    /// When it was cast.
    pub clock: ClusterTime,
    /// What it rests on.
    pub evidence: Evidence,
}

impl Host {
    pub(super) fn joined(id: HostId) -> Self {
        Self {
            id,
            agent_joined: true,
            enrolment: None,
            agent: None,
            maintenance: None,
            state: HostState::New,
            votes: BTreeMap::new(),
        }
    }

    /// Returns the admitted boot when the host is up.
    pub fn up_boot(&self) -> Option<BootId> {
        match self.state {
            HostState::Up { boot } => Some(boot),
            HostState::New | HostState::Lost { .. } | HostState::Fencing { .. } | HostState::Fenced { .. } => None,
        }
    }

    /// Returns the boot that votes are about: the admitted one, up or lost, until a fence is decided.
    pub(crate) fn admitted_boot(&self) -> Option<BootId> {
        match self.state {
            HostState::Up { boot } | HostState::Lost { boot, .. } => Some(boot),
            HostState::New | HostState::Fencing { .. } | HostState::Fenced { .. } => None,
        }
    }

    /// Returns the segment of an enrolled host.
    pub fn segment(&self) -> Option<&SegmentId> {
        self.enrolment.as_ref().map(|enrolment| &enrolment.segment)
    }

    /// Returns the fence that the host is in, decided or proven.
    pub fn fence(&self) -> Option<Token> {
        match self.state {
            HostState::Fencing { token } | HostState::Fenced { token } => Some(token),
            HostState::New | HostState::Up { .. } | HostState::Lost { .. } => None,
        }
    }
}

/// Fencing levels of one host, and devices of one level.
const LEVELS_MAX: usize = 8;

pub(super) fn enrol(state: &mut State, name: &HostId, enrolment: &Enrolment) -> Effect {
    if !state.segments.contains(&enrolment.segment) {
        return Err(Rejected::UnknownSegment(enrolment.segment.clone()));
    }
    if enrolment.levels.len() > LEVELS_MAX
        || enrolment.levels.iter().any(|level| level.devices.is_empty() || level.devices.len() > LEVELS_MAX)
    {
        return Err(Rejected::Invalid(format!("a host has at most {LEVELS_MAX} levels of 1 to {LEVELS_MAX} devices")));
    }
    let known = state.hosts.get(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    let is_gone = is_gone(state, known);
    let machine = state.machine(known);
    for device in enrolment.levels.iter().flat_map(|level| &level.devices) {
        let taken = state.hosts.values().find(|other| other.id != *name && other.has_device(&device.address));
        if let Some(other) = taken {
            return Err(Rejected::DeviceTaken { address: device.address.clone(), host: other.id.clone() });
        }
        if device.identity.is_some() && machine.is_some() && device.identity != machine {
            return Err(Rejected::WrongMachine { address: device.address.clone(), host: name.clone() });
        }
    }
    let host = state.hosts.get_mut(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    host.enrolment = Some(enrolment.clone());
    if let Some(agent) = host.agent.as_mut().filter(|_| is_gone) {
        agent.system_uuid = enrolment.levels.iter().flat_map(|level| &level.devices).find_map(|device| device.identity);
    }
    let fence = host.fence();
    let levels =
        enrolment.levels.iter().map(|level| level.devices.iter().map(|device| device.driver).collect()).collect();
    let mut events = vec![Event::HostEnrolled { host: name.clone(), levels }];
    if let Some(fence) = fence.and_then(|token| state.fences.get_mut(&token))
        && fence.levels_changed(enrolment.levels.len())
    {
        events.push(Event::FenceNeedsHuman { host: name.clone(), token: fence.token });
    }
    Ok((Reply::Done, events))
}

/// A fenced host may return as another machine: until it does, its devices say which, or its agent says it first.
fn is_gone(state: &State, host: &Host) -> bool {
    let is_fenced = matches!(host.state, HostState::Fenced { .. });
    is_fenced && host.agent.as_ref().is_some_and(|agent| state.is_fenced_boot(&host.id, agent.boot))
}

impl State {
    /// Returns the machine that a host's fencing devices must belong to; `None` while any may.
    pub fn machine(&self, host: &Host) -> Option<SystemUuid> {
        host.agent.as_ref().filter(|_| !is_gone(self, host)).and_then(|agent| agent.system_uuid)
    }
}

pub(super) fn set_maintenance(state: &mut State, at: LogIndex, name: &HostId, reason: Option<&str>) -> Effect {
    let host = state.hosts.get_mut(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    if let (Some(_), None, HostState::Fencing { token }) = (reason, &host.maintenance, host.state) {
        return Err(Rejected::Invalid(format!(
            "host {name} is being fenced (token {token}); a fence that is decided is carried out. Start maintenance when 'quorumfence host show {name}' says fenced"
        )));
    }
    let event = match (reason, &host.maintenance) {
        (Some(reason), None) => {
            host.maintenance = Some(Maintenance { reason: reason.into(), since: at });
            Event::MaintenanceStarted { host: name.clone(), reason: reason.into() }
        }
        (None, Some(_)) => {
            host.maintenance = None;
            Event::MaintenanceEnded { host: name.clone() }
        }
        (Some(_), Some(_)) | (None, None) => return Ok((Reply::Done, Vec::new())),
    };
    Ok((Reply::Done, vec![event]))
}

/// A report of another boot than the admitted one means that the admitted boot is over (rule 40): the host is lost,
/// however healthy the new boot looks. Only the same machine can say that: an agent that was set up under this name on
/// another one knows nothing of it (rule 12). And only a boot that lives can: its agent made the list after it had been told
/// of the entry that took the last boot over, so it is the later one of the two.
pub(super) fn report(state: &mut State, at: LogIndex, name: &HostId, report: &AgentReport) -> Effect {
    let may_be_over = state.new_boot_since(name, report.boot).is_some_and(|since| report.as_of < Some(since));
    if may_be_over || is_over(state, name, report.boot) {
        return Err(Rejected::WrongBoot(name.clone()));
    }
    let host = state.hosts.get_mut(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    let machine = host.agent.as_ref().and_then(|agent| agent.system_uuid);
    if let (Some(known), Some(reported)) = (machine, report.system_uuid)
        && known != reported
        && host.state != HostState::New
    {
        return Err(Rejected::Invalid(format!(
            "the agent of host {name} reports from machine {reported}, and the host is machine {known}: what one machine says proves nothing about the other. If it was replaced, keep the old machine off, wait until 'quorumfence host show {name}' says fenced, and enrol the host again"
        )));
    }
    if host.agent.as_ref().is_some_and(|agent| agent.has_said_more(report)) {
        return Ok((Reply::Done, Vec::new()));
    }
    let mut events = Vec::new();
    let before = host.agent.take();
    let boot_before = before.as_ref().map(|agent| agent.boot);
    let mut facts = AgentFacts::after(before.clone(), at, report);
    if let Some(before) = before.as_ref().filter(|before| before.boot != report.boot) {
        // What the log gave to another host since was not there any more when the boot ended.
        let is_left = |id: &InstanceId| state.instances.get(id).is_some_and(|row| row.token.0 > before.list_at);
        let is_of_earlier = |id: &InstanceId| before.ran_before.contains(id) || before.came_before.contains(id);
        facts.keep_of_earlier_boots(|id| is_of_earlier(id) || !is_left(id));
        let was_back = |id: &InstanceId| {
            let listed = before.listed_until(id);
            state.instances.get(id).zip(listed).is_some_and(|(row, listed)| row.was_seen_since(listed))
        };
        facts.went_back_before(was_back);
    }
    host.agent = Some(facts);
    if let Some(boot) = host.up_boot()
        && boot != report.boot
    {
        host.state = HostState::Lost { boot, at };
        events.push(Event::HostRebooted { host: name.clone(), boot: report.boot });
    } else if boot_before != Some(report.boot) {
        events.push(Event::HostBooted { host: name.clone(), boot: report.boot });
    }
    events.extend(instance::inventory(state, at, name, report, before.as_ref()));
    if before.is_some_and(|before| before.boot == report.boot && !before.is_current()) {
        events.extend(instance::settle(state, at, name));
    }
    events.extend(recovery::settle_deaths(state, at, name, report));
    Ok((Reply::Done, events))
}

/// Returns whether a boot is known to be over: the agent has reported another since, and this one before or it is lost or
/// fenced.
///
/// A report of it is late. Taken for news it would turn the clock back and make the living boot look like the dead one.
fn is_over(state: &State, name: &HostId, boot: BootId) -> bool {
    let Some(host) = state.hosts.get(name) else { return false };
    let reported_since = host.agent.as_ref().is_some_and(|agent| agent.boot != boot);
    let reported_before = host.agent.as_ref().is_some_and(|agent| agent.earlier.contains(&boot));
    let lost = matches!(host.state, HostState::Lost { boot: lost, .. } if lost == boot);
    reported_since && (reported_before || lost || state.is_fenced_boot(name, boot))
}

impl State {
    /// Returns the entry that an agent in this boot must have been told of before it lists anything, if it is another boot
    /// than the one that the log knows.
    ///
    /// A report may be late by any time: one controller hears a boot that lived for a second, and the others already hear the
    /// next. A boot whose agent knows of the last one's first report is later than that one.
    pub fn new_boot_since(&self, host: &HostId, boot: BootId) -> Option<LogIndex> {
        let facts = self.host(host)?.agent.as_ref()?;
        (facts.boot != boot).then_some(facts.boot_at)
    }

    /// Returns whether a host's agent listed an instance when it was last heard.
    pub(super) fn lists(&self, host: &HostId, instance: InstanceId) -> bool {
        let facts = self.hosts.get(host).and_then(|row| row.agent.as_ref());
        facts.is_some_and(|facts| facts.running.contains(&instance))
    }

    /// Returns the entry that made a host lost, until a proof ends its fence; `None` when it is not lost.
    pub(crate) fn lost_at(&self, host: &Host) -> Option<LogIndex> {
        match host.state {
            HostState::Lost { at, .. } => Some(at),
            HostState::Fencing { token } => self.fence(&token).map(|fence| fence.lost_at),
            HostState::New | HostState::Up { .. } | HostState::Fenced { .. } => None,
        }
    }

    /// Returns whether a fence of this host was decided against this boot: it is over, or about to be.
    pub(crate) fn is_fenced_boot(&self, host: &HostId, boot: BootId) -> bool {
        self.fences.values().any(|fence| fence.host == *host && fence.boot == Some(boot))
    }
}

pub(super) fn admit(state: &mut State, at: LogIndex, name: &HostId, boot: BootId) -> Effect {
    let clock = state.cluster().ok_or(Rejected::NoCluster)?.clock;
    let host = state.hosts.get(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    if host.agent.as_ref().is_none_or(|agent| agent.boot != boot) {
        return Err(Rejected::WrongBoot(name.clone()));
    }
    if host.up_boot() == Some(boot) {
        return Ok((Reply::Done, Vec::new()));
    }
    if let Some(reason) = admission_waits_for(state, host, clock).first() {
        return Err(Rejected::Held(reason.clone()));
    }
    recovery::remember_deaths(state, name);
    let host = state.hosts.get_mut(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    host.state = HostState::Up { boot };
    // What was said about an earlier boot says nothing about this one.
    host.votes.retain(|_, vote| vote.verdict == Verdict::Alive { boot });
    if let Some(facts) = &mut host.agent {
        facts.keep_of_earlier_boots(|_| false);
    }
    recovery::end_where_evacuation_is_off(state, at, name);
    let mut events = vec![Event::HostAdmitted { host: name.clone(), boot }];
    events.extend(instance::settle(state, at, name));
    Ok((Reply::Done, events))
}

/// Returns what still stands between a host and its admission; empty when it may be admitted in its present boot.
pub(crate) fn admission_waits_for(state: &State, host: &Host, clock: ClusterTime) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if host.enrolment.is_none() {
        reasons.push(Reason::NotEnrolled);
    }
    let Some(agent) = &host.agent else {
        reasons.push(Reason::WaitsForNewBoot);
        return reasons;
    };
    match host.state {
        HostState::New => {}
        HostState::Fenced { token } => {
            let settings = state.settings();
            let Some(fence) = state.fence(&token) else { return vec![Reason::WaitsForNewBoot] };
            let proven = matches!(fence.stage, Stage::Proven { .. });
            if !proven || fence.boot == Some(agent.boot) {
                reasons.push(Reason::WaitsForNewBoot);
            }
            if !fence.quiet(clock, &settings) {
                reasons.push(Reason::WaitsForPermits);
            }
            reasons.extend(instances_left(state, host, fence));
        }
        HostState::Up { .. } | HostState::Lost { .. } | HostState::Fencing { .. } => {
            reasons.push(Reason::WaitsForNewBoot);
        }
    }
    reasons.extend(heartbeats_missing(state, host, agent.boot));
    reasons
}

/// What is parked does not keep the host away: its room may be the very thing that is missing.
///
/// Total loss has its own path: with no host up there is no other home, so the instances wait for this host (rule 41).
///
/// What the fenced boot ran is gone with it: until the agent reports another boot, nothing of its list is left there.
fn instances_left(state: &State, host: &Host, fence: &Fence) -> Option<Reason> {
    let returned = host.agent.as_ref().filter(|agent| fence.boot != Some(agent.boot));
    let is_stray = |id: &&InstanceId| state.instance(id).is_some_and(|row| row.is_stray_on(host));
    let strays: BTreeSet<InstanceId> =
        returned.into_iter().flat_map(|agent| &agent.running).filter(is_stray).copied().collect();
    let on_its_way = |row: &&Instance| {
        let stage = row.recovery.as_ref().map(|recovery| &recovery.stage);
        row.owner == host.id && stage.is_some_and(|stage| !matches!(stage, RecoveryStage::Parked(_)))
    };
    let owned = state.instances.values().filter(on_its_way).map(|row| row.id).collect();
    let nobody_up = state.hosts.values().all(|other| other.up_boot().is_none());
    let left = if nobody_up { strays.len() } else { strays.union(&owned).count() };
    (left > 0).then(|| Reason::WaitsForInstances { left: u32::try_from(left).unwrap_or(u32::MAX) })
}

fn heartbeats_missing(state: &State, host: &Host, boot: BootId) -> Option<Reason> {
    let cluster = state.cluster()?;
    let alive = Verdict::Alive { boot };
    let heard =
        host.votes.iter().filter(|(voter, vote)| cluster.voters.contains(voter) && vote.verdict == alive).count();
    (heard < cluster.majority()).then(|| Reason::WaitsForHeartbeats {
        heard: u32::try_from(heard).unwrap_or(u32::MAX),
        needed: u32::try_from(cluster.majority()).unwrap_or(u32::MAX),
    })
}

impl Host {
    fn has_device(&self, address: &str) -> bool {
        self.enrolment
            .iter()
            .flat_map(|enrolment| &enrolment.levels)
            .flat_map(|level| &level.devices)
            .any(|device| device.address == address)
    }
}
