//! `quorumfence host show`

use quorumfence_machine::{Fence, HostId, InstanceId, InstanceState, Recovery};
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::super::client::understood;
use super::super::super::output::{self, Printed, table};
use super::super::super::view::fence::{FenceView, fence_table};
use super::super::super::view::host::{HostView, host_facts, vote_table};
use super::super::super::view::instance::{RecoveryView, state};
use super::super::super::view::{carried, dash};
use super::super::super::{Exit, Failure, Globals};

/// Arguments of `host show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host.
    host: HostId,
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    host: HostView,
    current_fence: Option<FenceView>,
    instances: Vec<OwnedView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnedView {
    id: InstanceId,
    name: String,
    state: &'static str,
    ha_enabled: bool,
    recovery: Option<RecoveryView>,
}

impl Printed for Shown {
    const KIND: &'static str = "Host";
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let request = pb::HostRequest { host: args.host.into(), local: args.local };
    let mut client = globals.client()?;
    let reply = client.read(request, |mut client, request| async move { client.host_show(request).await }).await?;
    let fence: Option<Fence> = reply.fence.map(understood).transpose()?;
    let shown = Shown {
        host: HostView::of(carried(reply.host)?)?,
        current_fence: fence.map(FenceView::from),
        instances: reply.instances.into_iter().map(owned).collect::<Result<_, _>>()?,
    };
    output::print(globals.output, &[shown], |shown| shown.iter().map(text).collect())
}

fn owned(row: pb::OwnedInstance) -> Result<OwnedView, Failure> {
    let odd = |error: convert::Error| Failure::of(Exit::Failed, &error);
    let seen: InstanceState = convert::number::<pb::InstanceState, _>(row.state, "state").map_err(odd)?;
    let recovery: Option<Recovery> = row.recovery.map(understood).transpose()?;
    Ok(OwnedView {
        id: InstanceId(convert::uuid(row.id, "id").map_err(odd)?),
        name: row.name,
        state: state(seen),
        ha_enabled: row.ha_enabled,
        recovery: recovery.map(RecoveryView::from),
    })
}

fn text(shown: &Shown) -> String {
    let row = |instance: &OwnedView| {
        vec![
            instance.id.to_string(),
            instance.name.clone(),
            instance.state.to_string(),
            if instance.ha_enabled { "yes" } else { "no" }.to_string(),
            dash(instance.recovery.as_ref().map(RecoveryView::words)),
        ]
    };
    let instances = shown.instances.iter().map(row).collect();
    let mut text = host_facts(&shown.host) + "\n" + &vote_table(&shown.host) + "\n";
    if let Some(fence) = &shown.current_fence {
        text += &(fence_table(std::slice::from_ref(fence)) + "\n");
    }
    text + &table(&["INSTANCE", "NAME", "STATE", "HA", "RECOVERY"], instances, "No instance belongs to this host.")
}
