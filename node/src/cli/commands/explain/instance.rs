//! `quorumfence explain instance`

use quorumfence_machine::InstanceId;
use quorumfence_proto::pb::explain_request::Subject;

use super::super::super::{Failure, Globals};
use super::explain;

/// Arguments of `explain instance`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The instance's UUID.
    instance: InstanceId,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    explain(Subject::Instance(args.instance.0.to_vec()), globals).await
}
