//! `quorumfence instance show`

use quorumfence_machine::{Instance, InstanceId};
use quorumfence_proto::pb;

use super::super::super::client::understood;
use super::super::super::output;
use super::super::super::view::instance::{InstanceView, instance_facts};
use super::super::super::{Failure, Globals};

/// Arguments of `instance show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The instance's UUID.
    instance: InstanceId,
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = pb::InstanceRequest { instance: args.instance.0.to_vec(), local: args.local };
    let mut client = globals.client()?;
    let reply = client.read(request, |mut client, request| async move { client.instance_show(request).await }).await?;
    let instance: Instance = understood(reply)?;
    output::print(globals.output, &[InstanceView::from(instance)], |shown| shown.iter().map(instance_facts).collect())
}
