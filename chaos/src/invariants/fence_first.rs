//! S2: nothing of a host is restarted elsewhere before the host is proven unable to run.
//!
//! ```text
//! FenceDecided ── the host was off since then, or runs a newer boot ──▶ HostFenced      rule 1: the proof is true
//! given to a home ──▶ the home is proven dead ──▶ RecoveryPlanned                       rule 2: the plan rests on it
//! target ──▶ admitted in that boot, not proven dead, not being fenced ──▶ RecoveryPlanned
//! RecoveryPlanned(host, boot, token) ──▶ Started there, in that boot, under that token  rule 3: the start obeys it
//! given to a home ──▶ was on another host ──▶ InstanceMoved there                       rule 4: it has been there
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{BootId, Destination, Event, HostId, InstanceId, LogIndex, Proof, Token};

use super::Promise;
use super::committed::{Committed, Entry};
use crate::observation::{Observation, Seen};

/// Judges S2 in its early forms: it does not wait for a second copy to run, but convicts the proof, the plan or the
/// start that would allow one.
///
/// Hosts are on from the beginning, in a boot that nobody names; a `PowerOn` names each later one.
#[derive(Debug, Default)]
pub struct FenceFirst {
    committed: Committed,
    hosts: BTreeMap<HostId, Host>,
    /// The open fences.
    fences: BTreeMap<Token, Fence>,
    /// Where each instance runs in truth.
    runs: BTreeMap<InstanceId, HostId>,
    /// Where each instance has been since the log gave it to its home.
    been: BTreeMap<InstanceId, BTreeSet<HostId>>,
    /// Where each instance has ever been, and whether that host was proven dead since.
    ever: BTreeMap<InstanceId, BTreeMap<HostId, bool>>,
    /// The host whose loss of power ended each instance last, and whether that is proven.
    died: BTreeMap<InstanceId, (HostId, bool)>,
    /// The host that the log gives each instance to.
    homes: BTreeMap<InstanceId, Home>,
    /// The start orders whose end the log does not know.
    open: BTreeMap<InstanceId, OpenOrder>,
    plans: BTreeMap<(InstanceId, Token), Target>,
    judged: u64,
}

#[derive(Debug, Default)]
struct Host {
    off: bool,
    /// The boots that followed a loss of power, oldest first. The last is the present one.
    boots: Vec<BootId>,
    admitted: Option<BootId>,
    /// The boot that its agent reported since it was last fenced, while it is not admitted.
    returned: Option<BootId>,
    is_fenced: bool,
    /// The entry that admitted it last.
    admitted_at: Option<LogIndex>,
    /// The entry that last proved a boot of it over.
    proven_at: Option<LogIndex>,
}

#[derive(Debug)]
struct Fence {
    host: HostId,
    off_since: bool,
}

#[derive(Debug)]
struct Home {
    host: HostId,
    since: LogIndex,
    /// Whether it was proven dead since, or was dead already and the instance had died with it.
    is_dead: bool,
}

/// A start order.
#[derive(Debug)]
struct OpenOrder {
    token: Token,
    target: HostId,
    /// Whether it was seen to have its effect.
    has_started: bool,
}

#[derive(Debug)]
struct Target {
    host: HostId,
    boot: BootId,
}

