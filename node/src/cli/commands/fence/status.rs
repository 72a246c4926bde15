//! `quorumfence fence status`

use quorumfence_machine::{Fence, HostId};
use quorumfence_proto::{convert, pb};

use super::super::super::output;
use super::super::super::view::fence::{FenceView, fence_table};
use super::super::super::{Exit, Failure, Globals};

/// Arguments of `fence status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host; all hosts without it.
    host: Option<HostId>,
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = pb::FenceStatusRequest { host: args.host.map(String::from), local: args.local };
    let mut client = globals.client()?;
    let reply = client.read(request, |mut client, request| async move { client.fence_status(request).await }).await?;
    let fences: Vec<Fence> =
        convert::list(reply.fences, "fences").map_err(|error| Failure::of(Exit::Failed, &error))?;
    let fences: Vec<FenceView> = fences.into_iter().map(FenceView::from).collect();
    output::print(globals.output, &fences, fence_table)
}
