//! Settings as the command line shows them.

use quorumfence_machine::{ProofClass, Settings};
use serde::Serialize;

use super::super::output::{Printed, facts};

/// The settings in force.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct SettingsView {
    profile: &'static str,
    heartbeat_interval_ms: u64,
    suspect_after_ms: u64,
    permit_life_ms: u64,
    device_deadline_ms: u64,
    attempts_per_level: u32,
    retry_pause_ms: u64,
    human_retry_pause_ms: u64,
    late_delivery_ms: u64,
    fences_in_flight_max: u32,
    storm_fences_max: u32,
    storm_window_ms: u64,
    proofs: Vec<&'static str>,
    starts_per_host_max: u32,
    max_restart_attempts: u32,
}

impl Printed for SettingsView {
    const KIND: &'static str = "Settings";
}

impl From<Settings> for SettingsView {
    fn from(settings: Settings) -> Self {
        Self {
            profile: profile(&settings),
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
            proofs: settings.proofs.iter().map(|class| proof(*class)).collect(),
            starts_per_host_max: settings.starts_per_host_max,
            max_restart_attempts: settings.max_restart_attempts,
        }
    }
}

/// Returns which profile the settings are, or that they were changed by hand.
fn profile(settings: &Settings) -> &'static str {
    if *settings == Settings::default() {
        "default"
    } else if *settings == Settings::fast() {
        "fast"
    } else {
        "custom"
    }
}

fn proof(class: ProofClass) -> &'static str {
    match class {
        ProofClass::PowerOffVerified => "power off verified",
        ProofClass::NewBootId => "new boot id",
        ProofClass::Human => "human",
    }
}

/// Returns the settings, one a line.
pub(in super::super) fn settings_facts(settings: &SettingsView) -> String {
    let millis = |millis: u64| quorumfence_machine::Millis(millis).to_string();
    facts(&[
        ("profile", settings.profile.to_string()),
        ("heartbeat interval", millis(settings.heartbeat_interval_ms)),
        ("suspect after", millis(settings.suspect_after_ms)),
        ("permit life", millis(settings.permit_life_ms)),
        ("device deadline", millis(settings.device_deadline_ms)),
        ("attempts per level", settings.attempts_per_level.to_string()),
        ("retry pause", millis(settings.retry_pause_ms)),
        ("human retry pause", millis(settings.human_retry_pause_ms)),
        ("late delivery", millis(settings.late_delivery_ms)),
        ("fences in flight, at most", settings.fences_in_flight_max.to_string()),
        ("storm fences, at most", settings.storm_fences_max.to_string()),
        ("storm window", millis(settings.storm_window_ms)),
        ("proofs", settings.proofs.join(", ")),
        ("starts per host, at most", settings.starts_per_host_max.to_string()),
        ("restart attempts, at most", settings.max_restart_attempts.to_string()),
    ])
}
