//! What happened when, put together from what the controllers, the hosts' chassis and the guests tell.
//!
//! Everything runs on one machine, so their wall clocks are one clock.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{ControllerId, Destination, Event, HostId, InstanceId, Millis, Outcome, Power, WallMillis};
use serde::Serialize;

use super::hosts::GuestRun;
use super::lessons::{Scene, Story};
use super::remote::Committed;
use super::stage::{Guest, Stage, wall_at};
use crate::cli::Failure;
use crate::controller::{Kind, Moment};

/// Heartbeats before the fault belong to the timeline when they are this young.
const BEFORE: u64 = 3000;

/// Who has a permit acts on it much later than this before the next one is asked for.
const ACTS_WITHIN: u64 = 20;

/// What an entry is about, in the order in which the parts of a recovery follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    LastHeartbeat,
    Fault,
    Demo,
    BmcRead,
    Vote,
    HostLost,
    Decision,
    LeaderKilled,
    Permit,
    OffSent,
    OffAccepted,
    ChassisOff,
    OffRead,
    OffConfirmed,
    AttemptFailed,
    NeedsHuman,
    Fenced,
    StartPlanned,
    StartOrdered,
    QemuStarted,
    StartConfirmed,
    FirstLine,
    Finished,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) wall_ms: u64,
    /// Milliseconds since the fault; negative before it.
    pub(super) since_fault_ms: i64,
    pub(super) step: Step,
    pub(super) who: String,
    pub(super) what: String,
    /// The entry of the replicated log that says so.
    pub(super) log_index: Option<u64>,
    pub(super) guest: Option<String>,
}

impl Entry {
    /// Creates an entry about what the demo itself did.
    pub(super) fn note(at: WallMillis, step: Step, what: &str) -> Self {
        Self {
            wall_ms: at.0,
            since_fault_ms: 0,
            step,
            who: "demo".into(),
            what: what.into(),
            log_index: None,
            guest: None,
        }
    }

    /// Returns the entry as a line for people, with the time since the fault and since the line before.
    fn line(&self, before_ms: u64) -> String {
        let index = self.log_index.map(|index| format!("  log #{index}")).unwrap_or_default();
        let step = format!("+{}", self.wall_ms.saturating_sub(before_ms));
        format!("  {:>9} s  {step:>6} ms  {:<13} {}{index}", seconds(self.since_fault_ms), self.who, self.what)
    }
}

/// Returns the timeline as lines for people.
pub(super) fn lines(entries: &[Entry]) -> String {
    let before = entries.first().into_iter().chain(entries).map(|entry| entry.wall_ms);
    let lines: Vec<String> = entries.iter().zip(before).map(|(entry, before)| entry.line(before)).collect();
    lines.join("\n")
}

/// Returns milliseconds as seconds with their sign.
pub(super) fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { '-' } else { '+' };
    format!("{sign}{}.{:03}", millis.abs() / 1000, millis.abs() % 1000)
}

/// Returns the timeline of a lesson, from the last heartbeats to the end of the recovery.
pub(super) fn of<S: Stage>(scene: &Scene<S>, story: &Story) -> Result<Vec<Entry>, Failure> {
    let names = Names {
        victim: &scene.victim,
        guests: scene.stage.guests().iter().map(|guest| (guest.instance, guest)).collect(),
    };
    let since = WallMillis(story.fault.0.saturating_sub(BEFORE));
    let moments = scene.remote.moments(since);
    let mut entries = story.notes.clone();
    entries.extend(last_heartbeat(&moments, &names, story.fault));
    entries.extend(moments.iter().filter_map(|(id, moment)| names.told(*id, moment)));
    entries.extend(scene.remote.committed(story.fault).iter().filter_map(|entry| names.entered(entry)));
    if let Some(off) = scene.stage.off_at(&scene.victim)? {
        // Two clocks are rounded to milliseconds: the chassis may seem to go off right before the fault.
        let off = off.max(story.fault);
        let what = format!("{} is off: every process on it is gone", scene.victim);
        entries.push(Entry { who: "chassis".into(), ..Entry::note(off, Step::ChassisOff, &what) });
    }
    for (instance, runs) in scene.stage.runs() {
        let elsewhere = runs.iter().filter(|run| run.host != scene.victim);
        entries.extend(elsewhere.flat_map(|run| names.ran(instance, run, scene.stage.first_line())));
    }
    causes_come_first(&mut entries);
    for entry in &mut entries {
        let (at, fault) = (entry.wall_ms.cast_signed(), story.fault.0.cast_signed());
        entry.since_fault_ms = at - fault;
    }
    entries.retain(|entry| entry.since_fault_ms >= 0 || entry.step == Step::LastHeartbeat);
    sort(&mut entries);
    Ok(entries)
}

