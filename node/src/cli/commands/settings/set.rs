//! `quorumfence settings set`

use std::time::Duration;

use quorumfence_machine::{Millis, Settings};
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::view::print_change;
use super::super::super::{Failure, Globals, duration};
use super::show::in_force;
use crate::config::Profile;

/// Arguments of `settings set`.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Args {
    /// Begin from a profile rather than from the settings in force.
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// How often agents send heartbeats.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    heartbeat_interval: Option<Duration>,
    /// A heartbeat this old makes controllers ask the host's BMC whether the power is off.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    suspect_after: Option<Duration>,
    /// How long an executor may act on one permit.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    permit_life: Option<Duration>,
    /// Deadline of one answer of a fencing device.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    device_deadline: Option<Duration>,
    /// Attempts at one fencing level before the next is tried.
    #[arg(long, value_name = "COUNT")]
    attempts_per_level: Option<u32>,
    /// Fences in flight at once.
    #[arg(long, value_name = "COUNT")]
    fences_in_flight_max: Option<u32>,
    /// Fences decided within the storm window before the brake closes.
    #[arg(long, value_name = "COUNT")]
    storm_fences_max: Option<u32>,
    /// The storm window.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    storm_window: Option<Duration>,
    /// Start orders in flight at one host.
    #[arg(long, value_name = "COUNT")]
    starts_per_host_max: Option<u32>,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let mut client = globals.client()?;
    let base = match args.profile {
        Some(profile) => profile.settings(),
        None => in_force(&mut client).await?,
    };
    let settings = args.applied_to(base);
    let request = pb::SettingsSetRequest { mutation: Some(mutation("")), settings: Some(settings.into()) };
    let reply = client.change(request, |mut client, request| async move { client.settings_set(request).await }).await?;
    print_change(globals.output, reply.at, "settings changed")
}

impl Args {
    fn applied_to(&self, base: Settings) -> Settings {
        let millis = |given: Option<Duration>, base: Millis| {
            given.map_or(base, |given| {
                Millis(u64::try_from(given.as_millis()).expect("durations are limited to ten years"))
            })
        };
        Settings {
            heartbeat_interval: millis(self.heartbeat_interval, base.heartbeat_interval),
            suspect_after: millis(self.suspect_after, base.suspect_after),
            permit_life: millis(self.permit_life, base.permit_life),
            device_deadline: millis(self.device_deadline, base.device_deadline),
            attempts_per_level: self.attempts_per_level.unwrap_or(base.attempts_per_level),
            fences_in_flight_max: self.fences_in_flight_max.unwrap_or(base.fences_in_flight_max),
            storm_fences_max: self.storm_fences_max.unwrap_or(base.storm_fences_max),
            storm_window: millis(self.storm_window, base.storm_window),
            starts_per_host_max: self.starts_per_host_max.unwrap_or(base.starts_per_host_max),
            ..base
        }
    }
}
