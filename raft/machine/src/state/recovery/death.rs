//! What may have died with a host that did not own it.
//!
//! Other hands moved an instance there, and its owner has not said yet that it let it go. A migration that was under way may
//! also have failed, or gone back. Only the owner's list tells, when it was made after the host was proven dead. Where the
//! host had listed the instance as still on its way, the list must say that a migration took it away: it may have ended before
//! it ever arrived.

use std::collections::{BTreeMap, BTreeSet};

use super::{may_run_on, runs_since, wait};
use crate::state::instance::give;
use crate::state::{AgentFacts, Death, Host, HostState, Instance, Stage, State};
use crate::{AgentReport, BootId, Event, HostId, InstanceId, InstanceState, LogIndex, Token};

/// That an instance ran on a host which is proven dead, while the log still gives it to another one: it was moved there, or
/// was never more than on its way. The other host's list tells, if it was made since.
struct Claim<'a> {
    id: InstanceId,
    owner: &'a HostId,
    dead: &'a HostId,
    fence: Token,
    proven_at: LogIndex,
    /// Whether it was still on its way there, as the host listed it last, or had gone back.
    on_its_way: bool,
}

/// Returns the claims that nothing has settled, one of each instance. Of several deaths the last one counts that is not only about
/// what was on its way, and all are proven before anything is settled.
fn claims(state: &State) -> impl Iterator<Item = Claim<'_>> {
    let mut joined: BTreeMap<InstanceId, Claim<'_>> = BTreeMap::new();
    let of_admitted = state.instances.values().filter_map(|row| {
        let Death { host, fence, proven_at, on_its_way } = row.may_have_died.as_ref()?;
        Claim::of(row, host, *fence, *proven_at, *on_its_way)
    });
    for claim in of_fenced(state).chain(of_admitted) {
        let claim = match joined.remove(&claim.id) {
            Some(other) => claim.join(other),
            None => claim,
        };
        joined.insert(claim.id, claim);
    }
    joined.into_values()
}

/// Returns the claims of hosts that are fenced, all of each instance.
fn of_fenced(state: &State) -> impl Iterator<Item = Claim<'_>> {
    let of_fenced = state.hosts.values().filter_map(|host| dead_boot(state, host));
    of_fenced.flat_map(move |(host, fence, boot, proven_at)| {
        let facts = host.agent.as_ref();
        let ran = facts.into_iter().flat_map(move |facts| facts.ran(boot)).map(|id| (id, false));
        let came = facts.into_iter().flat_map(move |facts| facts.came(boot)).map(|id| (id, true));
        // What came there after the fence was over with the boot that followed.
        let next = facts.filter(|facts| facts.boot != boot).map(|facts| facts.boot_at);
        let over_at = proven_at.max(next.unwrap_or_default());
        let rows = ran.chain(came).filter_map(move |(id, on_its_way)| Some((state.instances.get(&id)?, on_its_way)));
        let rows = rows.filter(move |(row, on_its_way)| !(*on_its_way && comes_from_elsewhere(row, facts, boot)));
        // What the log gave to its owner since was not there any more.
        let listed_at = move |row: &Instance| match facts {
            Some(facts) if facts.boot == boot && facts.running.contains(&row.id) => facts.list_at,
            Some(facts) => facts.boot_at,
            None => LogIndex::default(),
        };
        let rows = rows.filter(move |(row, _)| row.token.0 < proven_at && row.token.0 <= listed_at(row));
        // Its owner has had it since that list was made: it had come back, and would have gone there once more.
        let was_back = move |row: &Instance| row.was_seen_since(listed_at(row));
        rows.filter_map(move |(row, on_its_way)| Claim::of(row, &host.id, fence, over_at, on_its_way || was_back(row)))
    })
}

/// Returns whether a host that lists an instance as coming does so after its owner said that it had left: it comes from a host
/// that has not listed it, and runs there still.
fn comes_from_elsewhere(row: &Instance, facts: Option<&AgentFacts>, boot: BootId) -> bool {
    let is_listed = |facts: &&AgentFacts| facts.boot == boot && facts.moving.contains(&row.id);
    facts.filter(is_listed).is_some_and(|facts| row.left_before(facts.as_of))
}

/// Returns the boot of a host that a fence has proven over, and the entry that did.
fn dead_boot<'a>(state: &'a State, host: &'a Host) -> Option<(&'a Host, Token, BootId, LogIndex)> {
    let HostState::Fenced { token } = host.state else { return None };
    let fence = state.fences.get(&token)?;
    let Stage::Proven { at, .. } = fence.stage else { return None };
    Some((host, token, fence.boot?, at))
}

impl<'a> Claim<'a> {
    /// Returns the claim while nothing has settled it.
    fn of(row: &'a Instance, dead: &'a HostId, fence: Token, proven_at: LogIndex, on_its_way: bool) -> Option<Self> {
        let is_open = row.owner != *dead && row.ha_enabled && row.recovery.is_none();
        is_open.then_some(Self { id: row.id, owner: &row.owner, dead, fence, proven_at, on_its_way })
    }

