//! `quorumfence settings show`

use quorumfence_machine::{Cluster, Settings};
use quorumfence_proto::pb;

use super::super::super::client::{Client, understood};
use super::super::super::output;
use super::super::super::view::carried;
use super::super::super::view::settings::{SettingsView, settings_facts};
use super::super::super::{Failure, Globals};

/// Arguments of `settings show`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(_args: Args, globals: &Globals) -> Result<(), Failure> {
    let settings = in_force(&mut globals.client()?).await?;
    output::print(globals.output, &[SettingsView::from(settings)], |shown| shown.iter().map(settings_facts).collect())
}

/// Returns the settings that the log holds.
pub(super) async fn in_force(client: &mut Client) -> Result<Settings, Failure> {
    let request = pb::ReadRequest { local: false };
    let reply = client.read(request, |mut client, request| async move { client.status(request).await }).await?;
    let cluster: Cluster = understood(carried(reply.cluster)?)?;
    Ok(cluster.settings)
}
