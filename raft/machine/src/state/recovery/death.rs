//! What may have died with a host that did not own it.
//!
//! Other hands moved an instance there, and its owner has not said yet that it let it go. A migration that was under way may
//! also have failed, or gone back. Only the owner's list tells, when it was made after the host was proven dead. Where the
//! host had listed the instance as still on its way, the list must say that a migration took it away: it may have ended before
//! it ever arrived. Nor does that say where to: the migration may have failed with the dead host, and the next one have gone
//! elsewhere. So every host that may run anything must have listed since, without the instance.

use std::collections::{BTreeMap, BTreeSet};

use super::{may_run_on, runs_since, wait};
use crate::state::instance::give;
use crate::state::{Death, Host, HostState, Instance, Stage, State};
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

    /// Returns how it ends, now that its owner has let the instance go and no other host has it; `None` while a host that has
    /// not listed since may have it. `news` is a list that need not be in the state yet.
    fn ends(&self, state: &State, is_migrated: bool, news: Option<(&HostId, &AgentReport)>) -> Option<Ending> {
        let (id, dead, fence) = (self.id, self.dead.clone(), self.fence);
        match (self.on_its_way, is_migrated) {
            (true, false) => Some(Ending::Ended { id }),
            (true, true) if self.wants_lists_of(state, news).next().is_some() => None,
            (true, true) | (false, _) => Some(Ending::Died { id, dead, fence }),
        }
    }

    /// Returns the entry that a list must know of to say that the instance did not go to its host when it left its owner.
    fn left_at(&self, state: &State) -> LogIndex {
        let left_at = state.instances.get(&self.id).and_then(|row| row.left_at);
        left_at.unwrap_or_default().max(self.proven_at)
    }

    /// Returns the hosts that may have what was on its way to the dead one, because it went elsewhere: those that have not
    /// listed since it left, in a boot that is not proven over.
    fn wants_lists_of<'s>(
        &self,
        state: &'s State,
        news: Option<(&HostId, &AgentReport)>,
    ) -> impl Iterator<Item = &'s Host> {
        let since = Some(self.left_at(state));
        let (news_of, news) = news.map(|(host, report)| (host.clone(), (report.boot, report.as_of))).unzip();
        state.hosts.values().filter(move |host| {
            host.agent.as_ref().is_some_and(|facts| {
                let told = news.filter(|_| news_of.as_ref() == Some(&host.id));
                let (boot, as_of) = told.unwrap_or((facts.boot, facts.as_of));
                !super::is_over(state, host, boot) && as_of < since
            })
        })
    }

    /// Returns whether its owner is up, or not enrolled yet, so that its list will tell.
    fn is_asked(&self, state: &State) -> bool {
        let owner = state.hosts.get(self.owner);
        owner.is_some_and(|owner| owner.up_boot().is_some() || owner.state == HostState::New)
    }

    /// Returns whether what a boot of its owner lists tells: the owner is up in it, or not enrolled yet.
    fn is_heard(&self, state: &State, boot: BootId) -> bool {
        state.hosts.get(self.owner).is_some_and(|owner| match owner.state {
            HostState::New => true,
            HostState::Up { boot: up } => boot == up,
            HostState::Lost { .. } | HostState::Fencing { .. } | HostState::Fenced { .. } => false,
        })
    }

    /// Returns whether its owner has said what it can say: it was listed since the proof, or is proven off.
    fn has_been_told(&self, state: &State) -> bool {
        let owner = state.hosts.get(self.owner);
        let facts = owner.and_then(|owner| owner.agent.as_ref()).filter(|facts| facts.is_current());
        let listed = facts.filter(|facts| facts.as_of >= Some(self.proven_at));
        super::is_proven_off(state, self.owner) || listed.is_some_and(|facts| self.is_heard(state, facts.boot))
    }

    /// Returns how it ends as all lists say together; `None` while one is missing, or another host than its owner may run the
    /// instance. Until the owner is off, the lists of others tell only of what was on its way.
    fn is_settled(&self, state: &State, news: Option<(&HostId, &AgentReport)>) -> Option<Ending> {
        let is_owners = news.is_some_and(|(host, report)| host == self.owner && self.is_heard(state, report.boot));
        let tells_later = self.on_its_way || super::is_proven_off(state, self.owner);
        let tells = is_owners || (tells_later && self.has_been_told(state));
        let row = state.instances.get(&self.id).filter(|_| tells)?;
        let told = |other: &&Host| news.is_none_or(|(host, _)| other.id != *host);
        if let Some(other) = runs_since(state, row).filter(told) {
            return Some(Ending::Moved { id: self.id, to: other.id.clone() });
        }
        if may_run_on(state, self.id).any(|other| told(&other)) {
            return None;
        }
        let listed = news.filter(|_| is_owners).and_then(|(_, report)| listed(report, self.id));
        self.ends(state, is_migrated(state, self.id) || listed == Some(InstanceState::Migrated), news)
    }

    /// Returns whether its owner let go of what was only on its way, and nobody has said where to.
    fn may_have_gone_elsewhere(&self, state: &State) -> bool {
        self.on_its_way && is_migrated(state, self.id)
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
    /// Its owner has it, or another host that is up.
    Lives { id: InstanceId },
    /// It ended on its way, before it ever ran on the host.
    Ended { id: InstanceId },
    /// Another host runs it.
    Moved { id: InstanceId, to: HostId },
    /// It died with the host.
    Died { id: InstanceId, dead: HostId, fence: Token },
}

