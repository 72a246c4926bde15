//! The fencing devices of hosts as witnesses: is the power off?
//!
//! Asked at once when a host's heartbeats are late, and of every host on a slow schedule, so that a host that could
//! not be fenced is known before it has to be. Reads only; switching is the executor's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use quorumfence_drivers::fencing::sequence::{Expected, OffOrder, read_off_twice};
use quorumfence_machine::{
    Enrolment, Host, HostId, HostState, Level, Millis, Outcome, Power, PowerReading, Refusal, SystemUuid, WallMillis,
};

use crate::controller::Readiness;
use crate::environment::Devices;

/// Hosts whose devices are asked at once by this controller.
const LOOKS_MAX: usize = 8;

/// Hosts of the slow schedule among them, so that suspects never wait for it.
const SWEEPS_MAX: usize = 4;

/// Shortest pause between two looks at one host: BMCs are slow and have few sessions.
const PAUSE_MIN: Millis = Millis(1000);

/// Pause after a slow look, which is one look in a minute: a host that fails right after it is asked almost at once.
const PAUSE_AFTER_SWEEP: Millis = Millis(100);

/// Longest pause between two looks at a host that stays suspect.
const PAUSE_MAX: Millis = Millis(8000);

/// Between two slow looks at one host.
const SWEEP_INTERVAL: Millis = Millis(60_000);

/// Each voter asks this much later than the one before it, so that one BMC serves one session at a time.
const STAGGER: Millis = Millis(40);

/// The same for the slow schedule, where a look may take as long as a device's deadline.
const SWEEP_STAGGER: Millis = Millis(5000);

/// A reading of Off this young is not asked for again.
const OFF_KEPT: Millis = Millis(10_000);

/// Why a host's devices are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its heartbeats are late.
    Suspect,
    /// Its turn came.
    Sweep,
}

/// One question to one host's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) host: HostId,
    pub(crate) why: Why,
    pub(crate) levels: Vec<Level>,
    pub(crate) identity: Option<SystemUuid>,
    pub(crate) asked: Millis,
}

/// What the devices said, level by level.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) ask: Ask,
    pub(crate) levels: Vec<Vec<Outcome<Power>>>,
}

/// Asks every device, one level after the other; a suspect's further levels only while nothing is known.
pub(crate) async fn look<D: Devices>(devices: D, ask: Ask, deadline: Duration) -> Seen {
    let mut levels = Vec::new();
    for level in &ask.levels {
        let asked = level.devices.iter().map(|device| {
            let order = OffOrder { expected: Expected::of(device.identity, ask.identity), deadline, answer: deadline };
            let driver = devices.device(&ask.host, device);
            async move {
                match driver {
                    Outcome::Observed(driver) => read_off_twice(&driver, order).await,
                    Outcome::Refused(refusal) => Outcome::Refused(refusal),
                    Outcome::Unknown(doubt) => Outcome::Unknown(doubt),
                }
            }
        });
        let outcomes = join_all(asked).await;
        let is_known = matches!(power(&outcomes), Some(Outcome::Observed(_)));
        levels.push(outcomes);
        match ask.why {
            Why::Suspect if is_known => break,
            Why::Suspect | Why::Sweep => {}
        }
    }
    Seen { ask, levels }
}

impl Seen {
    /// Returns what is known of the power: the first level that says it, else why the last does not.
    pub(crate) fn power(&self) -> Option<Outcome<Power>> {
        let mut levels = self.levels.iter().filter_map(|outcomes| power(outcomes));
        let known = levels.clone().find(|power| matches!(power, Outcome::Observed(_)));
        known.or_else(|| levels.next_back())
    }

    /// Returns what the reading means as evidence.
    pub(crate) fn reading(&self) -> Option<PowerReading> {
        match self.power()? {
            Outcome::Observed(power) => Some(PowerReading { at: self.ask.asked, power }),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Returns whether every device of some level answered.
    pub(crate) fn is_fenceable(&self) -> bool {
        self.levels.iter().any(|outcomes| {
            !outcomes.is_empty() && outcomes.iter().all(|outcome| matches!(outcome, Outcome::Observed(_)))
        })
    }

    /// Returns what people see of a slow look.
    pub(crate) fn readiness(&self, at: WallMillis, before: Option<&Readiness>) -> Readiness {
        let devices = self.ask.levels.iter().flat_map(|level| &level.devices);
        let outcomes = devices.zip(self.levels.iter().flatten());
        let earlier = before.and_then(|before| before.fenceable_at);
        Readiness {
            at,
            outcomes: outcomes.map(|(device, outcome)| (device.address.clone(), outcome.clone())).collect(),
            fenceable_at: if self.is_fenceable() { Some(at) } else { earlier },
        }
    }

    fn credentials_refused(&self) -> bool {
        self.levels.iter().flatten().any(|outcome| matches!(outcome, Outcome::Refused(Refusal::Credentials)))
    }
}

/// A level is off when all its devices are, and on when one is.
fn power(outcomes: &[Outcome<Power>]) -> Option<Outcome<Power>> {
    let on = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Observed(Power::On)));
    let doubt = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Observed(_)));
    on.or(doubt).or(outcomes.first()).cloned()
}

