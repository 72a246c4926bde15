//! Whether somebody could have carried a fence out all the time, and for long enough.
//!
//! A host is fenced when one voter reaches both a quorum and its BMC, whoever leads. How long that may take follows from
//! the settings: attempts go round the voters, first the quick ones of each level, then one slow round after the other.
//!
//! ```text
//! the fence is decided while somebody reaches the BMC     quick attempts, then slow rounds of the voters that are left
//! somebody reaches the BMC only later                     what is under way, then all of that and a slow round each
//! ```
//!
//! Judged only while the world stands still but for hosts: whoever reaches whom stays the same, and nothing else keeps
//! anybody from acting. Whatever this module does not understand begins the time anew, or ends it until all is healed.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{ControllerId, Event, HostId, Millis, Outcome, ProofClass, Refusal, Settings, Token};

use crate::fault::{Blow, BmcTrouble, DiskTrouble, Fault, Place, Weather, Which};
use crate::invariants::committed::Entry;
use crate::observation::{Observation, Seen};

/// Answers of a device that one attempt may wait for.
const ANSWERS_MAX: u64 = 4;

/// How long the leader waits for a voter whose turn it is, with as much again for every entry of an attempt.
const TURN: Millis = Millis(4000);

/// How long an election and what follows it may take, and how long a host that is heard in another boot may need to
/// report it before its power is cut.
const BEGINNING: Millis = Millis(10_000);

/// What is known of lines, controllers and BMCs, and since when.
#[derive(Debug, Default)]
pub(super) struct Reach {
    is_on_a_real_machine: bool,
    /// Those that were in force, or none once they are not known any more: what began under one may end under another.
    settings: Vec<Settings>,
    voters: BTreeSet<ControllerId>,
    running: BTreeSet<ControllerId>,
    cut: BTreeSet<(Place, Place)>,
    isolated: BTreeSet<Place>,
    /// What goes on and may keep anybody from acting.
    troubles: BTreeSet<String>,
    /// BMCs that do not work.
    broken: BTreeSet<HostId>,
    /// Until when somebody stands still.
    still: Millis,
    levels: BTreeMap<HostId, u64>,
    fences: BTreeMap<HostId, Fence>,
    judged: u64,
}

/// An open fence.
#[derive(Debug)]
struct Fence {
    token: Token,
    decided: Millis,
    /// Since when the same voters could carry it out, and who they are.
    since: Millis,
    able: Able,
    /// Whether a device answered otherwise than with its power off: then no line is to blame.
    is_answered: bool,
    /// Whether a device refused: it is not asked again until the host is enrolled anew (rule 11).
    is_refused: bool,
}

/// Who could carry a fence out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Able {
    /// Voters that make up a quorum.
    quorum: BTreeSet<ControllerId>,
    /// Those of them that reach the BMC.
    reach: BTreeSet<ControllerId>,
}

impl Reach {
    /// Returns one that judges nothing.
    pub(super) fn on_a_real_machine() -> Self {
        Self { is_on_a_real_machine: true, ..Self::default() }
    }

    /// Returns how many fences were held against the bound.
    pub(super) fn judged(&self) -> u64 {
        self.judged
    }

    /// Takes in what the world does.
    ///
    /// # Errors
    /// Names a fence that somebody could have carried out long ago.
    pub(super) fn see(&mut self, observation: &Observation) -> Result<(), String> {
        let at = observation.at;
        self.overdue(at)?;
        match &observation.seen {
            Seen::Opened { settings, .. } => self.settings = vec![settings.clone()],
            Seen::Running { controller, .. } => {
                self.running.insert(*controller);
                self.look(at);
            }
            Seen::Stopped { controller, .. } => {
                self.running.remove(controller);
                self.look(at);
            }
            Seen::Fault { what } => {
                match what.parse() {
                    Ok(fault) => self.fault(&fault, at),
                    Err(_) => drop(self.troubles.insert(what.clone())),
                }
                self.look(at);
            }
            Seen::Installed { .. } | Seen::Healed => self.begin_anew(at),
            Seen::PowerOff { .. }
            | Seen::PowerOn { .. }
            | Seen::OffTaken { .. }
            | Seen::Started { .. }
            | Seen::Ended { .. }
            | Seen::OffSent { .. }
            | Seen::Applied { .. }
            | Seen::Called { .. }
            | Seen::Answered { .. }
            | Seen::Closed => {}
        }
        Ok(())
    }

