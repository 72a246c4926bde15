//! The verdict from outside the product: from the guests' own lines and the chassis' own record.

use std::time::Instant;

use quorumfence_machine::{Event, HostId, WallMillis};
use serde::Serialize;

use super::hosts::GuestRun;
use super::hosts::judge::two_at_once;
use super::lessons::{Scene, Story};
use super::stage::{Guest, Stage, wall_at};
use super::timeline::seconds;
use crate::cli::{Failure, output};

/// A longer table shows only the guests that ran more than once.
const ROWS_MAX: usize = 20;

/// The start of a machine may be seen this much later than it was.
const SEEN_LATE_MS: u64 = 20;

/// Whether the promises held, and what the guests wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Judgement {
    pub(super) checks: Vec<Check>,
    pub(super) runs: Vec<RunRow>,
}

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) promise: String,
    /// What was seen against it; empty when it held.
    pub(super) broken: Vec<String>,
}

/// One run of one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunRow {
    pub(super) guest: String,
    pub(super) host: HostId,
    pub(super) machine_started_ms: Option<i64>,
    pub(super) first_line_ms: i64,
    pub(super) last_line_ms: i64,
}

impl Judgement {
    /// Returns whether every promise held.
    pub(super) fn held(&self) -> bool {
        self.checks.iter().all(|check| check.broken.is_empty())
    }

    /// Returns the verdict for people.
    pub(super) fn text(&self) -> String {
        let runs_of = |guest: &str| self.runs.iter().filter(|run| run.guest == guest).count();
        let (shown, quiet): (Vec<&RunRow>, Vec<&RunRow>) =
            self.runs.iter().partition(|run| self.runs.len() <= ROWS_MAX || runs_of(&run.guest) > 1);
        let rows = shown.iter().map(|run| {
            vec![
                format!("  {}", run.guest),
                run.host.to_string(),
                run.machine_started_ms.map_or_else(|| "-".into(), seconds),
                seconds(run.first_line_ms),
                seconds(run.last_line_ms),
            ]
        });
        let columns = ["  GUEST", "HOST", "MACHINE STARTED", "FIRST LINE", "LAST LINE"];
        let mut text = output::table(&columns, rows.collect(), "no guest wrote anything");
        if !quiet.is_empty() {
            text += &format!("  and {} guests with one run each\n", quiet.len());
        }
        text.push('\n');
        for check in &self.checks {
            let word = if check.broken.is_empty() { "held" } else { "BROKEN" };
            text += &format!("  {:<5} {:<7} {}\n", check.id, word, check.promise);
            for broken in &check.broken {
                text += &format!("        {broken}\n");
            }
        }
        text
    }
}

/// Judges a run.
pub(super) fn judge<S: Stage>(scene: &Scene<S>, story: &Story) -> Result<Judgement, Failure> {
    let all = scene.stage.runs();
    let runs_of = |guest: &Guest| all.get(&guest.instance).map(Vec::as_slice).unwrap_or_default();
    let guests: Vec<Witness<'_>> =
        scene.stage.guests().iter().map(|guest| Witness { guest, runs: runs_of(guest) }).collect();
    let off = scene.stage.off_at(&scene.victim)?;
    let fences = scene.remote.committed(story.fault);
    let fences = fences.iter().filter(|entry| matches!(entry.event, Event::FenceDecided { .. })).count();
    let victim = &scene.victim;
    let (lost, others): (Vec<_>, Vec<_>) = guests.iter().partition(|witness| witness.guest.home == *victim);
    let mut checks = vec![
        check("S1", "no guest ever ran twice at the same time", guests.iter().filter_map(Witness::twice)),
        check(
            "S2",
            &format!("nothing of {victim} started elsewhere before {victim} was off"),
            lost.iter().flat_map(|witness| witness.early(victim, off, "was off")),
        ),
        check(
            "L2",
            &format!("every protected guest of {victim} runs again"),
            lost.iter().filter_map(|witness| witness.missing(victim)),
        ),
        check(
            "once",
            "one fence, and one start of each guest",
            lost.iter()
                .filter_map(|witness| witness.restarted(victim))
                .chain((fences != 1).then(|| format!("{fences} fences were decided"))),
        ),
        check(
            "rest",
            "guests of the other hosts were not touched",
            others.iter().filter_map(|witness| witness.disturbed()),
        ),
    ];
    if let Some(released) = story.released {
        let early = lost.iter().flat_map(|witness| witness.early(victim, Some(released), "was confirmed dead"));
        checks.push(check("still", "nothing moved before a person vouched", early));
    }
    let rows = guests.iter().flat_map(|witness| witness.runs.iter().map(|run| witness.row(run, story.fault)));
    Ok(Judgement { checks, runs: rows.collect() })
}

fn check(id: &'static str, promise: &str, broken: impl Iterator<Item = String>) -> Check {
    Check { id, promise: promise.into(), broken: broken.collect() }
}