/// Within a millisecond, the parts of a recovery stand in the order in which they follow each other.
fn sort(entries: &mut [Entry]) {
    entries.sort_by_key(|entry| (entry.wall_ms, entry.step, entry.log_index));
}

/// An entry of the log is noted by whoever sees it first, which may be right after somebody acted on it. It cannot have
/// been committed later than an entry behind it, or than what rests on it.
fn causes_come_first(entries: &mut [Entry]) {
    for at in 0..entries.len() {
        let entry = &entries[at];
        let Some(index) = entry.log_index else { continue };
        let rests_on = |later: &&Entry| {
            let is_its_start = entry.step == Step::StartPlanned && later.step == Step::StartOrdered;
            let is_its_act = entry.step == Step::Permit && matches!(later.step, Step::OffSent | Step::OffRead);
            is_its_start && later.guest == entry.guest
                || is_its_act && later.wall_ms + ACTS_WITHIN > entry.wall_ms
                || later.log_index.is_some_and(|later| later > index)
        };
        let first = entries.iter().filter(rests_on).map(|later| later.wall_ms).min();
        entries[at].wall_ms = entry.wall_ms.min(first.unwrap_or(u64::MAX));
    }
}

fn last_heartbeat(moments: &[(ControllerId, Moment)], names: &Names<'_>, fault: WallMillis) -> Option<Entry> {
    let heard: Vec<&(ControllerId, Moment)> = moments
        .iter()
        .filter(|(_, moment)| moment.host == *names.victim && moment.kind == Kind::LastHeartbeat)
        .collect();
    let by: BTreeSet<ControllerId> = heard.iter().map(|(id, _)| *id).collect();
    let last = heard.iter().map(|(_, moment)| moment.wall).max()?;
    let what = format!("last heartbeat of {}, heard by {} controllers", names.victim, by.len());
    // One that was under way when the fault began is the last one before it.
    let at = last.min(WallMillis(fault.0.max(last.0)));
    Some(Entry { who: "controllers".into(), ..Entry::note(at, Step::LastHeartbeat, &what) })
}

/// Names for people.
struct Names<'a> {
    victim: &'a HostId,
    guests: BTreeMap<InstanceId, &'a Guest>,
}