    /// Takes in one event of a committed entry.
    pub(super) fn take(&mut self, entry: &Entry<'_>, event: &Event) {
        let at = entry.at;
        if let Event::VotersChanged { voters } = event {
            self.voters = voters.iter().copied().collect();
            self.look(at);
        } else if let Event::SettingsChanged { settings } = event {
            match settings {
                Some(settings) if !self.settings.is_empty() => self.settings.push((**settings).clone()),
                Some(_) | None => self.settings.clear(),
            }
        } else if let Event::HostEnrolled { host, levels } = event {
            self.levels.insert(host.clone(), levels.len() as u64);
            if let Some(fence) = self.fences.get_mut(host) {
                (fence.decided, fence.since, fence.is_answered, fence.is_refused) = (at, at, false, false);
            }
        } else if let Event::FenceDecided { host, token } = event {
            let able = self.able(host);
            let fence = Fence { token: *token, decided: at, since: at, able, is_answered: false, is_refused: false };
            self.fences.insert(host.clone(), fence);
        } else if let Event::FenceAttemptFailed { host, why, .. } = event
            && let Some(fence) = self.fences.get_mut(host)
        {
            match why {
                Outcome::Unknown(_) | Outcome::Refused(Refusal::PermitEnded) => {}
                Outcome::Observed(()) => fence.is_answered = true,
                Outcome::Refused(_) => fence.is_refused = true,
            }
        } else if let Event::HostFenced { host, .. } = event
            && let Some(fence) = self.fences.remove(host)
        {
            self.judged += u64::from(fence.able.is_enough());
        }
    }

    fn overdue(&mut self, at: Millis) -> Result<(), String> {
        let is_no_proof = |settings: &Settings| !settings.proofs.contains(&ProofClass::PowerOffVerified);
        if self.is_on_a_real_machine
            || !self.troubles.is_empty()
            || self.settings.is_empty()
            || self.settings.iter().any(is_no_proof)
        {
            return Ok(());
        }
        let is_due = |fence: &Fence| fence.able.is_enough() && !fence.is_answered && !fence.is_refused;
        for (host, fence) in self.fences.iter().filter(|(_, fence)| is_due(fence)) {
            let since = fence.since.max(self.still);
            let levels = self.levels.get(host).copied().unwrap_or(1);
            if levels == 0 {
                // Nothing is left that anybody could use.
                continue;
            }
            let (voters, fresh) = (self.voters.len() as u64, since <= fence.decided);
            let bounds = self.settings.iter().map(|settings| bound(settings, voters, levels, fresh));
            let bound = bounds.max().unwrap_or_default();
            if since + bound < at && !self.broken.contains(host) {
                let able: Vec<String> = fence.able.reach.iter().map(ToString::to_string).collect();
                return Err(format!(
                    "{host} is not fenced under token {}, although {} could reach a quorum and its BMC for more than {bound}",
                    fence.token,
                    able.join(" and ")
                ));
            }
        }
        Ok(())
    }

