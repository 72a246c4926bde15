//! `quorumfence member promote`

use std::time::Duration;

use quorumfence_machine::ControllerId;
use quorumfence_proto::pb;
use tokio::time::{Instant, sleep};

use super::super::super::client::{Client, mutation};
use super::super::super::view::print_change;
use super::super::super::{Exit, Failure, Globals};

/// Pause between two questions whether the learner has caught up.
const PAUSE: Duration = Duration::from_millis(300);

/// Arguments of `member promote`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The controller, such as controller-2 or 2.
    controller: ControllerId,
    /// Wait until its log has caught up, at most for --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let patience = if args.wait { Patience::Wait } else { Patience::None };
    let reply = promote(&mut globals.client()?, args.controller, patience).await?;
    print_change(globals.output, reply.at, format!("{} votes", args.controller))
}

/// Whether to wait for a learner that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    Wait,
}

/// Makes a learner a voter. One that is behind, or another change under way, is waited for.
pub(super) async fn promote(
    client: &mut Client,
    controller: ControllerId,
    patience: Patience,
) -> Result<pb::MutationReply, Failure> {
    let until = Instant::now() + client.limit();
    let request = pb::MemberRequest { mutation: Some(mutation("")), controller: controller.0 };
    loop {
        let answer = client
            .change(request.clone(), |mut client, request| async move { client.member_promote(request).await })
            .await;
        match answer {
            Ok(reply) => return Ok(reply),
            Err(failure) if failure.exit == Exit::Conflict && patience == Patience::Wait => {
                if Instant::now() >= until {
                    return Err(Failure { exit: Exit::TimedOut, ..failure });
                }
                sleep(PAUSE).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}
