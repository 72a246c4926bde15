//! `quorumfence host list`

use quorumfence_proto::pb;

use super::super::super::output;
use super::super::super::view::host::{HostView, host_table};
use super::super::super::{Failure, Globals};

/// Arguments of `host list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = pb::ReadRequest { local: args.local };
    let mut client = globals.client()?;
    let reply = client.read(request, |mut client, request| async move { client.host_list(request).await }).await?;
    let hosts: Vec<HostView> = reply.hosts.into_iter().map(HostView::of).collect::<Result<_, _>>()?;
    output::print(globals.output, &hosts, host_table)
}
