//! `quorumfence disarm`

use super::super::client::mutation;
use super::super::view::print_change;
use super::super::{Failure, Globals};

/// Arguments of `disarm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Why; it stands in the history with your name.
    #[arg(long)]
    reason: String,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = mutation(&args.reason);
    let mut client = globals.client()?;
    let reply = client.change(request, |mut client, request| async move { client.disarm(request).await }).await?;
    print_change(globals.output, reply.at, "the cluster starts no new fence; those that are decided are carried out")
}