    fn join(self, other: Self) -> Self {
        let proven_at = self.proven_at.max(other.proven_at);
        let weight = |claim: &Self| (!claim.on_its_way, claim.proven_at);
        let kept = if weight(&self) > weight(&other) { self } else { other };
        Self { proven_at, ..kept }
    }

    /// Returns how it ends, now that its owner has let the instance go and no other host has it.
    fn ends(&self, is_migrated: bool) -> Ending {
        let (id, dead, fence) = (self.id, self.dead.clone(), self.fence);
        if self.on_its_way && !is_migrated {
            Ending::Ended { id, dead, fence }
        } else {
            Ending::Died { id, dead, fence }
        }
    }

    /// Returns whether its owner is up, or not enrolled yet, so that its list will tell.
    fn is_asked(&self, state: &State) -> bool {
        let owner = state.hosts.get(self.owner);
        owner.is_some_and(|owner| owner.up_boot().is_some() || owner.state == HostState::New)
    }

    /// Returns whether a list tells: it was made after the proof.
    fn is_told_by(&self, report: &AgentReport) -> bool {
        report.as_of >= Some(self.proven_at)
    }
}

/// Keeps what may have died with a host beyond its admission, until the owner of each has told.
pub(in crate::state) fn remember_deaths(state: &mut State, host: &HostId) {
    let of_host = of_fenced(state).filter(|claim| claim.dead == host);
    let death = |claim: Claim<'_>| {
        let Claim { fence, proven_at, on_its_way, .. } = claim;
        Death { host: host.clone(), fence, proven_at, on_its_way }
    };
    let deaths: Vec<(InstanceId, Death)> = of_host.map(|claim| (claim.id, death(claim))).collect();
    for (id, death) in deaths {
        let Some(instance) = state.instances.get_mut(&id) else { continue };
        let proven_at =
            instance.may_have_died.as_ref().map_or(death.proven_at, |known| known.proven_at.max(death.proven_at));
        let weight = |death: &Death| (!death.on_its_way, death.proven_at);
        let known = instance.may_have_died.take().filter(|known| weight(&death) <= weight(known));
        instance.may_have_died = Some(Death { proven_at, ..known.unwrap_or(death) });
    }
}

/// Settles what may have died with other hosts, as their owner's list tells: what the owner has is alive, and what it does not
/// have died there, unless it runs on a third one.
pub(in crate::state) fn settle_deaths(
    state: &mut State,
    at: LogIndex,
    host: &HostId,
    report: &AgentReport,
) -> Vec<Event> {
    let endings = told_by(state, host, report).map(|(_, ending)| ending).collect();
    end_claims(state, at, endings)
}

/// What became of an instance that may have died with a host.
enum Ending {
    /// Its owner has it.
    Lives { id: InstanceId, dead: HostId, fence: Token },
    /// It ended on its way, before it ever ran on the host.
    Ended { id: InstanceId, dead: HostId, fence: Token },
    /// Another host runs it.
    Moved { id: InstanceId, to: HostId },
    /// It died with the host.
    Died { id: InstanceId, dead: HostId, fence: Token },
}

fn end_claims(state: &mut State, at: LogIndex, endings: Vec<Ending>) -> Vec<Event> {
    let mut events = Vec::new();
    for ending in endings {
        match ending {
            Ending::Lives { id, dead, fence } | Ending::Ended { id, dead, fence } => {
                forget_death(state, id, &dead, fence)
            }
            Ending::Moved { id, to } => events.extend(give(state, at, vec![(id, to)])),
            Ending::Died { id, dead, fence } => {
                events.extend(give(state, at, vec![(id, dead)]));
                wait(state, id, fence);
            }
        }
    }
    events
}

/// Returns the claims that a list settles, and how. Of what its owner does not have none while a third host may run it, as far
/// as its last list says. A definition that is shut off is what a migration leaves behind.
fn told_by<'a>(state: &'a State, host: &HostId, report: &AgentReport) -> impl Iterator<Item = (Claim<'a>, Ending)> {
    let is_up = state.hosts.get(host).is_some_and(|row| row.up_boot() == Some(report.boot));
    let listed = |id: InstanceId| report.instances.iter().find(|row| row.id == id).map(|row| row.state);
    claims(state).filter(|claim| claim.is_told_by(report)).filter_map(move |claim| {
        let (id, dead, fence) = (claim.id, claim.dead.clone(), claim.fence);
        match listed(id) {
            // A migration that comes from the dead host vanishes with it.
            Some(InstanceState::Moving) => return None,
            Some(InstanceState::Running) if claim.owner == host || is_up => {
                return Some((claim, Ending::Lives { id, dead, fence }));
            }
            Some(InstanceState::Crashed) if claim.owner == host => {
                return Some((claim, Ending::Lives { id, dead, fence }));
            }
            Some(
                InstanceState::Running | InstanceState::Crashed | InstanceState::Stopped | InstanceState::Migrated,
            )
            | None => {}
        }
        if claim.owner != host || !is_up {
            return None;
        }
        let mut elsewhere = may_run_on(state, id).filter(|other| other.id != *host);
        let runs_on = state.instances.get(&id).and_then(|row| runs_since(state, row)).filter(|other| other.id != *host);
        match runs_on {
            Some(other) => Some((claim, Ending::Moved { id, to: other.id.clone() })),
            None if elsewhere.next().is_some() => None,
            None => {
                let ending = claim.ends(is_migrated(state, id) || listed(id) == Some(InstanceState::Migrated));
                Some((claim, ending))
            }
        }
    })
}

