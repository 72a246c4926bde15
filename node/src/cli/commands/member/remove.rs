//! `quorumfence member remove`

use quorumfence_machine::ControllerId;
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::confirm::typed_name;
use super::super::super::view::print_change;
use super::super::super::{Failure, Globals};

/// Arguments of `member remove`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The controller, such as controller-2 or 2. It must not vote.
    controller: ControllerId,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let meaning = format!(
        "{} hears nothing more and never comes back; its machine can only join again, under a new id.",
        args.controller
    );
    typed_name(globals, &args.controller.to_string(), &meaning)?;
    let request = pb::MemberRequest { mutation: Some(mutation("")), controller: args.controller.0 };
    let mut client = globals.client()?;
    let reply =
        client.change(request, |mut client, request| async move { client.member_remove(request).await }).await?;
    print_change(globals.output, reply.at, format!("{} is out of the cluster", args.controller))
}
