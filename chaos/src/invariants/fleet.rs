//! Where hosts and brakes stand, rebuilt from the committed events alone.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{Event, HostId, Millis, ProofClass, Settings, Token};

use super::committed::Entry;
use crate::observation::{Observation, Seen};

/// How much younger than the storm window a fence must be to count for certain, and how much older to be certainly out of
/// it, in percent of the window and at least.
///
/// The product counts on the cluster's clock, which runs no faster than the world's but for the drift of the leaders'
/// clocks: a tenth covers that many times over. And an entry is seen a commit later than its stamp, which a slow disk
/// makes seconds.
const STORM_DOUBT_PERCENT: u64 = 10;
const STORM_DOUBT_MIN: Millis = Millis(10_000);

/// Hosts and brakes. The segment is the one that the run began with.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    settings: Settings,
    minimum_healthy_percent: u8,
    armed: bool,
    storm_closed: bool,
    /// When the fences that the storm brake counts were decided.
    decided: Vec<Millis>,
    hosts: BTreeMap<HostId, Host>,
}

#[derive(Debug, Default)]
struct Host {
    standing: Standing,
    maintenance: bool,
    /// Whether it was enrolled without anything to fence it with.
    without_levels: bool,
    /// Whether it reports another boot than the one that was lost.
    rebooted: bool,
}

/// Where a host is between admission and fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// Never admitted.
    #[default]
    New,
    /// Admitted.
    Up,
    /// A majority sees it dead, or it rebooted by itself; nothing is decided.
    Lost,
    /// Its fence is being carried out.
    Fencing(Token),
    /// Its fence waits for a person.
    NeedsHuman(Token),
    /// Proven unable to run.
    Fenced,
}

impl Fleet {
    /// Takes in what the run begins with.
    pub(crate) fn open(&mut self, observation: &Observation) {
        if let Seen::Opened { settings, segment, .. } = &observation.seen {
            self.settings = settings.clone();
            self.minimum_healthy_percent = segment.minimum_healthy_percent;
        }
    }

    /// Takes in one event of a committed entry.
    pub(crate) fn take(&mut self, entry: &Entry<'_>, event: &Event) {
        match event {
            Event::Armed { .. } => {
                self.armed = true;
                self.storm_closed = false;
                self.decided.clear();
            }
            Event::Disarmed { .. } => self.armed = false,
            Event::StormBrakeClosed { .. } => self.storm_closed = true,
            Event::MaintenanceStarted { host, .. } => self.host(host).maintenance = true,
            Event::MaintenanceEnded { host } => self.host(host).maintenance = false,
            Event::HostEnrolled { host, levels } => self.host(host).enrolled(levels.is_empty()),
            Event::HostBooted { host, .. } => self.host(host).booted(),
            Event::HostLost { host, .. } => self.host(host).stands(Standing::Lost),
            Event::HostRebooted { host, .. } => {
                self.host(host).stands(Standing::Lost);
                self.host(host).rebooted = true;
            }
            Event::HostRegained { host } | Event::HostAdmitted { host, .. } => self.host(host).stands(Standing::Up),
            Event::FenceDecided { host, token } => self.decided(entry, host, *token),
            Event::FenceNeedsHuman { host, token } => self.host(host).stands(Standing::NeedsHuman(*token)),
            Event::HostFenced { host, .. } => self.host(host).stands(Standing::Fenced),
            Event::SettingsChanged { settings: Some(settings) } => self.settings = (**settings).clone(),
            Event::ClusterCreated { .. }
            | Event::SettingsChanged { settings: None }
            | Event::JoinTokenCreated { .. }
            | Event::ControllerJoined { .. }
            | Event::VotersChanged { .. }
            | Event::AgentJoined { .. }
            | Event::SegmentCreated { .. }
            | Event::VoteCast { .. }
            | Event::PermitGranted { .. }
            | Event::FenceAttemptFailed { .. }
            | Event::InstanceRegistered { .. }
            | Event::InstanceMoved { .. }
            | Event::InstanceStray { .. }
            | Event::RecoveryPlanned { .. }
            | Event::StartRefused { .. }
            | Event::InstanceStarted { .. }
            | Event::RecoveryFinished { .. } => {}
        }
    }

    /// Returns where a host stands.
    pub(crate) fn standing(&self, host: &HostId) -> Standing {
        self.hosts.get(host).map_or(Standing::New, |host| host.standing)
    }