/// Returns whether its owner has said that a live migration took an instance away.
fn is_migrated(state: &State, id: InstanceId) -> bool {
    state.instances.get(&id).is_some_and(|row| row.state == InstanceState::Migrated)
}

fn forget_death(state: &mut State, id: InstanceId, dead: &HostId, fence: Token) {
    if let Some(instance) = state.instances.get_mut(&id) {
        instance.may_have_died = None;
    }
    let boot = state.fences.get(&fence).and_then(|fence| fence.boot);
    let is_fenced = |row: &&mut Host| row.state == HostState::Fenced { token: fence };
    let facts = state.hosts.get_mut(dead).filter(is_fenced).and_then(|row| row.agent.as_mut());
    if let Some((facts, boot)) = facts.zip(boot) {
        facts.forget(boot, &id);
    }
}

/// Returns the hosts that must say whether they have what a dead host ran too, each with the entry that proved it dead: its
/// owner, and who listed it before.
pub(in crate::state) fn to_be_listed(state: &State) -> impl Iterator<Item = (&HostId, LogIndex)> {
    claims(state).flat_map(move |claim| {
        let owner = Some(claim.owner).filter(|_| claim.is_asked(state));
        let others = may_run_on(state, claim.id).filter(|host| host.up_boot().is_some()).map(|host| &host.id);
        others.chain(owner).map(move |host| (host, claim.proven_at))
    })
}

/// Ends what a fence settles that has just been proven: what was brought to its host by one that can never tell any more,
/// and what its host owned, let go, and may have lost with another one.
pub(in crate::state) fn end_with(state: &mut State, at: LogIndex, host: &HostId) -> Vec<Event> {
    let is_gone = |owner: &HostId| {
        let owner = state.hosts.get(owner).map(|row| row.state);
        owner.is_none_or(|state| matches!(state, HostState::Fenced { .. } | HostState::New))
    };
    let is_elsewhere = |id: InstanceId| may_run_on(state, id).any(|other| other.id != *host);
    let has_come = |claim: &Claim<'_>| !claim.on_its_way || is_migrated(state, claim.id);
    let brought =
        |claim: &Claim<'_>| claim.dead == host && is_gone(claim.owner) && has_come(claim) && !is_elsewhere(claim.id);
    let brought = claims(state).filter(brought).map(|claim| (claim.id, host.clone())).collect();
    let mut events = give(state, at, brought);
    let is_down = |claim: &Claim<'_>| {
        let row = state.instances.get(&claim.id);
        claim.owner == host && row.is_some_and(|row| !row.state.dies_with_its_owner())
    };
    let untold = claims(state).filter(is_down).map(|claim| claim.ends(is_migrated(state, claim.id))).collect();
    events.extend(end_claims(state, at, untold));
    events
}

/// Keeps of what a fenced host ran only what no list has settled: another fence of it follows.
pub(in crate::state) fn keep_unsettled(state: &mut State, host: &HostId) {
    let unsettled: BTreeSet<InstanceId> =
        of_fenced(state).filter(|claim| claim.dead == host).map(|claim| claim.id).collect();
    let row = state.hosts.get_mut(host).filter(|row| matches!(row.state, HostState::Fenced { .. }));
    if let Some(facts) = row.and_then(|row| row.agent.as_mut()) {
        facts.keep_of_earlier_boots(|id| unsettled.contains(id));
    }
}

impl State {
    /// Returns whether a list tells of an instance whether it died with another host which ran it too.
    pub fn tells_of_a_death(&self, host: &HostId, report: &AgentReport) -> bool {
        told_by(self, host, report).next().is_some()
    }
}

/// Returns what may have died with a host, as (that host, the one whose list is waited for): its owner, or once that one has
/// told, who listed it too.
pub(crate) fn waits_for_lists(state: &State) -> impl Iterator<Item = (&HostId, &HostId)> {
    claims(state).map(move |claim| {
        let facts = state.hosts.get(claim.owner).and_then(|owner| owner.agent.as_ref());
        let has_told = facts.is_some_and(|facts| facts.as_of >= Some(claim.proven_at));
        let other = may_run_on(state, claim.id).map(|host| &host.id).find(|other| *other != claim.owner);
        (claim.dead, other.filter(|_| has_told).unwrap_or(claim.owner))
    })
}
