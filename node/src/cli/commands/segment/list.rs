//! `quorumfence segment list`

use quorumfence_machine::Segment;
use quorumfence_proto::{convert, pb};

use super::super::super::output;
use super::super::super::view::segment::{SegmentView, segment_table};
use super::super::super::{Exit, Failure, Globals};

/// Arguments of `segment list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = pb::ReadRequest { local: args.local };
    let mut client = globals.client()?;
    let reply = client.read(request, |mut client, request| async move { client.segment_list(request).await }).await?;
    let segments: Vec<Segment> =
        convert::list(reply.segments, "segments").map_err(|error| Failure::of(Exit::Failed, &error))?;
    let segments: Vec<SegmentView> = segments.into_iter().map(SegmentView::from).collect();
    output::print(globals.output, &segments, segment_table)
}
