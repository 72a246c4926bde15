//! `quorumfence member add`

use quorumfence_machine::ControllerId;
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::view::print_change;
use super::super::super::{Failure, Globals};
use super::promote::{Patience, promote};

/// Arguments of `member add`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The controller, such as controller-2 or 2.
    controller: ControllerId,
    /// Make it a voter as well.
    #[arg(long)]
    promote: bool,
    /// With --promote: wait until its log has caught up, at most for --timeout.
    #[arg(long, requires = "promote")]
    wait: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let mut client = globals.client()?;
    let request = pb::MemberRequest { mutation: Some(mutation("")), controller: args.controller.0 };
    let reply = client.change(request, |mut client, request| async move { client.member_add(request).await }).await?;
    if !args.promote {
        return print_change(globals.output, reply.at, format!("{} follows the log as a learner", args.controller));
    }
    let patience = if args.wait { Patience::Wait } else { Patience::None };
    let reply = promote(&mut client, args.controller, patience).await?;
    print_change(globals.output, reply.at, format!("{} votes", args.controller))
}