impl Promise for FenceFirst {
    fn id(&self) -> &'static str {
        "S2"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        if let Some(entry) = self.committed.entry(observation) {
            // An entry that proves a host dead tells first what follows from that. Whether the proof is true is judged in its turn.
            for event in entry.events {
                if let Event::HostFenced { host, .. } = event {
                    self.is_proven_dead(host, entry.index);
                }
            }
            return entry.events.iter().try_for_each(|event| self.event(&entry, event));
        }
        if let Seen::PowerOff { host, .. } = &observation.seen {
            self.hosts.entry(host.clone()).or_default().off = true;
            let died = self.runs.extract_if(.., |_, home| home == host).map(|(instance, _)| instance);
            self.died.extend(died.map(|instance| (instance, (host.clone(), false))));
            self.fences.values_mut().filter(|fence| fence.host == *host).for_each(|fence| fence.off_since = true);
        } else if let Seen::PowerOn { host, boot } = &observation.seen {
            let host = self.hosts.entry(host.clone()).or_default();
            if host.off {
                host.boots.push(*boot);
            }
            host.off = false;
        } else if let Seen::Ended { instance, host } = &observation.seen {
            if self.runs.get(instance) == Some(host) {
                self.runs.remove(instance);
            }
        } else if let Seen::Started { instance, host, token } = &observation.seen {
            self.runs.insert(*instance, host.clone());
            self.been.entry(*instance).or_default().insert(host.clone());
            self.ever.entry(*instance).or_default().insert(host.clone(), false);
            self.died.remove(instance);
            let Some(token) = token else { return Ok(()) };
            self.judged += 1;
            if let Some(open) = self.open.get_mut(instance).filter(|open| open.token == *token) {
                open.has_started = true;
            }
            self.start(*instance, host, *token)
                .map_err(|why| format!("{instance} starts on {host} under token {token}, {why}"))?;
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl FenceFirst {
    fn event(&mut self, entry: &Entry<'_>, event: &Event) -> Result<(), String> {
        if let Event::FenceDecided { host, token } = event {
            let off_since = self.hosts.get(host).is_some_and(|host| host.off);
            self.fences.insert(*token, Fence { host: host.clone(), off_since });
        } else if let Event::HostAdmitted { host, boot } = event {
            let row = self.hosts.entry(host.clone()).or_default();
            (row.admitted, row.admitted_at) = (Some(*boot), Some(entry.index));
            (row.is_fenced, row.returned) = (false, None);
        } else if let Event::HostBooted { host, boot } = event {
            let row = self.hosts.entry(host.clone()).or_default();
            row.returned = row.is_fenced.then_some(*boot);
            if !row.off && row.boots.last() == Some(boot) {
                // It is over with every boot before this one.
                self.died.values_mut().filter(|(dead, _)| dead == host).for_each(|(_, proven)| *proven = true);
            }
        } else if let Event::HostRebooted { host, boot } = event {
            // It moves nothing by itself, so a false one is not convicted. It is only no proof.
            let row = self.hosts.entry(host.clone()).or_default();
            if row.is_newer(*boot) {
                self.is_proven_dead(host, entry.index);
            }
        } else if let Event::HostFenced { host, token, proof } = event {
            self.judged += 1;
            self.proof(host, *token, proof)
                .map_err(|why| format!("{host} is taken for fenced at {} ({proof}), {why}", entry.index))?;
            self.is_proven_dead(host, entry.index);
            let row = self.hosts.entry(host.clone()).or_default();
            row.is_fenced = true;
            self.open.retain(|_, open| open.target != *host);
        } else if let Event::InstanceRegistered { instance, host, .. } = event {
            self.give(entry, *instance, host);
        } else if let Event::InstanceMoved { instance, to, .. } = event {
            self.judged += 1;
            self.moved(entry, *instance, to)?;
            // What was started and has been moved since is not started again by the same order.
            if self.open.get(instance).is_some_and(|open| open.has_started) {
                self.open.remove(instance);
            }
        } else if let Event::InstanceStarted { instance, host, token } = event {
            self.give(entry, *instance, host);
            self.close(*instance, *token);
        } else if let Event::StartRefused { instance, token, .. } = event {
            self.close(*instance, *token);
        } else if let Event::RecoveryPlanned { instance, from, to: Destination::Host { host, boot }, token } = event {
            self.judged += 1;
            self.plan(*instance, from, host)
                .and_then(|()| self.target(host, *boot))
                .map_err(|why| format!("{instance} is ordered to {host} under token {token}, {why}"))?;
            self.open.insert(*instance, OpenOrder { token: *token, target: host.clone(), has_started: false });
            self.plans.insert((*instance, *token), Target { host: host.clone(), boot: *boot });
        }
        Ok(())
    }

    /// Rule 4. Who lives runs it, so it has come there since; with a proven death it may have died at any time, and that it
    /// ended elsewhere since is nothing that anybody must know.
    fn moved(&mut self, entry: &Entry<'_>, instance: InstanceId, to: &HostId) -> Result<(), String> {
        let has_been = self.been.get(&instance).is_some_and(|hosts| hosts.contains(to));
        let died_since = self.ever.get(&instance).and_then(|hosts| hosts.get(to)).is_some_and(|proven| *proven);
        let may_have_died = died_since && !self.runs.contains_key(&instance);
        let row = self.hosts.get(to);
        let is_down = row.is_some_and(|host| host.proven_at > host.admitted_at);
        // It went to another host than anybody could see, and died there: that one is proven dead as well.
        let has_died = self.died.get(&instance).is_some_and(|(_, proven)| *proven);
        let died_elsewhere = has_died && row.is_some_and(|host| host.proven_at.is_some());
        if !has_been && !may_have_died && !died_elsewhere {
            return Err(format!("{instance} is given to {to} at {}, and has not been there", entry.index));
        }
        let was_dead = is_down || has_died;
        self.give(entry, instance, to);
        if let Some(home) = self.homes.get_mut(&instance) {
            home.is_dead = was_dead && !self.runs.contains_key(&instance);
        }
        Ok(())
    }

    fn give(&mut self, entry: &Entry<'_>, instance: InstanceId, host: &HostId) {
        self.homes.insert(instance, Home { host: host.clone(), since: entry.index, is_dead: false });
        let present = self.runs.get(&instance).into_iter().chain([host]);
        self.been.insert(instance, present.cloned().collect());
    }

    fn is_proven_dead(&mut self, host: &HostId, at: LogIndex) {
        self.hosts.entry(host.clone()).or_default().proven_at = Some(at);
        self.died.values_mut().filter(|(dead, _)| dead == host).for_each(|(_, proven)| *proven = true);
        self.ever.values_mut().filter_map(|hosts| hosts.get_mut(host)).for_each(|proven| *proven = true);
        self.homes.values_mut().filter(|home| home.host == *host).for_each(|home| home.is_dead = true);
    }

    fn close(&mut self, instance: InstanceId, token: Token) {
        if self.open.get(&instance).is_some_and(|open| open.token == token) {
            self.open.remove(&instance);
        }
    }

    /// Rule 1. A person's word counts when the fenced boot is in truth over: no power, or another boot since.
    fn proof(&mut self, host: &HostId, token: Token, proof: &Proof) -> Result<(), String> {
        let fence = self.fences.remove(&token).filter(|fence| fence.host == *host);
        let fence = fence.ok_or_else(|| format!("and token {token} is no open decision about it"))?;
        let row = self.hosts.entry(host.clone()).or_default();
        match proof {
            Proof::PowerOffVerified { .. } if !fence.off_since => {
                Err(format!("and it has had power ever since its fence, token {token}, was decided"))
            }
            Proof::NewBootId { boot } if !row.is_newer(*boot) => {
                Err("and it has not lost its power and come up in that boot since it was admitted".into())
            }
            Proof::Human { .. } if !row.off && row.returned.is_some() && row.boots.last() == row.returned.as_ref() => {
                Err("and the boot that has come back since the last fence, and was given up for dead, has its power"
                    .into())
            }
            Proof::Human { .. } if !row.off && !row.boots.last().is_some_and(|boot| row.is_newer(*boot)) => {
                Err("and the boot that was given up for dead still has its power".into())
            }
            Proof::PowerOffVerified { .. } | Proof::NewBootId { .. } | Proof::Human { .. } => Ok(()),
        }
    }

    /// Rule 2. Both the home and the target of an order that nobody saw the end of may have a copy.
    ///
    fn plan(&self, instance: InstanceId, from: &HostId, to: &HostId) -> Result<(), String> {
        let (home, since, is_dead) = match self.homes.get(&instance) {
            Some(home) => (&home.host, home.since, home.is_dead),
            None => (from, LogIndex(0), self.hosts.get(from).is_some_and(|host| host.proven_at.is_some())),
        };
        if !is_dead {
            return Err(format!("and its home {home} was not proven dead since {since}"));
        }
        match self.open.get(&instance) {
            Some(OpenOrder { token, target, .. }) if target != to => {
                Err(format!("and its order to {target} under token {token} has neither ended nor been fenced"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Rule 2, the other end: only a host that may run something takes it. Of one that was never admitted nothing is known.
    fn target(&self, host: &HostId, boot: BootId) -> Result<(), String> {
        if let Some(token) = self.fences.iter().find(|(_, fence)| fence.host == *host).map(|(token, _)| token) {
            return Err(format!("and {host} itself is being fenced under token {token}"));
        }
        let Some(row) = self.hosts.get(host) else { return Ok(()) };
        match row.admitted {
            Some(_) if row.proven_at > row.admitted_at => Err(format!("and {host} itself is proven dead")),
            Some(admitted) if admitted != boot => {
                Err(format!("in boot {boot} of {host}, which is admitted in boot {admitted}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Rule 3. The boot is compared when it is known, which it is after the host's first loss of power.
    fn start(&self, instance: InstanceId, host: &HostId, token: Token) -> Result<(), String> {
        let target = self.plans.get(&(instance, token)).ok_or("which no committed recovery ordered")?;
        if target.host != *host {
            return Err(format!("which ordered it to {}", target.host));
        }
        match self.hosts.get(host).and_then(|row| row.boots.last()) {
            Some(present) if *present != target.boot => {
                Err(format!("which ordered it to boot {} and not to {present}", target.boot))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Host {
    /// Returns whether a boot came after a loss of power, and after the boot that was admitted last.
    fn is_newer(&self, boot: BootId) -> bool {
        let place = |boot: BootId| self.boots.iter().position(|known| *known == boot);
        let admitted = self.admitted.and_then(place);
        place(boot).is_some_and(|place| admitted.is_none_or(|admitted| place > admitted))
    }
}
