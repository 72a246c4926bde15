//! Cluster-wide policy. It lives in the log, so controllers cannot disagree about it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ProofClass;
use crate::{Millis, Rejected};

/// What an operator is told when settings are refused.
pub const SETTINGS_FORMAT_HELP: &str = "'quorumfence status -o json' shows the settings in force";

/// The longest time between two heartbeats.
pub const HEARTBEAT_INTERVAL_MAX: Millis = Millis(60_000);

/// The longest storm window.
pub const STORM_WINDOW_MAX: Millis = Millis(86_400_000);

/// Cluster-wide policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How often agents send heartbeats.
    pub heartbeat_interval: Millis,
    /// A heartbeat this old makes controllers ask the host's BMC whether the power is off.
    pub suspect_after: Millis,
    /// How long an executor may act on one permit.
    pub permit_life: Millis,
    /// Deadline of one answer of a fencing device.
    pub device_deadline: Millis,
    /// Attempts at one level before the next is tried.
    pub attempts_per_level: u32,
    /// Pause before the second attempt; it doubles with each further one.
    pub retry_pause: Millis,
    /// Pause between rounds over all levels once a person is needed.
    pub human_retry_pause: Millis,
    /// A late order may still arrive this long after its permit ended (retransmissions, the BMC's queue).
    pub late_delivery: Millis,
    /// Fences in flight at once.
    pub fences_in_flight_max: u32,
    /// Fences decided within the storm window before the brake closes.
    pub storm_fences_max: u32,
    /// The storm window.
    pub storm_window: Millis,
    /// Which proofs are enough to recover a host's instances.
    pub proofs: BTreeSet<ProofClass>,
    /// Start orders in flight at one target.
    pub starts_per_host_max: u32,
    /// Starts that may be refused before an instance is parked.
    pub max_restart_attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_interval: Millis(1000),
            suspect_after: Millis(2500),
            permit_life: Millis(20_000),
            device_deadline: Millis(2000),
            attempts_per_level: 3,
            retry_pause: Millis(1000),
            human_retry_pause: Millis(30_000),
            late_delivery: Millis(30_000),
            fences_in_flight_max: 2,
            storm_fences_max: 5,
            storm_window: Millis(600_000),
            proofs: BTreeSet::from([ProofClass::PowerOffVerified, ProofClass::NewBootId, ProofClass::Human]),
            starts_per_host_max: 4,
            max_restart_attempts: 3,
        }
    }
}

impl Settings {
    /// Returns the `fast` profile: detection in about a second, at five times the heartbeats and less patience with a
    /// slow network.
    pub fn fast() -> Self {
        Self {
            heartbeat_interval: Millis(200),
            suspect_after: Millis(450),
            retry_pause: Millis(250),
            ..Self::default()
        }
    }

    /// Checks that the settings do not contradict each other.
    pub fn check(&self) -> Result<(), Rejected> {
        let within = |value: Millis, least: u64, most: u64| (least..=most).contains(&value.0);
        let rules = [
            (
                within(self.heartbeat_interval, 50, HEARTBEAT_INTERVAL_MAX.0),
                "heartbeat_interval is not from 50 ms to 1 min: agents would do nothing else, or a dead host be silent for \
                 minutes before anybody doubts it",
            ),
            (
                self.suspect_after.0 <= 600_000,
                "suspect_after is above 10 min: nobody would look after a dead host for that long",
            ),
            (
                self.suspect_after > self.heartbeat_interval,
                "suspect_after is not above heartbeat_interval: every host would be suspected all the time",
            ),
            (
                self.permit_life.0 >= self.device_deadline.times(4).0,
                "permit_life is below four times device_deadline: a permit would end before off can be read twice",
            ),
            (
                within(self.device_deadline, 100, 60_000),
                "device_deadline is not from 100 ms to 1 min: no BMC answers faster, and nobody waits longer for one",
            ),
            (
                self.permit_life.0 <= 600_000,
                "permit_life is above 10 min: what an executor that died may still do holds everything up for that long",
            ),
            (
                (1..=20).contains(&self.attempts_per_level),
                "attempts_per_level is not from 1 to 20: nothing would ever be fenced, or the next level never tried",
            ),
            (
                self.retry_pause.0 <= 60_000,
                "retry_pause is above 1 min: it doubles with each attempt, and the next level would hardly ever be tried",
            ),
            (
                within(self.human_retry_pause, 1000, 86_400_000),
                "human_retry_pause is not from 1 s to 24 h: levels are tried again while a person is awaited",
            ),
            (
                within(self.late_delivery, 1000, 3_600_000),
                "late_delivery is not from 1 s to 1 h: a late order could hit the host that is back, or it would never \
                 be let in",
            ),
            (self.fences_in_flight_max >= 1, "fences_in_flight_max is zero: use 'quorumfence disarm' instead"),
            (
                (1..=1000).contains(&self.storm_fences_max),
                "storm_fences_max is not from 1 to 1000: use 'quorumfence disarm' instead of none; more is no brake",
            ),
            (
                within(self.storm_window, 60_000, STORM_WINDOW_MAX.0),
                "storm_window is not from 1 min to 24 h: the storm brake would not close, or count for ever",
            ),
            (self.starts_per_host_max >= 1, "starts_per_host_max is zero: nothing would ever start"),
            (
                self.proofs.contains(&ProofClass::PowerOffVerified) || self.proofs.contains(&ProofClass::Human),
                "proofs has neither PowerOffVerified nor Human: a host that stays dead could never be proven off",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err(Rejected::Invalid(format!("{broken}. {SETTINGS_FORMAT_HELP}."))),
            None => Ok(()),
        }
    }
}
