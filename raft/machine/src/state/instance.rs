//! Instances: who owns them, and the inventory that agents report.

use serde::{Deserialize, Serialize};

use std::collections::BTreeSet;

use super::{AgentFacts, Host, HostState, State, recovery};
use crate::{
    AgentReport, BootId, ClusterTime, Event, HostId, InstanceId, InstanceReport, InstanceState, LogIndex, Parking,
    Refusal, Token,
};

/// An instance and who may run it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// Its identity.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Opted in to high availability.
    pub ha_enabled: bool,
    /// Recovery order, higher first.
    pub priority: u16,
    /// Memory that it needs, in MiB.
    pub memory_mib: u64,
    /// Its inactive definition (libvirt XML).
    pub definition: String,
    /// The only host that may run it.
    pub owner: HostId,
    /// The decision that gave it to its owner.
    pub token: Token,
    /// What its owner's agent said last.
    pub state: InstanceState,
    /// The entry that its owner's agent had been told of before it last listed it as running; `None` where it did not.
    #[serde(default)]
    pub seen_as_of: Option<LogIndex>,
    /// The entry by which its owner's agent said that a live migration had taken it away; `None` while it has not left.
    #[serde(default)]
    pub left_at: Option<LogIndex>,
    /// The entry by which another host's agent last began to list it as running, while its owner had not let go.
    #[serde(default)]
    pub listed_elsewhere_at: Option<LogIndex>,
    /// The entry by which its owner's agent had started it; `None` while it was only ever listed.
    pub started_at: Option<LogIndex>,
    /// Its way to a new owner, while the old one is fenced.
    pub recovery: Option<Recovery>,
    /// The death that it may have died on another host than its owner, until the owner's list says whether it did. It stands
    /// here once that host is admitted again, and with the host before.
    #[serde(default)]
    pub may_have_died: Option<Death>,
}

/// The proven end of a boot of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Death {
    /// The host.
    pub host: HostId,
    /// Its fence.
    pub fence: Token,
    /// The entry that proved it.
    pub proven_at: LogIndex,
    /// Whether a live migration was still bringing it, as that host listed it last, or its owner had it since.
    pub on_its_way: bool,
}

/// One instance's recovery from a fenced host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recovery {
    /// The fence that it rests on.
    pub fence: Token,
    /// How far it is.
    pub stage: RecoveryStage,
    /// Starts that were refused in this round.
    pub refusals: u32,
    /// After a refusal the next start, and after the last of a round the next round, waits for this.
    pub not_before: ClusterTime,
}

/// How far a recovery is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecoveryStage {
    /// No target is chosen.
    Waiting,
    /// A target is chosen; the start is ordered until its agent answers.
    Assigned(Assignment),
    /// No target can be found, looked at again when hosts change; or every start was refused, tried again slowly.
    Parked(Parking),
    /// The last start was refused, which proves that it did not run there.
    Refused {
        /// Who refused.
        host: HostId,
        /// Why.
        refusal: Refusal,
    },
}

/// A target that may start an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Assignment {
    /// The entry that made it; agents refuse older ones.
    pub token: Token,
    /// The target.
    pub host: HostId,
    /// The target's admitted boot.
    pub boot: BootId,
}

impl Instance {
    /// Returns the assignment in flight.
    pub fn assignment(&self) -> Option<&Assignment> {
        match self.recovery.as_ref().map(|recovery| &recovery.stage) {
            Some(RecoveryStage::Assigned(assignment)) => Some(assignment),
            Some(RecoveryStage::Waiting | RecoveryStage::Parked(_) | RecoveryStage::Refused { .. }) | None => None,
        }
    }

    /// Returns the host that may run it, the decision that says so, and the boot that is to start it, while one is.
    ///
    /// This is what an agent asks before it starts anything. `None` while its old host is fenced and no new one is
    /// chosen: then nobody may run it, not even the old host in another boot.
    pub fn holder(&self) -> Option<(&HostId, Token, Option<BootId>)> {
        match (&self.recovery, self.assignment()) {
            (_, Some(assignment)) => Some((&assignment.host, assignment.token, Some(assignment.boot))),
            (None, None) => Some((&self.owner, self.token, None)),
            (Some(_), None) => None,
        }
    }

