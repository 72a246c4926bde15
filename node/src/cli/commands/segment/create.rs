//! `quorumfence segment create`

use std::time::Duration;

use quorumfence_machine::{Millis, Segment, SegmentId};
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::view::print_change;
use super::super::super::{Failure, Globals, duration};

/// Arguments of `segment create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name.
    segment: SegmentId,
    /// Checks in a row that must fail before a controller votes a host unreachable.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    failure_threshold: u32,
    /// Time between two checks.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    check_interval: Duration,
    /// Do not move instances after a fence.
    #[arg(long)]
    no_evacuation: bool,
    /// A fence that would leave less than this share of the hosts healthy waits for a person.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    minimum_healthy: u8,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let millis = u64::try_from(args.check_interval.as_millis()).expect("durations are limited to ten years");
    let segment = Segment {
        id: args.segment.clone(),
        failure_threshold: args.failure_threshold,
        check_interval: Millis(millis),
        evacuation_enabled: !args.no_evacuation,
        minimum_healthy_percent: args.minimum_healthy,
        ..Segment::default()
    };
    let request = pb::SegmentCreateRequest { mutation: Some(mutation("")), segment: Some(segment.into()) };
    let mut client = globals.client()?;
    let reply =
        client.change(request, |mut client, request| async move { client.segment_create(request).await }).await?;
    print_change(globals.output, reply.at, format!("segment {} created", args.segment))
}
