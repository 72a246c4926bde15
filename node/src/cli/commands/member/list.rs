//! `quorumfence member list`

use quorumfence_proto::pb;

use super::super::super::output;
use super::super::super::view::member::{MemberView, member_table};
use super::super::super::{Failure, Globals};

/// Arguments of `member list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask one controller for what it has, without a quorum; it may be old.
    #[arg(long)]
    local: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let mut client = globals.client()?;
    let request = pb::ReadRequest { local: args.local };
    let reply = client.read(request, |mut client, request| async move { client.member_list(request).await }).await?;
    let peers: Vec<pb::Peer> = reply.members.iter().filter_map(|member| member.peer.clone()).collect();
    client.learn(&peers);
    let members: Vec<MemberView> = reply.members.into_iter().map(MemberView::from).collect();
    output::print(globals.output, &members, member_table)
}
