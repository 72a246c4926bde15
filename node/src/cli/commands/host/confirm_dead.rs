//! `quorumfence host confirm-dead`

use std::time::Duration;

use quorumfence_machine::HostId;
use quorumfence_proto::pb;

use super::super::super::client::{Client, mutation};
use super::super::super::confirm::{somebody_is_there, typed_name};
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

/// A word is about the host as it is when the person speaks, so it does not wait long for a controller that can tell.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Returns the boot that the host reported last. When it comes up in another one before the word arrives, the word is refused.
async fn look(client: &mut Client, host: &HostId) -> Result<Option<Vec<u8>>, Failure> {
    let limit = client.limit();
    client.set_limit(limit.min(LOOK_LIMIT));
    let request = pb::HostRequest { host: host.to_string(), local: false };
    let reply = client.read(request, |mut client, request| async move { client.host_show(request).await }).await;
    client.set_limit(limit);
    let agent = reply?.host.and_then(|report| report.host).and_then(|host| host.agent);
    Ok(agent.map(|agent| agent.boot))
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let meaning = format!(
        "Its instances will start on other hosts. If host {} still runs, they run twice and their disks are destroyed.",
        args.host
    );
    somebody_is_there(globals, &meaning)?;
    let mut client = globals.client()?;
    let boot = look(&mut client, &args.host).await?;
    typed_name(globals, args.host.as_str(), &meaning)?;
    let mutation = Some(mutation(&args.reason));
    let request = pb::HostConfirmDeadRequest { mutation, host: args.host.to_string(), boot };
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