    /// Returns whether a report of its owner that does not list it means that it has ended.
    pub fn could_be_missing(&self, running_before: &BTreeSet<InstanceId>, report: &AgentReport) -> bool {
        let started_before = self.started_at.zip(report.as_of).is_some_and(|(started, asked)| started <= asked);
        running_before.contains(&self.id) || self.state == InstanceState::Crashed || started_before
    }

    /// Returns whether a list was made after the log gave the instance to its owner or ordered it to its target. An older one
    /// does not say where it is since. Only a log of old has lists that do not say how old they are, and is applied as it was.
    pub fn is_told_by(&self, as_of: Option<LogIndex>) -> bool {
        let given = self.assignment().map_or(self.token, |assignment| assignment.token);
        as_of.is_none_or(|as_of| given.0 <= as_of)
    }

    /// Returns its state after a report of its owner. What a migration took away has not ended, although what it left behind
    /// is shut off, nor is it back while another brings it.
    pub fn state_after(&self, reported: InstanceState) -> InstanceState {
        match reported {
            InstanceState::Stopped | InstanceState::Moving if self.state == InstanceState::Migrated => {
                InstanceState::Migrated
            }
            InstanceState::Running
            | InstanceState::Stopped
            | InstanceState::Crashed
            | InstanceState::Moving
            | InstanceState::Migrated => reported.of_owner(),
        }
    }

    /// Returns whether its owner listed it as running after an entry was known to it: what that entry brought is older.
    pub(super) fn was_seen_since(&self, at: LogIndex) -> bool {
        self.seen_as_of >= Some(at)
    }

    /// Takes a new owner.
    pub(super) fn belongs_to(&mut self, owner: HostId, token: Token) {
        self.owner = owner;
        self.token = token;
        self.seen_as_of = None;
        self.left_at = None;
        self.listed_elsewhere_at = None;
        self.may_have_died = None;
    }

    /// Returns whether what a host lists of it may change who it belongs to.
    pub(super) fn is_open_on(&self, host: &HostId) -> bool {
        self.owner != *host || self.recovery.is_some()
    }

    /// Returns whether a copy on `host` is one too many: the log gives the instance to another host, or to one that is still
    /// to be found. What a live migration brings from a living owner is no copy but the instance: its owner lets go of it, or
    /// it vanishes.
    pub(crate) fn is_stray_on(&self, host: &Host) -> bool {
        let is_brought = host.agent.as_ref().is_some_and(|facts| facts.brought.contains(&self.id));
        let is_the_instance = self.recovery.is_none() && is_brought;
        !is_the_instance && !self.is_held_by(&host.id)
    }

    /// Returns whether the log lets `host` run it.
    pub(crate) fn is_held_by(&self, host: &HostId) -> bool {
        self.holder().is_some_and(|(holder, _, _)| holder == host)
    }
}

/// Takes over what an agent says about instances, as far as the log gives them to its host.
pub(super) fn inventory(
    state: &mut State,
    at: LogIndex,
    host: &HostId,
    report: &AgentReport,
    before: Option<&AgentFacts>,
) -> Vec<Event> {
    let running_before = before.map(|facts| facts.running.clone()).unwrap_or_default();
    let may_own = state.hosts.get(host).is_some_and(|row| match row.state {
        HostState::New => true,
        HostState::Up { boot } => boot == report.boot,
        HostState::Lost { .. } | HostState::Fencing { .. } | HostState::Fenced { .. } => false,
    });
    let mut events = Vec::new();
    for row in &report.instances {
        let newly_running = row.state == InstanceState::Running && !before.is_some_and(|facts| facts.runs(&row.id));
        events.extend(one(state, at, host, report, row, Standing { may_own, newly_running }));
    }
    if may_own {
        events.extend(follow_migrations(state, at, host, report, &running_before));
        end_missing(state, host, report, &running_before);
    }
    events
}