/// One guest, and what it wrote.
struct Witness<'a> {
    guest: &'a Guest,
    runs: &'a [GuestRun],
}

impl Witness<'_> {
    fn twice(&self) -> Option<String> {
        let (one, other) = two_at_once(self.runs)?;
        Some(format!("{} ran on {} and on {} at once", self.guest.name, one.host, other.host))
    }

    fn elsewhere(&self, victim: &HostId) -> impl Iterator<Item = &GuestRun> {
        self.runs.iter().filter(move |run| run.host != *victim)
    }

    fn early(&self, victim: &HostId, limit: Option<WallMillis>, words: &str) -> Vec<String> {
        let is_early = |run: &&GuestRun| limit.is_none_or(|limit| began(run).0 < limit.0 + SEEN_LATE_MS);
        let early = self.elsewhere(victim).filter(is_early);
        early.map(|run| format!("{} started on {} before {victim} {words}", self.guest.name, run.host)).collect()
    }

    fn missing(&self, victim: &HostId) -> Option<String> {
        self.elsewhere(victim).next().is_none().then(|| format!("{} does not run again", self.guest.name))
    }

    fn restarted(&self, victim: &HostId) -> Option<String> {
        let starts = self.elsewhere(victim).count();
        (starts > 1).then(|| format!("{} was started {starts} times", self.guest.name))
    }

    fn disturbed(&self) -> Option<String> {
        (self.runs.len() != 1).then(|| format!("{} ran {} times", self.guest.name, self.runs.len()))
    }

    fn row(&self, run: &GuestRun, fault: WallMillis) -> RunRow {
        let since = |at: Instant| wall_at(at).0.cast_signed() - fault.0.cast_signed();
        RunRow {
            guest: self.guest.name.clone(),
            host: run.host.clone(),
            machine_started_ms: run.qemu_at.map(since),
            first_line_ms: since(run.first_at),
            last_line_ms: since(run.last_at),
        }
    }
}

fn began(run: &GuestRun) -> WallMillis {
    wall_at(run.qemu_at.map_or(run.first_at, |at| at.min(run.first_at)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorumfence_machine::InstanceId;

    use super::*;

    fn host(name: &str) -> HostId {
        name.parse().expect("it is a name")
    }

    /// Builds runs of one guest whose home is host2 from seconds: start, last line.
    fn check(spans: &[(&str, u64, u64)], look: impl Fn(&Witness<'_>, Instant) -> Vec<String>, expected: &[&str]) {
        let began = Instant::now().checked_sub(Duration::from_secs(100)).expect("the machine runs for a while");
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let runs: Vec<GuestRun> = spans
            .iter()
            .enumerate()
            .map(|(number, (name, first, last))| GuestRun {
                host: host(name),
                run: number.to_string(),
                qemu_at: None,
                first_at: at(*first),
                last_at: at(*last),
            })
            .collect();
        let guest = Guest { instance: InstanceId([1; 16]), name: "db".into(), home: host("host2") };
        assert_eq!(look(&Witness { guest: &guest, runs: &runs }, began), expected, "{spans:?}");
    }

    #[test]
    fn a_guest_that_runs_twice_at_once_is_seen() {
        let twice = |witness: &Witness<'_>, _| Vec::from_iter(witness.twice());
        check(&[("host2", 0, 10), ("host1", 12, 20)], twice, &[]);
        check(&[("host2", 0, 10), ("host1", 8, 20)], twice, &["db ran on host2 and on host1 at once"]);
    }

    #[test]
    fn a_start_before_the_host_was_off_is_seen() {
        let early = |witness: &Witness<'_>, began: Instant| {
            let off = wall_at(began + Duration::from_secs(11));
            witness.early(&host("host2"), Some(off), "was off")
        };
        check(&[("host2", 0, 10), ("host1", 12, 20)], early, &[]);
        check(&[("host2", 0, 9), ("host1", 10, 20)], early, &["db started on host1 before host2 was off"]);
        let never_off = |witness: &Witness<'_>, _| witness.early(&host("host2"), None, "was off");
        check(&[("host2", 0, 9), ("host1", 10, 20)], never_off, &["db started on host1 before host2 was off"]);
    }

    #[test]
    fn a_guest_that_is_missing_or_was_started_twice_is_seen() {
        let missing = |witness: &Witness<'_>, _| Vec::from_iter(witness.missing(&host("host2")));
        check(&[("host2", 0, 10), ("host1", 12, 20)], missing, &[]);
        check(&[("host2", 0, 10)], missing, &["db does not run again"]);
        let restarted = |witness: &Witness<'_>, _| Vec::from_iter(witness.restarted(&host("host2")));
        check(&[("host2", 0, 10), ("host1", 12, 20)], restarted, &[]);
        let starts = [("host2", 0, 10), ("host1", 12, 20), ("host3", 21, 30)];
        check(&starts, restarted, &["db was started 2 times"]);
        check(&starts, |witness, _| Vec::from_iter(witness.disturbed()), &["db ran 3 times"]);
    }
}