impl Names<'_> {
    fn guest(&self, instance: &InstanceId) -> String {
        self.guests.get(instance).map_or_else(|| instance.to_string(), |guest| guest.name.clone())
    }

    /// Returns the entry of a moment that only one controller saw; committed entries come from the log.
    fn told(&self, id: ControllerId, moment: &Moment) -> Option<Entry> {
        if moment.host != *self.victim {
            return None;
        }
        let entry = |step, what: String| Some(Entry { who: id.to_string(), ..Entry::note(moment.wall, step, &what) });
        match &moment.kind {
            Kind::BmcRead(outcome) => {
                let words = match outcome {
                    Outcome::Observed(Power::Off) => "off, in two sessions".to_string(),
                    Outcome::Observed(Power::On) => "on".to_string(),
                    Outcome::Refused(refusal) => format!("nothing, it refused: {refusal}"),
                    Outcome::Unknown(doubt) => format!("nothing: {doubt}"),
                };
                entry(Step::BmcRead, format!("reads at the BMC: {words}"))
            }
            Kind::OffSent { device, .. } => entry(Step::OffSent, format!("sends off to the BMC {device}")),
            Kind::OffAccepted { .. } => {
                entry(Step::OffAccepted, "the BMC accepts the order, which proves nothing".into())
            }
            Kind::OffRead { .. } => entry(Step::OffRead, "reads off, first session".into()),
            Kind::OffConfirmed { .. } => entry(Step::OffConfirmed, "reads off, second session".into()),
            Kind::StartOrdered { instance, to, .. } => {
                let guest = self.guest(instance);
                let what = format!("orders {to} to start {guest}");
                entry(Step::StartOrdered, what).map(|entry| Entry { guest: Some(guest), ..entry })
            }
            Kind::LastHeartbeat
            | Kind::BmcAsked
            | Kind::Voted(_)
            | Kind::Committed { .. }
            | Kind::StartAnswered { .. } => None,
        }
    }

    /// Returns the entry of a committed event, if it belongs to this recovery.
    fn entered(&self, committed: &Committed) -> Option<Entry> {
        let event = &committed.event;
        let (about, step) = match event {
            Event::VoteCast { host, verdict, .. } if verdict.condemns() => (host, Step::Vote),
            Event::HostLost { host, .. } => (host, Step::HostLost),
            Event::FenceDecided { host, .. } => (host, Step::Decision),
            Event::PermitGranted { host, .. } => (host, Step::Permit),
            Event::FenceAttemptFailed { host, .. } => (host, Step::AttemptFailed),
            Event::FenceNeedsHuman { host, .. } => (host, Step::NeedsHuman),
            Event::HostFenced { host, .. } => (host, Step::Fenced),
            Event::RecoveryPlanned { from, .. } => (from, Step::StartPlanned),
            Event::InstanceStarted { instance, .. } => (&self.guests.get(instance)?.home, Step::StartConfirmed),
            Event::RecoveryFinished { host, .. } => (host, Step::Finished),
            Event::VoteCast { .. }
            | Event::ClusterCreated { .. }
            | Event::SettingsChanged { .. }
            | Event::Armed { .. }
            | Event::Disarmed { .. }
            | Event::JoinTokenCreated { .. }
            | Event::ControllerJoined { .. }
            | Event::VotersChanged { .. }
            | Event::AgentJoined { .. }
            | Event::SegmentCreated { .. }
            | Event::HostEnrolled { .. }
            | Event::MaintenanceStarted { .. }
            | Event::MaintenanceEnded { .. }
            | Event::HostBooted { .. }
            | Event::HostAdmitted { .. }
            | Event::HostRegained { .. }
            | Event::HostRebooted { .. }
            | Event::StormBrakeClosed { .. }
            | Event::InstanceRegistered { .. }
            | Event::InstanceMoved { .. }
            | Event::InstanceStray { .. }
            | Event::StartRefused { .. } => return None,
        };
        if about != self.victim {
            return None;
        }
        let (who, what, guest) = self.words(event);
        let log_index = Some(committed.at.0);
        Some(Entry { who, log_index, guest, ..Entry::note(committed.wall, step, &what) })
    }

    /// Returns who says what about which guest.
    fn words(&self, event: &Event) -> (String, String, Option<String>) {
        if let Event::VoteCast { controller, host, verdict } = event {
            return (controller.to_string(), format!("votes: {host} {verdict}"), None);
        }
        let log = "log".to_string();
        if let Event::RecoveryPlanned { instance, to, .. } = event {
            let guest = self.guest(instance);
            let what = match to {
                Destination::Host { host, .. } => format!("{guest} is assigned to {host}"),
                Destination::Parked(why) => format!("{guest} is parked: {why}"),
            };
            return (log, what, Some(guest));
        }
        if let Event::InstanceStarted { instance, host, .. } = event {
            let guest = self.guest(instance);
            return (log, format!("{guest} runs on {host}, says its agent"), Some(guest));
        }
        (log, event.to_string(), None)
    }

    fn ran(&self, instance: InstanceId, run: &GuestRun, first_line: &str) -> Vec<Entry> {
        let Some(guest) = self.guests.get(&instance).filter(|guest| guest.home == *self.victim) else {
            return Vec::new();
        };
        let entry = |at, step, what: String| Entry {
            who: run.host.to_string(),
            guest: Some(guest.name.clone()),
            ..Entry::note(wall_at(at), step, &what)
        };
        let started =
            run.qemu_at.map(|at| entry(at, Step::QemuStarted, format!("the machine of {} starts", guest.name)));
        let first = entry(run.first_at, Step::FirstLine, format!("{first_line} {}", guest.name));
        started.into_iter().chain([first]).collect()
    }
}

/// Figures of one run, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    /// From the fault to the start of the last guest's machine elsewhere.
    pub(super) fault_to_start_ms: Option<i64>,
    /// From the fault to the last guest's first console line.
    pub(super) fault_to_first_line_ms: Option<i64>,
    /// From the deciding vote to off on the wire; absent where the host was found off or off was ordered after a wait.
    pub(super) vote_to_order_ms: Option<u64>,
    /// From the deciding vote to the permit.
    pub(super) vote_to_permit_ms: Option<u64>,
    /// From the proof to the last start order.
    pub(super) proof_to_start_ms: Option<u64>,
    /// What the product adds in all.
    pub(super) added_ms: Option<u64>,
    /// From the leader's death to the next commit.
    pub(super) leader_death_to_commit_ms: Option<u64>,
}