/// Settles what was moved while one of its two hosts was away, now that this one is admitted, or has listed since it was heard
/// again: what it owned and does not run goes to the admitted host that runs it, and it gets what it runs and its owner has
/// let go.
pub(super) fn settle(state: &mut State, at: LogIndex, host: &HostId) -> Vec<Event> {
    let may_be = |row: &&Instance| row.owner == *host || state.lists(host, row.id);
    let target = |row: &Instance| {
        let runs_on = recovery::runs_since(state, row).filter(|_| row.recovery.is_none())?;
        state.has_let_go(&row.owner, row.id).then(|| runs_on.id.clone())
    };
    let moved = state.instances.values().filter(may_be).filter_map(|row| Some((row.id, target(row)?))).collect();
    give(state, at, moved)
}

/// Gives what this host owned and let go to the other admitted host that runs it.
///
/// A live migration ends with two reports. When the target's came first, nothing else follows the source's.
fn follow_migrations(
    state: &mut State,
    at: LogIndex,
    host: &HostId,
    report: &AgentReport,
    running_before: &BTreeSet<InstanceId>,
) -> Vec<Event> {
    let Some(up) = state.hosts.get(host).filter(|row| row.up_boot().is_some()) else { return Vec::new() };
    let Some(agent) = up.agent.as_ref().filter(|agent| agent.is_current()) else { return Vec::new() };
    let moved: Vec<(InstanceId, HostId)> = state
        .instances
        .values()
        .filter(|row| row.owner == *host && row.recovery.is_none())
        .filter(|row| row.could_be_missing(running_before, report) && !agent.running.contains(&row.id))
        .filter_map(|row| Some((row.id, recovery::runs_since(state, row)?.id.clone())))
        .collect();
    give(state, at, moved)
}

/// Gives instances to the hosts that run them, or ran them last.
pub(super) fn give(state: &mut State, at: LogIndex, moved: Vec<(InstanceId, HostId)>) -> Vec<Event> {
    let mut events = Vec::new();
    for (id, to) in moved {
        let Some(instance) = state.instances.get_mut(&id) else { continue };
        let from = instance.owner.clone();
        instance.belongs_to(to.clone(), Token(at));
        instance.state = InstanceState::Running;
        events.push(Event::InstanceMoved { instance: id, from, to });
    }
    events
}

/// What one row of a report may change.
struct Standing {
    may_own: bool,
    newly_running: bool,
}

fn one(
    state: &mut State,
    at: LogIndex,
    host: &HostId,
    report: &AgentReport,
    row: &InstanceReport,
    standing: Standing,
) -> Vec<Event> {
    let Some(known) = state.instances.get(&row.id) else {
        // What has left is for the host that has it to register.
        let is_new = standing.may_own && row.state != InstanceState::Migrated;
        let events = if is_new { register(state, at, host, row) } else { Vec::new() };
        follow_list(state, at, row, report.as_of);
        return events;
    };
    let assigned_here = known
        .assignment()
        .filter(|assignment| assignment.host == *host && assignment.boot == report.boot)
        .map(|assignment| assignment.token);
    if let Some(token) = assigned_here {
        return if row.state == InstanceState::Running && known.is_told_by(report.as_of) {
            recovery::started(state, at, row.id, token)
        } else {
            Vec::new()
        };
    }
    let is_up_here = state.hosts.get(host).is_some_and(|here| here.up_boot() == Some(report.boot));
    if known.assignment().is_some_and(|assignment| assignment.host != *host)
        && row.state == InstanceState::Running
        && known.is_told_by(report.as_of)
        && is_up_here
    {
        // It was not here when its start was ordered, so it was started there and moved since.
        return recovery::moved(state, at, row.id, host);
    }
    if known.owner == *host {
        if standing.may_own && known.recovery.is_none() {
            update(state, row);
            follow_list(state, at, row, report.as_of);
        }
        return Vec::new();
    }
    let owner = known.owner.clone();
    let may_move = row.state == InstanceState::Running && known.recovery.is_none() && is_up_here;
    let is_last = |here: &Host| {
        here.agent.as_ref().is_some_and(AgentFacts::is_current) && state.is_last_to_list(here, known, report.as_of)
    };
    let is_last = known.is_told_by(report.as_of) && state.hosts.get(host).is_some_and(is_last);
    if may_move && is_last && state.has_let_go(&owner, row.id) {
        update(state, row);
        if let Some(instance) = state.instances.get_mut(&row.id) {
            instance.belongs_to(host.clone(), Token(at));
        }
        follow_list(state, at, row, report.as_of);
        return vec![Event::InstanceMoved { instance: row.id, from: owner, to: host.clone() }];
    }
    if standing.newly_running {
        if let Some(instance) = state.instances.get_mut(&row.id).filter(|instance| instance.recovery.is_none()) {
            instance.listed_elsewhere_at = Some(at);
        }
        return vec![Event::InstanceStray { instance: row.id, host: host.clone(), owner }];
    }
    Vec::new()
}

