//! The promises L1 to L3: what must have happened by the end of a run, once every fault is healed.
//!
//! | id | promise | judge |
//! | --- | --- | --- |
//! | L1 | A host that a quorum sees dead is fenced, or a person is asked. | [`Fenced`] |
//! | L2 | Its instances run again, or are parked with a reason. | [`Recovered`] |
//! | L3 | After that nothing more happens. | [`Quiet`] |
//!
//! They are judged at `Closed`, and only after a `Healed`: a world closes the run when the bound of L1 and L2 has passed
//! since then.

mod reach;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{
    BootId, Destination, Event, HostId, InstanceId, LogIndex, Millis, Outcome, Parking, Refusal,
};

use self::reach::Reach;
use crate::fault::{BmcTrouble, Deed, Fault, Hands};
use crate::invariants::Promise;
use crate::invariants::committed::Committed;
use crate::invariants::fleet::{Fleet, Standing};
use crate::observation::{Cause, Observation, Seen};

/// How long before its end a run must have been quiet: several times a healthy fence with its recovery, so that no
/// retry in between is missed.
pub const QUIET: Millis = Millis(10_000);

/// Entries without events in the last [`QUIET`] of a run: one of a new leader, and one of a late word.
const SILENT_MAX: usize = 1;

/// How long after everything is healed a person's help, or the want of a host, is no excuse any more: several times the
/// pause between two rounds over the fencing levels.
const PATIENCE: Millis = Millis(120_000);

/// A controller that has run for this long has seen every host that lives.
const SEEN: Millis = Millis(10_000);

/// Returns the judges of L1 to L3, one row a promise, at the beginning of a run.
pub fn promises(fenced: Fenced) -> Vec<Box<dyn Promise>> {
    vec![Box::new(fenced), Box::new(Recovered::default()), Box::new(Quiet::default())]
}

/// Judges L1: a host that a quorum lost is fenced in the end, or a person was asked.
///
/// One that loses its power is noticed, and one that comes back in a new boot is admitted. A lost host that a brake holds, that has nothing to fence it with, or whose
/// devices refused, waits for a person by design. One whose devices did not answer is tried again, so it is fenced once
/// they do. That a device refuses its account, and that the storm brake closes, is not taken at the product's word; that
/// the leader does not reach them is no excuse while another voter does, healed or not.
#[derive(Debug, Default)]
pub struct Fenced {
    committed: Committed,
    fleet: Fleet,
    healed: Option<Millis>,
    /// Hosts of which some device refused since their fence was decided.
    refused: BTreeSet<HostId>,
    /// Hosts whose BMC was told to refuse its account, or that a person enrolled anew.
    may_refuse: BTreeSet<HostId>,
    /// Since when hosts are off.
    off: BTreeMap<HostId, Millis>,
    /// Hosts that got their power back: their boot, and since when.
    back: BTreeMap<HostId, (BootId, Millis)>,
    admitted: BTreeMap<HostId, BootId>,
    reach: Reach,
    /// When the last controller began to run: one that never saw a host does not condemn it (rule 24).
    running: Millis,
    judged: u64,
}

