//! `quorumfence explain host`

use quorumfence_machine::HostId;
use quorumfence_proto::pb::explain_request::Subject;

use super::super::super::{Failure, Globals};
use super::explain;

/// Arguments of `explain host`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host.
    host: HostId,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    explain(Subject::Host(args.host.into()), globals).await
}