/// When which host's devices are asked. Pure.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    hosts: BTreeMap<HostId, Turn>,
    in_flight: BTreeMap<HostId, Why>,
}

#[derive(Debug, Default)]
struct Turn {
    suspect_since: Option<Millis>,
    pause: Millis,
    not_before: Millis,
    next_sweep: Millis,
    /// The enrolment under which credentials were refused; they are not tried again under it (rule 11).
    refused: Option<Enrolment>,
}

impl Plan {
    /// Returns the suspects to ask, and marks them as being asked. `rank` is this controller's place among the voters.
    pub(crate) fn suspects(&mut self, suspects: &[(&Host, Option<PowerReading>)], rank: u64, now: Millis) -> Vec<Ask> {
        let names: BTreeSet<&HostId> = suspects.iter().map(|(host, _)| &host.id).collect();
        for (host, turn) in &mut self.hosts {
            if turn.suspect_since.is_some() && !names.contains(host) {
                turn.suspect_since = None;
                turn.pause = Millis::ZERO;
            }
        }
        let mut asks = Vec::new();
        for (host, off) in suspects {
            let turn = self.hosts.entry(host.id.clone()).or_default();
            let since = *turn.suspect_since.get_or_insert(now);
            let known_off =
                off.is_some_and(|off| off.power == Power::Off && off.at >= since && now - off.at < OFF_KEPT);
            let due = now >= since + STAGGER.times(rank) && now >= turn.not_before;
            if due && !known_off && self.in_flight.len() < LOOKS_MAX {
                let pause = (turn.pause + turn.pause).max(PAUSE_MIN).min(PAUSE_MAX);
                asks.extend(self.ask(host, Why::Suspect, pause, now));
            }
        }
        asks
    }

    /// Returns the hosts whose turn of the slow schedule came, and marks them as being asked.
    pub(crate) fn sweep<'a>(&mut self, hosts: impl Iterator<Item = &'a Host>, rank: u64, now: Millis) -> Vec<Ask> {
        let mut asks = Vec::new();
        for host in hosts {
            // A fence in flight has the device to itself, and a lost host is a suspect.
            let is_free = match host.state {
                HostState::New | HostState::Up { .. } | HostState::Fenced { .. } => host.maintenance.is_none(),
                HostState::Lost { .. } | HostState::Fencing { .. } => false,
            };
            if !is_free || host.enrolment.is_none() {
                continue;
            }
            if !self.hosts.contains_key(&host.id) {
                let next_sweep = now + SWEEP_STAGGER.times(rank);
                self.hosts.insert(host.id.clone(), Turn { next_sweep, ..Turn::default() });
            }
            let sweeps = self.in_flight.values().filter(|why| **why == Why::Sweep).count();
            let turn = &self.hosts[&host.id];
            if turn.suspect_since.is_none() && now >= turn.next_sweep && now >= turn.not_before && sweeps < SWEEPS_MAX {
                asks.extend(self.ask(host, Why::Sweep, Millis::ZERO, now));
            }
        }
        asks
    }

    /// Takes what a look showed.
    pub(crate) fn ended(&mut self, seen: &Seen, enrolment: Option<&Enrolment>, now: Millis) {
        self.in_flight.remove(&seen.ask.host);
        let Some(turn) = self.hosts.get_mut(&seen.ask.host) else { return };
        turn.not_before = match seen.ask.why {
            Why::Suspect => now + turn.pause,
            Why::Sweep => now + PAUSE_AFTER_SWEEP,
        };
        turn.next_sweep = now + SWEEP_INTERVAL;
        let asked_under = enrolment.filter(|enrolment| enrolment.levels == seen.ask.levels);
        if seen.credentials_refused() {
            turn.refused = asked_under.cloned();
        }
    }

    fn ask(&mut self, host: &Host, why: Why, pause: Millis, now: Millis) -> Option<Ask> {
        let enrolment = host.enrolment.as_ref().filter(|enrolment| !enrolment.levels.is_empty())?;
        let turn = self.hosts.get_mut(&host.id)?;
        if turn.refused.as_ref() == Some(enrolment) || self.in_flight.contains_key(&host.id) {
            return None;
        }
        turn.pause = pause;
        self.in_flight.insert(host.id.clone(), why);
        Some(Ask {
            host: host.id.clone(),
            why,
            levels: enrolment.levels.clone(),
            identity: host.agent.as_ref().and_then(|agent| agent.system_uuid),
            asked: now,
        })
    }
}

#[cfg(test)]
mod tests;
