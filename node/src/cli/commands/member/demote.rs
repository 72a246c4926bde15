//! `quorumfence member demote`

use quorumfence_machine::ControllerId;
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::confirm::typed_name;
use super::super::super::view::print_change;
use super::super::super::{Failure, Globals};

/// Arguments of `member demote`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The controller, such as controller-2 or 2.
    controller: ControllerId,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let meaning = format!("{} loses its vote, and the cluster bears fewer failures.", args.controller);
    typed_name(globals, &args.controller.to_string(), &meaning)?;
    let request = pb::MemberRequest { mutation: Some(mutation("")), controller: args.controller.0 };
    let mut client = globals.client()?;
    let reply =
        client.change(request, |mut client, request| async move { client.member_demote(request).await }).await?;
    print_change(globals.output, reply.at, format!("{} follows the log as a learner", args.controller))
}