impl Figures {
    /// Measures a run.
    pub(super) fn of<S: Stage>(scene: &Scene<S>, story: &Story, entries: &[Entry]) -> Self {
        let last = |step| entries.iter().filter(|entry| entry.step == step).map(|entry| entry.since_fault_ms).max();
        let first = |step| entries.iter().find(|entry| entry.step == step).map(|entry| entry.wall_ms);
        let moments = scene.remote.moments(story.fault);
        let mut vote_to_order: Option<Millis> = None;
        let mut proof_to_start: Option<Millis> = None;
        for (_, moment) in moments.iter().filter(|(_, moment)| moment.host == scene.victim) {
            match &moment.kind {
                Kind::OffSent { since_lost, .. } => vote_to_order = vote_to_order.or(*since_lost),
                Kind::StartOrdered { since_proof, .. } => proof_to_start = proof_to_start.max(*since_proof),
                Kind::LastHeartbeat
                | Kind::BmcAsked
                | Kind::BmcRead(_)
                | Kind::Voted(_)
                | Kind::Committed { .. }
                | Kind::OffAccepted { .. }
                | Kind::OffRead { .. }
                | Kind::OffConfirmed { .. }
                | Kind::StartAnswered { .. } => {}
            }
        }
        let vote_to_permit = match (first(Step::HostLost), first(Step::Permit)) {
            (Some(lost), Some(permit)) => permit.checked_sub(lost),
            (None, _) | (_, None) => None,
        };
        let vote_to_order = vote_to_order.map(|time| time.0);
        let proof_to_start = proof_to_start.map(|time| time.0);
        // A dead leader or a dead BMC is waited for between the vote and the order: that is not the product's time.
        let is_disturbed = story.next_commit_ms.is_some() || story.released.is_some();
        let killed = first(Step::LeaderKilled).unwrap_or(u64::MAX);
        let vote_to_permit = vote_to_permit.filter(|_| first(Step::Permit).is_some_and(|permit| permit <= killed));
        let before = if is_disturbed { vote_to_permit } else { vote_to_order.or(vote_to_permit) };
        Self {
            fault_to_start_ms: last(Step::QemuStarted),
            fault_to_first_line_ms: last(Step::FirstLine),
            vote_to_order_ms: if is_disturbed { None } else { vote_to_order },
            vote_to_permit_ms: vote_to_permit,
            proof_to_start_ms: proof_to_start,
            added_ms: before.zip(proof_to_start).map(|(before, after)| before + after),
            leader_death_to_commit_ms: story.next_commit_ms,
        }
    }

    /// Returns the figures as lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let ms = |time: Option<String>| time.map_or_else(|| "-".into(), |time| format!("{time} ms"));
        let mut lines = Vec::new();
        if let Some(time) = self.fault_to_start_ms {
            lines.push(("fault -> last guest's machine starts elsewhere", format!("{time} ms")));
        }
        let first_line = self.fault_to_first_line_ms.map(|time| time.to_string());
        lines.push(("fault -> last guest runs elsewhere, by its own word", ms(first_line)));
        match self.vote_to_order_ms {
            Some(time) => lines.push(("added: deciding vote -> off on the wire", format!("{time} ms"))),
            None => lines.push((
                "added: deciding vote -> permit (no order to time)",
                ms(self.vote_to_permit_ms.map(|time| time.to_string())),
            )),
        }
        lines.push(("added: proof -> last start order", ms(self.proof_to_start_ms.map(|time| time.to_string()))));
        lines.push(("added in all (goal: at most 300 ms)", ms(self.added_ms.map(|time| time.to_string()))));
        if let Some(time) = self.leader_death_to_commit_ms {
            lines.push(("leader's death -> next commit", format!("{time} ms")));
        }
        lines.into_iter().map(|(name, value)| format!("  {name:<52} {value:>10}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(wall_ms: u64, step: Step, log_index: Option<u64>) -> Entry {
        Entry { log_index, ..Entry::note(WallMillis(wall_ms), step, "something") }
    }

    #[test]
    fn an_entry_of_the_log_is_not_later_than_what_rests_on_it() {
        let of = |guest: &str, entry: Entry| Entry { guest: Some(guest.into()), ..entry };
        let mut entries = vec![
            entry(100, Step::Decision, Some(1)),
            entry(107, Step::Permit, Some(2)),
            entry(105, Step::OffSent, None),
            entry(120, Step::Fenced, Some(3)),
            of("a", entry(125, Step::StartPlanned, Some(4))),
            of("b", entry(125, Step::StartPlanned, Some(4))),
            of("a", entry(122, Step::StartOrdered, None)),
            of("b", entry(130, Step::StartOrdered, None)),
        ];
        causes_come_first(&mut entries);
        let walls: Vec<u64> = entries.iter().map(|entry| entry.wall_ms).collect();
        assert_eq!(walls, [100, 105, 105, 120, 122, 125, 122, 130]);
    }

    #[test]
    fn the_decision_stands_before_the_kill_that_waited_for_it() {
        let mut entries = [entry(742, Step::LeaderKilled, None), entry(742, Step::Decision, Some(41))];
        sort(&mut entries);
        assert_eq!(entries.map(|entry| entry.step), [Step::Decision, Step::LeaderKilled]);
    }

    #[test]
    fn lines_tell_the_time_since_the_fault_and_since_the_line_before() {
        let at = |since_fault_ms, entry: Entry| Entry { since_fault_ms, ..entry };
        let entries = [at(-87, entry(1000, Step::LastHeartbeat, None)), at(1204, entry(2291, Step::Decision, Some(7)))];
        assert_eq!(
            lines(&entries),
            "     -0.087 s      +0 ms  demo          something\n     +1.204 s   +1291 ms  demo          something  log #7"
        );
    }
}