    fn fault(&mut self, fault: &Fault, at: Millis) {
        match fault {
            Fault::Cut { from, to } => drop(self.cut.insert((from.clone(), to.clone()))),
            Fault::Join { from, to } => drop(self.cut.remove(&(from.clone(), to.clone()))),
            Fault::Isolate(place) => drop(self.isolated.insert(place.clone())),
            Fault::Rejoin(place) => drop(self.isolated.remove(place)),
            Fault::Weather(weather) => self.turn("weather".into(), *weather == Weather::default(), at),
            Fault::Disk(id, trouble) => self.turn(format!("disk {id}"), *trouble == DiskTrouble::Works, at),
            Fault::Controller(_, Blow::Stall(..)) => self.turn("stall".into(), false, at),
            Fault::Controller(_, Blow::Pause(time)) => self.still = self.still.max(at + *time),
            Fault::Controller(Which::One(id), Blow::Start) => self.turn(format!("disk {id}"), true, at),
            Fault::Controller(_, Blow::Wipe) | Fault::Member(_) => self.turn("members".into(), false, at),
            Fault::Controller(..) => self.begin_anew(at),
            Fault::Bmc(host, trouble) => {
                if *trouble == BmcTrouble::Works {
                    self.broken.remove(host);
                } else {
                    self.broken.insert(host.clone());
                }
                if let Some(fence) = self.fences.get_mut(host) {
                    (fence.since, fence.is_answered) = (at, false);
                }
            }
            Fault::Heal => {
                self.cut.clear();
                self.isolated.clear();
                self.broken.clear();
                self.troubles.clear();
                self.begin_anew(at);
            }
            Fault::Host(..)
            | Fault::WallClock(..)
            | Fault::Hypervisor(..)
            | Fault::Instance(..)
            | Fault::Operator(_)
            | Fault::Explain(_) => {}
        }
    }

    fn turn(&mut self, trouble: String, works: bool, at: Millis) {
        if works {
            self.troubles.remove(&trouble);
        } else {
            self.troubles.insert(trouble);
        }
        self.begin_anew(at);
    }

    fn begin_anew(&mut self, at: Millis) {
        self.fences.values_mut().for_each(|fence| fence.since = at);
    }

    /// Looks again who could carry out what.
    fn look(&mut self, at: Millis) {
        let hosts: Vec<HostId> = self.fences.keys().cloned().collect();
        for host in hosts {
            let able = self.able(&host);
            if let Some(fence) = self.fences.get_mut(&host)
                && fence.able != able
            {
                (fence.able, fence.since) = (able, at);
            }
        }
    }

    /// A quorum here is a majority that hears each other in every direction; whoever is not in it is away altogether.
    /// Between those stands what Raft need not cope with, and nothing is promised.
    fn able(&self, host: &HostId) -> Able {
        let place = |id: &ControllerId| Place::Controller(*id);
        let is_here = |id: &&ControllerId| self.running.contains(id) && !self.isolated.contains(&place(id));
        let here: BTreeSet<ControllerId> = self.voters.iter().filter(is_here).copied().collect();
        let is_whole = here.iter().all(|from| here.iter().all(|to| !self.is_cut(&place(from), &place(to))));
        if !is_whole || 2 * here.len() <= self.voters.len() {
            return Able::default();
        }
        let bmc = Place::Bmc(host.clone());
        let reaches = |id: &&ControllerId| !self.is_cut(&place(id), &bmc) && !self.is_cut(&bmc, &place(id));
        let reach =
            if self.isolated.contains(&bmc) { BTreeSet::new() } else { here.iter().filter(reaches).copied().collect() };
        Able { quorum: here, reach }
    }

    fn is_cut(&self, from: &Place, to: &Place) -> bool {
        self.cut.contains(&(from.clone(), to.clone()))
    }
}

impl Able {
    fn is_enough(&self) -> bool {
        !self.reach.is_empty()
    }
}

/// Returns how long a fence may take when some voter reaches its BMC; `fresh` when it did so when it was decided.
fn bound(settings: &Settings, voters: u64, levels: u64, fresh: bool) -> Millis {
    let attempts = u64::from(settings.attempts_per_level);
    let turn = settings.device_deadline.times(ANSWERS_MAX) + TURN;
    let pauses = settings.retry_pause.times(1 << attempts.saturating_sub(1).min(10));
    let quick = (turn.times(attempts) + pauses).times(levels);
    let round = settings.human_retry_pause + turn.times(levels);
    let rounds = if fresh { voters.saturating_sub(attempts) } else { voters };
    let under_way = if fresh { Millis::ZERO } else { settings.permit_life };
    BEGINNING + under_way + quick + round.times(rounds)
}

#[cfg(test)]
mod tests;
