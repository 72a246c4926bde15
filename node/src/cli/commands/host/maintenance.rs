//! `quorumfence host maintenance`

use quorumfence_machine::HostId;
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::view::print_change;
use super::super::super::{Failure, Globals};

/// Arguments of `host maintenance`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whether the maintenance begins or ends.
    #[arg(value_enum)]
    switch: Switch,
    /// The host.
    host: HostId,
    /// Why; it stands in the history.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    /// Begin: the host is not fenced and gets no instance.
    On,
    /// End.
    Off,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = pb::HostMaintenanceRequest {
        mutation: Some(mutation(&args.reason)),
        host: args.host.to_string(),
        start: args.switch == Switch::On,
    };
    let mut client = globals.client()?;
    let reply =
        client.change(request, |mut client, request| async move { client.host_maintenance(request).await }).await?;
    let message = match args.switch {
        Switch::On => format!("host {} is in maintenance: it is not fenced and gets no instance", args.host),
        Switch::Off => format!("host {} is out of maintenance", args.host),
    };
    print_change(globals.output, reply.at, message)
}
