//! `quorumfence status`

use quorumfence_machine::{Cluster, ControllerId, Fence};
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::client::understood;
use super::super::output::{self, Printed, facts};
use super::super::view::dash;
use super::super::view::fence::{FenceView, fence_table};
use super::super::view::member::{MemberView, member_table};
use super::super::view::settings::SettingsView;
use super::super::{Exit, Failure, Globals};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    cluster: String,
    cluster_id: String,
    armed: bool,
    armed_reason: String,
    storm_brake_closed: bool,
    laboratory: bool,
    answered_by: u64,
    leader: Option<u64>,
    term: u64,
    applied: u64,
    digest: String,
    version: String,
    members: Vec<MemberView>,
    members_changing: bool,
    hosts: HostsView,
    instances: u32,
    parked: u32,
    fences: Vec<FenceView>,
    settings: SettingsView,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostsView {
    new: u32,
    up: u32,
    lost: u32,
    fencing: u32,
    fenced: u32,
    maintenance: u32,
}

impl Printed for StatusView {
    const KIND: &'static str = "Status";
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let mut client = globals.client()?;
    let request = pb::ReadRequest { local: args.local };
    let reply = client.read(request, |mut client, request| async move { client.status(request).await }).await?;
    let peers: Vec<pb::Peer> = reply.members.iter().filter_map(|member| member.peer.clone()).collect();
    client.learn(&peers);
    output::print(globals.output, &[view(reply)?], |status| status.iter().map(text).collect())
}

fn view(reply: pb::StatusReply) -> Result<StatusView, Failure> {
    let cluster = reply.cluster.ok_or_else(|| {
        let message =
            "the cluster does not exist yet: its first controller has not finished its first start; try again";
        Failure::new(Exit::Failed, message)
    })?;
    let cluster: Cluster = understood(cluster)?;
    let fences: Vec<Fence> =
        convert::list(reply.fences, "fences").map_err(|error| Failure::of(Exit::Failed, &error))?;
    let hosts = reply.hosts.unwrap_or_default();
    Ok(StatusView {
        cluster: cluster.name,
        cluster_id: cluster.id.to_string(),
        armed: cluster.armed,
        armed_reason: cluster.armed_reason,
        storm_brake_closed: cluster.storm.is_some(),
        laboratory: reply.laboratory,
        answered_by: reply.controller,
        leader: reply.leader.map(|leader| leader.id),
        term: reply.term,
        applied: reply.applied,
        digest: reply.digest,
        version: reply.version,
        members: reply.members.into_iter().map(MemberView::from).collect(),
        members_changing: reply.members_changing,
        hosts: HostsView {
            new: hosts.new,
            up: hosts.up,
            lost: hosts.lost,
            fencing: hosts.fencing,
            fenced: hosts.fenced,
            maintenance: hosts.maintenance,
        },
        instances: reply.instances,
        parked: reply.parked,
        fences: fences.into_iter().map(FenceView::from).collect(),
        settings: cluster.settings.into(),
    })
}

fn text(status: &StatusView) -> String {
    let armed = if status.armed { "armed" } else { "DISARMED: it watches and fences nothing" };
    let reason = if status.armed_reason.is_empty() { String::new() } else { format!(" ({})", status.armed_reason) };
    let hosts = &status.hosts;
    let mut lines = vec![
        ("cluster", status.cluster.clone()),
        ("fencing", format!("{armed}{reason}")),
        ("leader", dash(status.leader.map(ControllerId))),
        ("log", format!("#{} applied at {}, term {}", status.applied, ControllerId(status.answered_by), status.term)),
        (
            "hosts",
            format!(
                "{} up, {} new, {} lost, {} fencing, {} fenced; {} in maintenance",
                hosts.up, hosts.new, hosts.lost, hosts.fencing, hosts.fenced, hosts.maintenance
            ),
        ),
        ("instances", format!("{}, {} parked", status.instances, status.parked)),
        ("version", status.version.clone()),
    ];
    if status.storm_brake_closed {
        lines.insert(2, ("storm brake", "CLOSED: too many fences; 'quorumfence arm' opens it".into()));
    }
    if status.members_changing {
        let what = "CHANGING: until that ends, decisions need a majority of the old voters besides one of the new";
        lines.push(("members", what.into()));
    }
    if status.laboratory {
        lines.insert(
            0,
            ("laboratory", "YES: controllers may be held at any step, and simulated hosts are let in".into()),
        );
    }
    let mut text = facts(&lines) + "\n" + &member_table(&status.members);
    if !status.fences.is_empty() {
        text += &("\n".to_string() + &fence_table(&status.fences));
    }
    text
}