    /// Returns where every host stands that was heard of.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&HostId, Standing)> {
        self.hosts.iter().map(|(name, host)| (name, host.standing))
    }

    /// Returns whether a host has nothing that it could be fenced with.
    pub(crate) fn is_without_levels(&self, host: &HostId) -> bool {
        self.hosts.get(host).is_some_and(|host| host.without_levels)
    }

    /// Returns the brake that certainly holds a fence of this host back at this time.
    ///
    /// A host that rebooted by itself needs no power action where a new boot is proof enough: only `disarm` holds it.
    pub(crate) fn brake(&self, host: &HostId, at: Millis) -> Option<String> {
        if !self.armed {
            return Some("the cluster is disarmed".into());
        }
        let row = self.hosts.get(host);
        if row.is_some_and(|row| self.proves_itself(row)) {
            return None;
        }
        if row.is_some_and(|row| row.maintenance) {
            return Some("the host is in maintenance".into());
        }
        self.in_flight().or_else(|| self.storm(at)).or_else(|| self.minimum_healthy())
    }

    /// A fence that waits for a person is not in flight.
    fn in_flight(&self) -> Option<String> {
        let open: BTreeSet<Token> = self.hosts.values().filter_map(|host| host.standing.in_flight()).collect();
        let max = self.settings.fences_in_flight_max as usize;
        (open.len() >= max).then(|| {
            let tokens: Vec<String> = open.iter().map(ToString::to_string).collect();
            format!("{} of {max} allowed fences are in flight: {}", open.len(), tokens.join(", "))
        })
    }

    /// Returns how many fences the storm brake may have counted at this time, when they are fewer than it takes to close.
    pub(crate) fn storm_is_far(&self, at: Millis) -> Option<String> {
        let window = self.settings.storm_window + self.storm_doubt();
        let used = self.decided.iter().filter(|decided| at - **decided < window).count();
        let max = self.settings.storm_fences_max;
        (used < max as usize).then(|| format!("{used} of {max} fences of the storm window are used up"))
    }

    fn storm_doubt(&self) -> Millis {
        Millis(self.settings.storm_window.0 / 100 * STORM_DOUBT_PERCENT).max(STORM_DOUBT_MIN)
    }

    fn storm(&self, at: Millis) -> Option<String> {
        if self.storm_closed {
            return Some("the storm brake is closed".into());
        }
        let window = self.settings.storm_window;
        let certain = window - self.storm_doubt();
        let recent = self.decided.iter().filter(|decided| at - **decided < certain).count();
        let max = self.settings.storm_fences_max;
        (recent >= max as usize)
            .then(|| format!("{recent} of {max} fences of the storm window of {window} are used up"))
    }

    /// Hosts count from their first admission on, which they need an enrolment for.
    fn minimum_healthy(&self) -> Option<String> {
        let members = || self.hosts.values().filter(|host| host.standing != Standing::New);
        let healthy = members().filter(|host| host.standing == Standing::Up && !host.maintenance).count();
        let (hosts, percent) = (members().count(), self.minimum_healthy_percent);
        (healthy * 100 < hosts * usize::from(percent))
            .then(|| format!("only {healthy} of {hosts} hosts are healthy and the segment keeps {percent} %"))
    }

    fn host(&mut self, name: &HostId) -> &mut Host {
        self.hosts.entry(name.clone()).or_default()
    }

    /// The storm brake counts neither hosts that rebooted by themselves, where that is proof enough, nor those that a
    /// person vouched for.
    fn decided(&mut self, entry: &Entry<'_>, host: &HostId, token: Token) {
        let needs_power = !self.hosts.get(host).is_some_and(|row| self.proves_itself(row));
        self.host(host).stands(Standing::Fencing(token));
        if needs_power && !entry.is_vouched(token) {
            self.decided.push(entry.at);
        }
    }

    fn proves_itself(&self, host: &Host) -> bool {
        host.rebooted && self.settings.proofs.contains(&ProofClass::NewBootId)
    }
}

impl Host {
    fn stands(&mut self, standing: Standing) {
        self.standing = standing;
        self.rebooted = false;
    }

    fn booted(&mut self) {
        self.rebooted |= self.standing == Standing::Lost;
    }

    /// Other levels start an open fence over; none leave it to a person.
    fn enrolled(&mut self, without_levels: bool) {
        self.without_levels = without_levels;
        if let (Standing::NeedsHuman(token), false) = (self.standing, without_levels) {
            self.standing = Standing::Fencing(token);
        }
    }
}

impl Standing {
    fn in_flight(self) -> Option<Token> {
        match self {
            Self::Fencing(token) => Some(token),
            Self::New | Self::Up | Self::Lost | Self::NeedsHuman(_) | Self::Fenced => None,
        }
    }
}
