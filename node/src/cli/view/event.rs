//! Events as the command line shows them.

use quorumfence_machine::{Event, EventRecord, WallMillis};
use serde::Serialize;

use super::super::output::Printed;
use super::instant;

/// One event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct EventView {
    sequence: u64,
    log_index: u64,
    /// The proposer's wall clock, for display; changes of the voters have none.
    wall: Option<String>,
    cluster_clock_ms: u64,
    by: String,
    message: String,
    event: Event,
}

impl Printed for EventView {
    const KIND: &'static str = "Event";
}

impl From<EventRecord> for EventView {
    fn from(record: EventRecord) -> Self {
        Self {
            sequence: record.sequence,
            log_index: record.at.0,
            wall: (record.wall != WallMillis(0)).then(|| instant(record.wall)),
            cluster_clock_ms: record.clock.0,
            by: record.by.to_string(),
            message: record.event.to_string(),
            event: record.event,
        }
    }
}

impl EventView {
    pub(in super::super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the event as one line.
    pub(in super::super) fn line(&self) -> String {
        let wall = self.wall.as_deref().unwrap_or("-");
        format!("{:>6}  {wall:<24}  #{:<6} {:<20} {}\n", self.sequence, self.log_index, self.by, self.message)
    }
}
