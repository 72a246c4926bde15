//! `quorumfence instance list`

use quorumfence_machine::Instance;
use quorumfence_proto::pb;

use super::super::super::client::understood;
use super::super::super::output;
use super::super::super::view::instance::{InstanceView, instance_table};
use super::super::super::{Failure, Globals};

/// Arguments of `instance list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = pb::ReadRequest { local: args.local };
    let mut client = globals.client()?;
    let mut rows =
        client.read(request, |mut client, request| async move { client.instance_list(request).await }).await?;
    let mut instances: Vec<InstanceView> = Vec::new();
    while let Some(row) = rows.message().await? {
        let instance: Instance = understood(row)?;
        instances.push(instance.into());
    }
    output::print(globals.output, &instances, instance_table)
}
