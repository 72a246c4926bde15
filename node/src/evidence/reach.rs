//! Ping and health endpoint: does the host answer where its agent does not?
//!
//! Their answers can only keep a host from being condemned, so they are asked often while heartbeats are late and
//! seldom otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorumfence_machine::{HostId, Millis, Outcome, State, View};

use crate::environment::Probes;

/// Probes in flight at once.
const LOOKS_MAX: usize = 64;

/// Between two looks at a host whose heartbeats arrive.
const SWEEP_INTERVAL: Millis = Millis(30_000);

/// Longest that one answer is waited for.
const DEADLINE_MAX: Millis = Millis(1000);

/// Shortest interval between two looks at one host.
const INTERVAL_MIN: Millis = Millis(200);

/// Where a host is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    Ping,
    Health,
}

/// One question to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) host: HostId,
    pub(crate) channel: Channel,
    pub(crate) address: String,
    pub(crate) asked: Millis,
    pub(crate) deadline: Duration,
}

/// Whether it answered.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) ask: Ask,
    pub(crate) outcome: Outcome<bool>,
}

/// Asks once.
pub(crate) async fn look<P: Probes>(probes: P, ask: Ask) -> Seen {
    let outcome = match ask.channel {
        Channel::Ping => probes.ping(&ask.address, ask.deadline).await,
        Channel::Health => probes.health(&ask.address, ask.deadline).await,
    };
    Seen { ask, outcome }
}

impl Seen {
    /// Notes an answer. It counts from the question on: the host lived then, and nobody knows how much longer.
    pub(crate) fn enter(&self, view: &mut View) {
        match self.outcome {
            Outcome::Observed(true) => {}
            Outcome::Observed(false) | Outcome::Refused(_) | Outcome::Unknown(_) => return,
        }
        let sight = view.hosts.entry(self.ask.host.clone()).or_default();
        match self.ask.channel {
            Channel::Ping => sight.ping = Some(self.ask.asked),
            Channel::Health => sight.health = Some(self.ask.asked),
        }
    }
}

/// When which host is looked at. Pure.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    asked: BTreeMap<(HostId, Channel), Millis>,
    in_flight: BTreeSet<(HostId, Channel)>,
}

impl Plan {
    /// Returns the looks that are due, and marks them as being made.
    pub(crate) fn due(&mut self, state: &State, view: &View, now: Millis) -> Vec<Ask> {
        let half = Millis(state.settings().suspect_after.0 / 2);
        let mut asks = Vec::new();
        for host in state.hosts() {
            let Some(enrolment) = &host.enrolment else { continue };
            let addresses = [(Channel::Ping, &enrolment.ping), (Channel::Health, &enrolment.health)];
            for (channel, address) in addresses {
                let Some(address) = address else { continue };
                let heard =
                    view.hosts.get(&host.id).and_then(|sight| sight.heartbeat).map_or(view.since, |beat| beat.at);
                let check = state.segment(&enrolment.segment).map_or(DEADLINE_MAX, |row| row.check_interval);
                let check = check.max(INTERVAL_MIN);
                let interval = if now - heard.max(view.since) > half { check } else { SWEEP_INTERVAL };
                let key = (host.id.clone(), channel);
                let is_due = self.asked.get(&key).is_none_or(|asked| now - *asked >= interval);
                if !is_due || self.in_flight.contains(&key) || self.in_flight.len() >= LOOKS_MAX {
                    continue;
                }
                self.asked.insert(key.clone(), now);
                self.in_flight.insert(key);
                let deadline = check.min(DEADLINE_MAX).into();
                asks.push(Ask { host: host.id.clone(), channel, address: address.clone(), asked: now, deadline });
            }
        }
        asks
    }

    /// Takes the end of a look.
    pub(crate) fn ended(&mut self, ask: &Ask) {
        self.in_flight.remove(&(ask.host.clone(), ask.channel));
    }
}
