//! `quorumfence host`: the machines that are looked after.

mod confirm_dead;
mod enrol;
mod list;
mod maintenance;
mod show;

use std::time::Duration;

use quorumfence_machine::{HostId, Millis};
use quorumfence_proto::pb;
use tokio::time::{Instant, sleep};

use super::super::client::Client;
use super::super::view::carried;
use super::super::view::host::HostView;
use super::super::{Exit, Failure, Globals};

/// Pause between two looks at a host that is waited for.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Give a host its segment, addresses and fencing devices.
    Enrol(enrol::Args),
    /// List the hosts.
    List(list::Args),
    /// Show all that is known of one host.
    Show(show::Args),
    /// Put a host into maintenance, where it is never fenced, or take it out.
    Maintenance(maintenance::Args),
    /// Vouch that a lost host is dead, so that its instances start elsewhere.
    ConfirmDead(confirm_dead::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Enrol(args) => enrol::run(args, globals).await,
            Self::List(args) => list::run(args, globals).await,
            Self::Show(args) => show::run(args, globals).await,
            Self::Maintenance(args) => maintenance::run(args, globals).await,
            Self::ConfirmDead(args) => confirm_dead::run(args, globals).await,
        }
    }
}

/// Waits until a host is in a state, at most as long as a call may take.
async fn wait_until(client: &mut Client, host: &HostId, wanted: &str) -> Result<(), Failure> {
    let until = Instant::now() + client.limit();
    loop {
        let request = pb::HostRequest { host: host.to_string(), local: false };
        let reply = client.read(request, |mut client, request| async move { client.host_show(request).await }).await?;
        let seen = HostView::of(carried(reply.host)?)?;
        if seen.state == wanted {
            return Ok(());
        }
        if Instant::now() >= until {
            let limit = Millis(u64::try_from(client.limit().as_millis()).expect("durations are limited to ten years"));
            let message = format!("host {host} is not {wanted} within {limit}: it is {}", seen.state);
            return Err(Failure { causes: seen.reasons, ..Failure::new(Exit::TimedOut, message) });
        }
        sleep(LOOK_PAUSE).await;
    }
}
