//! `quorumfence host confirm-dead`

use quorumfence_machine::HostId;
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::confirm::typed_name;
use super::super::super::view::print_change;
use super::super::super::{Failure, Globals};
use super::wait_until;

/// Arguments of `host confirm-dead`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host. It must be lost, and you must have made sure that it cannot run.
    host: HostId,
    /// Why you are sure; it stands in the history with your name.
    #[arg(long)]
    reason: String,
    /// Wait until the host counts as fenced, at most for --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let meaning = format!(
        "Its instances will start on other hosts. If host {} still runs, they run twice and their disks are destroyed.",
        args.host
    );
    typed_name(globals, args.host.as_str(), &meaning)?;
    let request = pb::HostConfirmDeadRequest { mutation: Some(mutation(&args.reason)), host: args.host.to_string() };
    let mut client = globals.client()?;
    let reply =
        client.change(request, |mut client, request| async move { client.host_confirm_dead(request).await }).await?;
    if args.wait {
        wait_until(&mut client, &args.host, "fenced").await?;
    }
    print_change(
        globals.output,
        reply.at,
        format!("host {} is dead on your word; its instances are recovered", args.host),
    )
}