impl State {
    /// Returns whether an owner has listed what it has without an instance, or is proven off.
    pub fn has_let_go(&self, owner: &HostId, id: InstanceId) -> bool {
        self.hosts.get(owner).is_some_and(|owner| match owner.state {
            HostState::Up { .. } if !owner.agent.as_ref().is_none_or(AgentFacts::is_current) => false,
            HostState::Up { .. } | HostState::Fenced { .. } => !recovery::may_run(self, owner, id),
            HostState::New | HostState::Lost { .. } | HostState::Fencing { .. } => false,
        })
    }
}

fn register(state: &mut State, at: LogIndex, host: &HostId, row: &InstanceReport) -> Vec<Event> {
    let instance = Instance {
        id: row.id,
        name: row.name.clone(),
        ha_enabled: row.ha_enabled,
        priority: row.priority,
        memory_mib: row.memory_mib,
        definition: row.definition.clone(),
        owner: host.clone(),
        token: Token(at),
        state: row.state.of_owner(),
        seen_as_of: None,
        left_at: None,
        listed_elsewhere_at: None,
        started_at: None,
        recovery: None,
        may_have_died: None,
    };
    state.instances.insert(row.id, instance);
    vec![Event::InstanceRegistered { instance: row.id, name: row.name.clone(), host: host.clone() }]
}

fn update(state: &mut State, row: &InstanceReport) {
    let Some(instance) = state.instances.get_mut(&row.id) else { return };
    instance.name.clone_from(&row.name);
    instance.ha_enabled = row.ha_enabled;
    instance.priority = row.priority;
    instance.memory_mib = row.memory_mib;
    instance.definition.clone_from(&row.definition);
    instance.state = instance.state_after(row.state);
}

/// Remembers since when its owner lists an instance as running, or as gone. What a migration brings back may vanish with its
/// source.
fn follow_list(state: &mut State, at: LogIndex, row: &InstanceReport, as_of: Option<LogIndex>) {
    let Some(instance) = state.instances.get_mut(&row.id) else { return };
    if row.state == InstanceState::Running {
        instance.seen_as_of = instance.seen_as_of.max(as_of);
    }
    instance.left_at = instance.left_at.or(Some(at)).filter(|_| instance.state == InstanceState::Migrated);
}

/// A list from before a start says nothing about it. So only that can go missing which an earlier report of this host
/// showed running or crashed (a start leaves an instance running, so one that is crashed was shown so since), or which
/// was started before the list was asked for. It has ended, or died with the host that it was moved to.
fn end_missing(state: &mut State, host: &HostId, report: &AgentReport, running_before: &BTreeSet<InstanceId>) {
    let reported: BTreeSet<InstanceId> = report.instances.iter().map(|row| row.id).collect();
    let missing: Vec<InstanceId> = state
        .instances
        .values()
        .filter(|row| row.owner == *host && row.recovery.is_none() && row.state.dies_with_its_owner())
        .filter(|row| row.could_be_missing(running_before, report))
        .filter(|row| !reported.contains(&row.id))
        .map(|row| row.id)
        .collect();
    for id in missing {
        if let Some(instance) = state.instances.get_mut(&id) {
            instance.state = InstanceState::Stopped;
        }
    }
}
