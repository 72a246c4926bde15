//! `quorumfence event list`

use std::time::Duration;

use quorumfence_machine::EventRecord;
use quorumfence_proto::pb;
use tokio::time::sleep;

use super::super::super::client::{Client, understood};
use super::super::super::output;
use super::super::super::view::event::EventView;
use super::super::super::{Failure, Globals};

/// Pause before a broken stream is opened again at another controller.
const REOPEN_PAUSE: Duration = Duration::from_millis(300);

/// Arguments of `event list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first event's number; from the oldest that is kept without it.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    from: u64,
    /// Print later events as they happen, until interrupted. With -o json: one document a line.
    #[arg(long)]
    follow: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let mut client = globals.client()?;
    if args.follow {
        return follow(&mut client, args.from, globals).await;
    }
    let request = pb::EventListRequest { from: args.from, follow: false };
    let mut rows = client.read(request, |mut client, request| async move { client.event_list(request).await }).await?;
    let mut events: Vec<EventView> = Vec::new();
    while let Some(row) = rows.message().await? {
        let record: EventRecord = understood(row)?;
        events.push(record.into());
    }
    output::print(globals.output, &events, |events| events.iter().map(EventView::line).collect())
}

/// Prints events until the process is interrupted, or until no controller can be reached.
async fn follow(client: &mut Client, first: u64, globals: &Globals) -> Result<(), Failure> {
    let mut next = first;
    loop {
        let request = pb::EventListRequest { from: next, follow: true };
        let mut rows =
            client.read(request, |mut client, request| async move { client.event_list(request).await }).await?;
        loop {
            match rows.message().await {
                Ok(Some(row)) => {
                    let record: EventRecord = understood(row)?;
                    let event = EventView::from(record);
                    next = event.sequence() + 1;
                    output::print_line(globals.output, &event, EventView::line)?;
                }
                Ok(None) => break,
                Err(status) => {
                    tracing::warn!(reason = status.message(), "the stream of events broke; asking again");
                    break;
                }
            }
        }
        sleep(REOPEN_PAUSE).await;
    }
}
