//! One controller's evidence: volatile, its own, never trusted alone.

use std::collections::BTreeMap;

use crate::{BootId, ClusterTime, HEARTBEAT_INTERVAL_MAX, HostId, Millis, Power};

/// Everything that one controller has seen, on its own monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Since when this controller watches: silence from before does not count.
    pub since: Millis,
    /// The last outage of this controller's network. Whom it did not hear for that reason it does not condemn.
    pub outage: Option<Outage>,
    /// When this controller became leader and at which cluster time; `None` while it is not.
    pub leading: Option<(Millis, ClusterTime)>,
    /// What was seen of each host.
    pub hosts: BTreeMap<HostId, Sight>,
}

/// An outage of one controller's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the last of the hosts that fell silent was heard.
    pub since: Millis,
    /// When they were last seen to be silent.
    pub seen: Millis,
}

/// What one controller saw of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The last heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// When it last answered a ping.
    pub ping: Option<Millis>,
    /// When its health endpoint last answered.
    pub health: Option<Millis>,
    /// What its BMC said last.
    pub power: Option<PowerReading>,
}

/// One heartbeat of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it arrived.
    pub at: Millis,
    /// The boot that sent it.
    pub boot: BootId,
    /// When heartbeats of this boot began to arrive without a gap.
    pub steady_since: Millis,
    /// Its agent sends the next one after this long, as far as it had been told by then.
    pub next_within: Millis,
}

impl Heartbeat {
    /// Returns how much longer than the interval that is wanted now the next one may take: an agent learns with the answer
    /// to a heartbeat how often they are wanted.
    pub fn slack(&self, heartbeat_interval: Millis) -> Millis {
        self.next_within - heartbeat_interval
    }
}

/// One look at a BMC: the same state read twice, in separate sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerReading {
    /// When the first of the two readings was asked for.
    pub at: Millis,
    /// The state.
    pub power: Power,
}

impl View {
    /// Returns the cluster's clock at `now`, continued by this leader from `applied`, the highest that it has applied.
    pub fn cluster_time(&self, applied: ClusterTime, now: Millis) -> ClusterTime {
        match self.leading {
            Some((since, clock)) => clock.after(now - since).max(applied),
            None => applied,
        }
    }

    /// Notes a heartbeat. `gap` is the silence after which heartbeats are not steady any more.
    pub fn heard(&mut self, host: &HostId, boot: BootId, at: Millis, gap: Millis) {
        let sight = self.hosts.entry(host.clone()).or_default();
        let steady_since = match sight.heartbeat {
            Some(last) if last.boot == boot && at - last.at <= gap => last.steady_since,
            Some(_) | None => at,
        };
        sight.heartbeat = Some(Heartbeat { at, boot, steady_since, next_within: Millis::ZERO });
    }

    /// Notes after how long the agent of a host that was just heard sends the next heartbeat; more than may be set is not
    /// believed, or its host would never be missed.
    pub fn next_within(&mut self, host: &HostId, time: Millis) {
        if let Some(beat) = self.hosts.get_mut(host).and_then(|sight| sight.heartbeat.as_mut()) {
            beat.next_within = time.min(HEARTBEAT_INTERVAL_MAX);
        }
    }

    /// Returns how much longer than an interval the next heartbeat of a host may take.
    pub(crate) fn slack(&self, host: &HostId, heartbeat_interval: Millis) -> Millis {
        let beat = self.hosts.get(host).and_then(|sight| sight.heartbeat);
        beat.map_or(Millis::ZERO, |beat| beat.slack(heartbeat_interval))
    }
}