impl Promise for Fenced {
    fn id(&self) -> &'static str {
        "L1"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        self.fleet.open(observation);
        self.reach.see(observation)?;
        if observation.seen == Seen::Healed {
            self.healed = Some(observation.at);
        }
        if let Some(entry) = self.committed.entry(observation) {
            for event in entry.events {
                self.take(event, entry.at)?;
                self.fleet.take(&entry, event);
                self.reach.take(&entry, event);
            }
        } else if let Seen::Fault { what } = &observation.seen
            && let Ok(Fault::Bmc(host, BmcTrouble::RefusesLogin) | Fault::Operator(Deed::Enrol(host, _))) = what.parse()
        {
            self.may_refuse.insert(host);
        }
        if let Seen::PowerOff { host, .. } = &observation.seen {
            self.off.insert(host.clone(), observation.at);
            self.back.remove(host);
        } else if let Seen::PowerOn { host, boot } = &observation.seen {
            self.off.remove(host);
            self.back.insert(host.clone(), (*boot, observation.at));
        } else if let Seen::Running { .. } = &observation.seen {
            self.running = observation.at;
        }
        let (Seen::Closed, Some(healed)) = (&observation.seen, self.healed) else { return Ok(()) };
        // What was ordered to a host that waits for a person may be what another host's return waits for.
        let a_person_is_due = self.fleet.standings().any(|(_, standing)| matches!(standing, Standing::NeedsHuman(_)));
        for (host, standing) in self.fleet.standings() {
            self.judged += 1;
            let excused = self.fleet.is_without_levels(host) || self.fleet.brake(host, observation.at).is_some();
            let is_off_for_long = self
                .off
                .get(host)
                .is_some_and(|since| *since >= self.running + SEEN && healed.max(*since) + PATIENCE <= observation.at);
            let is_back_for_long = self.back.get(host).is_some_and(|(boot, since)| {
                self.admitted.get(host) != Some(boot) && healed.max(*since) + PATIENCE <= observation.at
            });
            match standing {
                Standing::Fenced if is_back_for_long && !a_person_is_due => {
                    return Err(format!("{host} is back for long, and was not admitted"));
                }
                Standing::Up if is_off_for_long && !excused => {
                    return Err(format!("{host} is off for long, and nobody has noticed"));
                }
                Standing::Lost if !excused => return Err(format!("{host} is lost, and its fence was never decided")),
                Standing::Fencing(token) if !self.fleet.is_without_levels(host) => {
                    return Err(format!("{host} is neither fenced under token {token} nor is a person asked"));
                }
                Standing::NeedsHuman(token)
                    if healed + PATIENCE <= observation.at
                        && !self.refused.contains(host)
                        && !self.fleet.is_without_levels(host) =>
                {
                    return Err(format!("{host} waits for a person under token {token}, and its devices work"));
                }
                Standing::New
                | Standing::Up
                | Standing::Lost
                | Standing::Fencing(_)
                | Standing::NeedsHuman(_)
                | Standing::Fenced => {}
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged + self.reach.judged()
    }
}

impl Fenced {
    /// Returns a judge that takes a busy machine into account: nobody knows there what else kept a process from acting
    /// in time.
    pub fn on_a_real_machine() -> Self {
        Self { reach: Reach::on_a_real_machine(), ..Self::default() }
    }

