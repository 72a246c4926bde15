//! What the command line shows of the cluster: the stable shapes of its documents.
//!
//! Names and meanings here are a promise to scripts. They are written by hand rather than derived from the machine's
//! types, so that a change inside does not show.

pub(super) mod event;
pub(super) mod fence;
pub(super) mod host;
pub(super) mod instance;
pub(super) mod member;
pub(super) mod segment;
pub(super) mod settings;

use quorumfence_machine::{LogIndex, WallMillis};
use serde::Serialize;

use super::output::{self, Format, Printed};
use super::{Exit, Failure};

/// A change that was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// The log entry that made it.
    pub(super) log_index: u64,
    /// What it did.
    pub(super) message: String,
}

impl Printed for Change {
    const KIND: &'static str = "Change";
}

/// Prints that a change was made.
pub(super) fn print_change(format: Format, at: u64, message: impl Into<String>) -> Result<(), Failure> {
    let change = Change { log_index: at, message: message.into() };
    output::print(format, &[change], |changes| {
        changes.iter().map(|change| format!("{} (log {})\n", change.message, LogIndex(change.log_index))).collect()
    })
}

/// Returns what a message must carry; a controller of another version may leave it out.
pub(super) fn carried<T>(part: Option<T>) -> Result<T, Failure> {
    part.ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "the controller's answer lacks a part; use the command line of the controllers' version",
        )
    })
}

/// Returns a wall clock's moment as ISO 8601 in UTC.
pub(super) fn instant(wall: WallMillis) -> String {
    let (seconds, millis) = (wall.0 / 1000, wall.0 % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date: Howard Hinnant's civil_from_days, with the year beginning in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{millis:03}Z", second % 60)
}

/// Returns an age for people.
pub(super) fn age(millis: Option<u64>) -> String {
    millis.map_or_else(|| "-".into(), |millis| quorumfence_machine::Millis(millis).to_string())
}

/// Returns a text or a dash.
pub(super) fn dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".into(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc() {
        let check = |millis: u64, expect: &str| assert_eq!(instant(WallMillis(millis)), expect);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_763_703_001_234, "2025-11-21T05:30:01.234Z");
        check(4_102_444_800_000, "2100-01-01T00:00:00.000Z");
    }
}