fn end_claims(state: &mut State, at: LogIndex, endings: Vec<Ending>) -> Vec<Event> {
    let mut events = Vec::new();
    for ending in endings {
        match ending {
            Ending::Lives { id } | Ending::Ended { id } => forget_deaths(state, id),
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
    claims(state).filter(|claim| claim.is_told_by(report)).filter_map(move |claim| {
        let is_owners = claim.owner == host;
        let ending = match listed(report, claim.id) {
            Some(InstanceState::Running) if is_owners || is_up => Some(Ending::Lives { id: claim.id }),
            Some(InstanceState::Crashed) if is_owners => Some(Ending::Lives { id: claim.id }),
            // A migration that comes from the dead host vanishes with it; what a host runs that is not admitted is alive.
            Some(InstanceState::Moving | InstanceState::Running) => None,
            Some(InstanceState::Crashed | InstanceState::Stopped | InstanceState::Migrated) | None => {
                claim.is_settled(state, Some((host, report)))
            }
        };
        Some((claim, ending?))
    })
}

/// Returns the state in which a list has an instance.
fn listed(report: &AgentReport, id: InstanceId) -> Option<InstanceState> {
    report.instances.iter().find(|row| row.id == id).map(|row| row.state)
}

/// Returns whether its owner has said that a live migration took an instance away.
fn is_migrated(state: &State, id: InstanceId) -> bool {
    state.instances.get(&id).is_some_and(|row| row.state == InstanceState::Migrated)
}

/// Forgets all deaths that an instance may have died: what settles one of them was said after the last.
fn forget_deaths(state: &mut State, id: InstanceId) {
    let dead = of_fenced(state).filter(|claim| claim.id == id);
    let dead: Vec<(HostId, Token)> = dead.map(|claim| (claim.dead.clone(), claim.fence)).collect();
    for (host, fence) in dead {
        let boot = state.fences.get(&fence).and_then(|fence| fence.boot);
        let facts = state.hosts.get_mut(&host).and_then(|row| row.agent.as_mut());
        if let Some((facts, boot)) = facts.zip(boot) {
            facts.forget(boot, &id);
        }
    }
    if let Some(instance) = state.instances.get_mut(&id) {
        instance.may_have_died = None;
    }
}

/// Returns the hosts that must say whether they have what a dead host ran too, each with the entry that proved it dead: its
/// owner, and who listed it before.
pub(in crate::state) fn to_be_listed(state: &State) -> impl Iterator<Item = (&HostId, LogIndex)> {
    claims(state).flat_map(move |claim| {
        let has_told = claim.on_its_way && claim.has_been_told(state);
        let owner = Some(claim.owner).filter(|_| claim.is_asked(state) && !has_told);
        let others = may_run_on(state, claim.id).filter(|host| host.up_boot().is_some()).map(|host| &host.id);
        let left_at = claim.left_at(state);
        let may_have_it = claim.may_have_gone_elsewhere(state).then(|| claim.wants_lists_of(state, None));
        let may_have_it = may_have_it.into_iter().flatten().map(move |host| (&host.id, left_at));
        let proven_at = claim.proven_at;
        others.chain(owner).map(move |host| (host, proven_at)).chain(may_have_it).collect::<Vec<_>>()
    })
}

/// Ends what a fence settles that has just been proven: what was brought to its host by one that can never tell any more, and
/// what waited for this host's list, or for no other. What died with this host as its owner is recovered with all that it ran.
pub(in crate::state) fn end_with(state: &mut State, at: LogIndex, host: &HostId) -> Vec<Event> {
    let is_unknown = |owner: &HostId| state.hosts.get(owner).is_none_or(|owner| owner.state == HostState::New);
    let is_elsewhere = |id: InstanceId| may_run_on(state, id).any(|other| other.id != *host);
    let has_come = |claim: &Claim<'_>| {
        let ending = claim.ends(state, is_migrated(state, claim.id), None);
        matches!(ending, Some(Ending::Died { .. }))
    };
    let brought =
        |claim: &Claim<'_>| claim.dead == host && is_unknown(claim.owner) && has_come(claim) && !is_elsewhere(claim.id);
    let brought = claims(state).filter(brought).map(|claim| (claim.id, host.clone())).collect();
    let mut events = give(state, at, brought);
    let died_here = |claim: &Claim<'_>| {
        let row = state.instances.get(&claim.id);
        claim.owner == host && row.is_none_or(|row| row.state.dies_with_its_owner())
    };
    let others = claims(state).filter(|claim| !died_here(claim));
    let settled = others.filter_map(|claim| claim.is_settled(state, None)).collect();
    events.extend(end_claims(state, at, settled));
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
    /// Returns whether a list tells of an instance whether it died with another host which ran it too, or is one of those that
    /// must tell together.
    pub fn tells_of_a_death(&self, host: &HostId, report: &AgentReport) -> bool {
        let is_one_of_many = |claim: Claim<'_>| {
            let wants = |news| claim.wants_lists_of(self, news).any(|wanted| wanted.id == *host);
            claim.may_have_gone_elsewhere(self) && wants(None) && !wants(Some((host, report)))
        };
        claims(self).any(is_one_of_many) || told_by(self, host, report).next().is_some()
    }
}

/// Returns what may have died with a host, as (that host, the one whose list is waited for): its owner, or once that one has
/// told, who listed it too.
pub(crate) fn waits_for_lists(state: &State) -> impl Iterator<Item = (&HostId, &HostId)> {
    claims(state).map(move |claim| {
        let facts = state.hosts.get(claim.owner).and_then(|owner| owner.agent.as_ref());
        let has_told = facts.is_some_and(|facts| facts.as_of >= Some(claim.proven_at));
        let has_told = has_told || super::is_proven_off(state, claim.owner);
        let mut others = may_run_on(state, claim.id).filter(|other| other.id != *claim.owner);
        let other = others.next().or_else(|| {
            let wants_lists = claim.may_have_gone_elsewhere(state).then(|| claim.wants_lists_of(state, None).next());
            wants_lists.flatten()
        });
        (claim.dead, other.filter(|_| has_told).map_or(claim.owner, |other| &other.id))
    })
}