    fn take(&mut self, event: &Event, at: Millis) -> Result<(), String> {
        if let Event::FenceAttemptFailed { host, why: Outcome::Refused(refusal), .. } = event {
            let is_of_the_account = matches!(refusal, Refusal::Credentials | Refusal::Privilege);
            if is_of_the_account && !self.may_refuse.contains(host) {
                return Err(format!("a device of {host} is said to refuse its account, and none was told to"));
            }
            if *refusal != Refusal::PermitEnded {
                self.refused.insert(host.clone());
            }
        } else if let Event::StormBrakeClosed { host } = event {
            let far = self.fleet.storm_is_far(at);
            return far.map_or(Ok(()), |used| Err(format!("the storm brake closes at {host}, and only {used}")));
        } else if let Event::HostAdmitted { host, boot } = event {
            self.admitted.insert(host.clone(), *boot);
        } else if let Event::FenceDecided { host, .. } | Event::HostEnrolled { host, .. } = event {
            self.refused.remove(host);
        }
        Ok(())
    }
}

/// Judges L2: every registered instance that ever ran runs on exactly one host in the end, or is parked.
///
/// Events do not say which instances are opted in to high availability, so all are taken for it. Nothing is promised
/// about an instance whose home, or whose target, is neither fenced nor alive: whether it must be fenced is for L1. Want
/// of a host, and refused starts, excuse it only while there is no host that could take it; that evacuation is off only
/// where it is. Want of room is the one excuse that is taken at the product's word. Nobody owes the return of what other
/// hands ended, moved to a host before it was admitted, or moved and asked nobody, to a host that died before it had listed it
/// (nothing says where it went). Whoever moves it as people do waits until the log says where it is going, and knows where it
/// is: it may come from a host that nobody knows of.
#[derive(Debug, Default)]
pub struct Recovered {
    committed: Committed,
    fleet: Fleet,
    instances: BTreeMap<InstanceId, Instance>,
    off: BTreeSet<HostId>,
    /// Hosts that lost their power and were not admitted since, each with the boot that it came back in.
    quarantined: BTreeMap<HostId, Option<BootId>>,
    /// Since when each host has power, as far as it was heard of.
    on: BTreeMap<HostId, Millis>,
    maintained: BTreeSet<HostId>,
    names: BTreeMap<String, InstanceId>,
    /// When hands ended an instance.
    ends: BTreeMap<InstanceId, Millis>,
    /// Where hands that wait for the log are moving an instance.
    moves: BTreeMap<InstanceId, HostId>,
    evacuation_is_off: bool,
    healed: Option<Millis>,
    judged: u64,
}

#[derive(Debug, Default)]
struct Instance {
    registered: bool,
    has_run: bool,
    runs_on: BTreeSet<HostId>,
    /// The host that the log gives it to, or orders it to.
    holder: Option<HostId>,
    parked: Option<Parking>,
    /// Whether other hands ended it.
    ended_by_hand: bool,
    /// The hosts that the log says it is on.
    said_on: BTreeSet<HostId>,
    /// The host that it ended on last.
    left: Option<HostId>,
    /// The host that other hands moved it to, of which the log cannot say that it is there.
    moved_to: Option<HostId>,
    /// Whether it was lost with that host.
    lost_on_its_way: bool,
}

impl Promise for Recovered {
    fn id(&self) -> &'static str {
        "L2"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        self.fleet.open(observation);
        if let Seen::Opened { segment, .. } = &observation.seen {
            self.evacuation_is_off = !segment.evacuation_enabled;
        }
        if let Some(entry) = self.committed.entry(observation) {
            for event in entry.events {
                self.fleet.take(&entry, event);
                self.take(event);
                if let Event::HostAdmitted { host, boot } = event {
                    if self.quarantined.get(host) == Some(&Some(*boot)) {
                        self.quarantined.remove(host);
                    }
                    self.on.entry(host.clone()).or_insert(entry.at);
                }
            }
        } else if let Seen::Started { instance, host, token } = &observation.seen {
            let row = self.instances.entry(*instance).or_default();
            let is_by_hand = token.is_none() && row.has_run && row.holder.as_ref() != Some(host);
            let comes_from_where_it_was_known = row.left.as_ref().is_some_and(|left| row.said_on.contains(left));
            let is_asked_for = self.moves.remove(instance).as_ref() == Some(host);
            let is_known = is_asked_for && comes_from_where_it_was_known && !self.quarantined.contains_key(host);
            row.moved_to = (is_by_hand && !is_known).then(|| host.clone());
            row.lost_on_its_way = false;
            row.has_run = true;
            row.runs_on.insert(host.clone());
            row.ended_by_hand = false;
        } else if let Seen::Ended { instance, host } = &observation.seen {
            let row = self.instances.entry(*instance).or_default();
            row.runs_on.remove(host);
            row.left = Some(host.clone());
            row.ended_by_hand |= self.ends.get(instance) == Some(&observation.at);
        } else if let Seen::Fault { what } = &observation.seen {
            if let Ok(Fault::Instance(name, hands)) = what.parse()
                && let Some(id) = self.names.get(&name)
            {
                self.lay_hands(*id, observation.at, hands);
            }
        } else if let Seen::PowerOff { host, .. } = &observation.seen {
            self.off.insert(host.clone());
            self.quarantined.insert(host.clone(), None);
            self.on.remove(host);
            for row in self.instances.values_mut() {
                row.runs_on.remove(host);
                row.lost_on_its_way |= row.moved_to.as_ref() == Some(host);
            }
        } else if let Seen::PowerOn { host, boot } = &observation.seen {
            self.off.remove(host);
            self.quarantined.insert(host.clone(), Some(*boot));
            self.on.insert(host.clone(), observation.at);
        } else if observation.seen == Seen::Healed {
            self.healed = Some(observation.at);
        } else if let (Seen::Closed, Some(healed)) = (&observation.seen, self.healed) {
            self.closed(observation.at, healed)?;
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl Recovered {
    fn lay_hands(&mut self, id: InstanceId, at: Millis, hands: Hands) {
        match hands {
            Hands::End => drop(self.ends.insert(id, at)),
            Hands::Move(to) => drop(self.moves.insert(id, to)),
            Hands::Start(_) | Hands::Migrate(_) => drop(self.moves.remove(&id)),
        }
    }

    fn take(&mut self, event: &Event) {
        if let Event::InstanceRegistered { instance, name, .. } = event {
            self.names.insert(name.clone(), *instance);
        }
        if let Event::InstanceRegistered { instance, host, .. }
        | Event::InstanceMoved { instance, to: host, .. }
        | Event::InstanceStarted { instance, host, .. } = event
        {
            let row = self.instances.entry(*instance).or_default();
            row.registered = true;
            row.said_on = BTreeSet::from([host.clone()]);
            row.holder = Some(host.clone());
            row.parked = None;
            row.moved_to = row.moved_to.take().filter(|moved_to| moved_to != host);
        }
        if let Event::InstanceStray { instance, host, .. } = event {
            // It is said where it went. What a host runs that is not admitted is nobody's.
            let row = self.instances.entry(*instance).or_default();
            let is_said = !self.quarantined.contains_key(host);
            row.said_on.insert(host.clone());
            row.moved_to = row.moved_to.take().filter(|moved_to| moved_to != host || !is_said);
        }
        if let Event::MaintenanceStarted { host, .. } = event {
            self.maintained.insert(host.clone());
        } else if let Event::MaintenanceEnded { host } = event {
            self.maintained.remove(host);
        }
        if let Event::RecoveryPlanned { instance, to, .. } = event {
            let row = self.instances.entry(*instance).or_default();
            match to {
                Destination::Host { host, .. } => {
                    row.holder = Some(host.clone());
                    row.parked = None;
                }
                Destination::Parked(why) => row.parked = Some(*why),
            }
        }
    }

    /// Returns a host that could have taken what was parked for want of one: it has had power for long, and nothing is
    /// open about it.
    fn wanted(&self, at: Millis, healed: Millis) -> Option<&HostId> {
        let could = |(host, since): &(&HostId, &Millis)| {
            let is_settled = match self.fleet.standing(host) {
                Standing::Up | Standing::Fenced => true,
                Standing::New | Standing::Lost | Standing::Fencing(_) | Standing::NeedsHuman(_) => false,
            };
            healed.max(**since) + PATIENCE <= at && is_settled && !self.maintained.contains(*host)
        };
        self.on.iter().find(could).map(|(host, _)| host)
    }

    fn closed(&mut self, at: Millis, healed: Millis) -> Result<(), String> {
        let wanted = self.wanted(at, healed).cloned();
        for (id, row) in self.instances.iter().filter(|(_, row)| row.registered && row.has_run) {
            self.judged += 1;
            let homes: Vec<&str> = row.runs_on.iter().map(HostId::as_str).collect();
            if homes.len() > 1 {
                return Err(format!("{id} runs on {} in the end", homes.join(" and ")));
            }
            let unfounded = row.parked.filter(|_| homes.is_empty()).and_then(|why| match why {
                Parking::NoHost => Some(format!("for want of a host, and {} has been on for long", wanted.as_ref()?)),
                Parking::Refused(_) => Some(format!("after refusals, and {} has been on for long", wanted.as_ref()?)),
                Parking::EvacuationDisabled => {
                    (!self.evacuation_is_off).then(|| "because evacuation is off, and it is not".into())
                }
                Parking::NoRoom => None,
            });
            if let Some(why) = unfounded {
                return Err(format!("{id} is parked {why}"));
            }
            let is_excused = row.ended_by_hand
                || row.lost_on_its_way
                || row.parked.is_some()
                || row.holder.as_ref().is_some_and(|holder| self.is_unsettled(holder));
            if homes.is_empty() && !is_excused {
                let holder = row.holder.as_ref().map_or("nobody", HostId::as_str);
                return Err(format!("{id} runs nowhere in the end and is not parked; the log gives it to {holder}"));
            }
        }
        Ok(())
    }

    /// Returns whether a host may be dead without being proven so.
    fn is_unsettled(&self, host: &HostId) -> bool {
        match self.fleet.standing(host) {
            Standing::Lost | Standing::Fencing(_) | Standing::NeedsHuman(_) => true,
            // That it is noticed is for L1.
            Standing::New | Standing::Up => self.off.contains(host),
            Standing::Fenced => false,
        }
    }
}

/// Judges L3: in the last [`QUIET`] of a run no order is sent, nothing starts, no BMC acts and no event is committed.
///
/// A few entries without events (a new leader's, a change of nothing) are silent; what is proposed again and again is not. A
/// fence that waits for a person goes on trying at its slow pace by design: its permits, failed attempts and orders are no
/// noise.
#[derive(Debug, Default)]
pub struct Quiet {
    committed: Committed,
    fleet: Fleet,
    healed: Option<Millis>,
    /// The last noise, and when it was.
    noise: Option<(Millis, String)>,
    /// The last entries without events.
    silent: Vec<(Millis, LogIndex)>,
    judged: u64,
}

impl Promise for Quiet {
    fn id(&self) -> &'static str {
        "L3"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        let is_noise = matches!(
            &observation.seen,
            Seen::Started { .. } | Seen::PowerOff { cause: Cause::Bmc, .. } | Seen::OffSent { .. }
        );
        let excused = matches!(&observation.seen, Seen::OffSent { host, .. } if self.waits_for_a_person(host));
        if is_noise && !excused {
            self.noise = Some((observation.at, observation.seen.to_string()));
        }
        if let Some(entry) = self.committed.entry(observation) {
            if entry.events.is_empty() {
                self.silent.retain(|(at, _)| *at + QUIET > entry.at);
                self.silent.push((entry.at, entry.index));
            }
            for event in entry.events {
                if !self.is_slow_retry(event) {
                    self.noise = Some((entry.at, format!("{} is committed: {event}", entry.index)));
                }
                self.fleet.take(&entry, event);
            }
        } else if observation.seen == Seen::Healed {
            self.healed = Some(observation.at);
        } else if observation.seen == Seen::Closed {
            return self.closed(observation.at);
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl Quiet {
    fn waits_for_a_person(&self, host: &HostId) -> bool {
        matches!(self.fleet.standing(host), Standing::NeedsHuman(_))
    }

    fn is_slow_retry(&self, event: &Event) -> bool {
        matches!(
            event,
            Event::PermitGranted { host, .. } | Event::FenceAttemptFailed { host, .. } if self.waits_for_a_person(host)
        )
    }

    fn closed(&mut self, at: Millis) -> Result<(), String> {
        let Some(healed) = self.healed else { return Ok(()) };
        self.judged += 1;
        match &self.noise {
            Some((noise, what)) if *noise >= healed && *noise + QUIET > at => {
                Err(format!("{} before the end it is not quiet: {what}", at - *noise))
            }
            Some(_) | None => self.repeats(at, healed),
        }
    }

    fn repeats(&self, at: Millis, healed: Millis) -> Result<(), String> {
        let lately = self.silent.iter().filter(|(entry, _)| *entry >= healed && *entry + QUIET > at);
        let indexes: Vec<String> = lately.map(|(_, index)| index.to_string()).collect();
        if indexes.len() > SILENT_MAX {
            return Err(format!("entries that change nothing are committed to the end: {}", indexes.join(", ")));
        }
        Ok(())
    }
}
