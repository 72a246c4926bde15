//! Cluster-wide policy.

use quorumfence_machine::{Millis, Settings};

use super::{Error, each, number, plain_enum, sorted};
use crate::pb;

plain_enum!(ProofClass { PowerOffVerified, NewBootId, Human });

impl From<Settings> for pb::Settings {
    fn from(settings: Settings) -> Self {
        Self {
            heartbeat_interval_ms: settings.heartbeat_interval.0,
            suspect_after_ms: settings.suspect_after.0,
            permit_life_ms: settings.permit_life.0,
            device_deadline_ms: settings.device_deadline.0,
            attempts_per_level: settings.attempts_per_level,
            retry_pause_ms: settings.retry_pause.0,
            human_retry_pause_ms: settings.human_retry_pause.0,
            late_delivery_ms: settings.late_delivery.0,
            fences_in_flight_max: settings.fences_in_flight_max,
            storm_fences_max: settings.storm_fences_max,
            storm_window_ms: settings.storm_window.0,
            proofs: settings.proofs.into_iter().map(|class| pb::ProofClass::from(class).into()).collect(),
            starts_per_host_max: settings.starts_per_host_max,
            max_restart_attempts: settings.max_restart_attempts,
        }
    }
}

impl TryFrom<pb::Settings> for Settings {
    type Error = Error;
    fn try_from(message: pb::Settings) -> Result<Self, Error> {
        let proofs = each(message.proofs, "proofs", |class| number::<pb::ProofClass, _>(class, ""))?;
        Ok(Self {
            heartbeat_interval: Millis(message.heartbeat_interval_ms),
            suspect_after: Millis(message.suspect_after_ms),
            permit_life: Millis(message.permit_life_ms),
            device_deadline: Millis(message.device_deadline_ms),
            attempts_per_level: message.attempts_per_level,
            retry_pause: Millis(message.retry_pause_ms),
            human_retry_pause: Millis(message.human_retry_pause_ms),
            late_delivery: Millis(message.late_delivery_ms),
            fences_in_flight_max: message.fences_in_flight_max,
            storm_fences_max: message.storm_fences_max,
            storm_window: Millis(message.storm_window_ms),
            proofs: sorted(proofs, "proofs")?.into_iter().collect(),
            starts_per_host_max: message.starts_per_host_max,
            max_restart_attempts: message.max_restart_attempts,
        })
    }
}
