//! One journal applied entry by entry, and what people read about it.

use std::collections::BTreeMap;
use std::fmt::Write;

use quorumfence_machine::{
    Applied, Cluster, ClusterTime, Command, Decision, Device, LogIndex, Millis, Record, RecordKey, State, View, Work,
    decide,
};

use crate::entry::{Entry, Said};
use crate::kinds::{self, Shown};

/// After so many entries the state is put down as rows and taken up again, as a restart does.
const RESTART_EVERY: usize = 50;

/// What one entry did.
#[derive(Debug)]
pub(crate) struct Block {
    /// What is compared.
    pub(crate) text: String,
    /// The rows that it changed, for people who look for a difference.
    pub(crate) rows: Vec<(RecordKey, Option<Record>)>,
}

/// A state and a copy that only ever gets the rows that changed, as the disk does.
#[derive(Debug, Default)]
struct Play {
    state: State,
    copy: BTreeMap<RecordKey, Record>,
    work: Vec<Work>,
    decision: Decision,
}

/// Applies a journal to an empty state.
pub(crate) fn play(entries: &[Entry], shown: &mut Shown) -> Vec<Block> {
    let mut play = Play::default();
    let mut blocks = Vec::new();
    for (entry, number) in entries.iter().zip(1..) {
        blocks.push(play.apply(entry, shown));
        if number % RESTART_EVERY == 0 {
            play.state = State::from_records(play.copy.clone().into_values());
        }
    }
    let records = play.state.records();
    assert_eq!(records, play.copy.values().cloned().collect::<Vec<_>>(), "the rows that changed are all that changed");
    assert_eq!(State::from_records(records.clone()), play.state, "the rows are the state");
    let text = format!("end: {} rows, digest {}\n", records.len(), play.state.digest());
    blocks.push(Block { text, rows: Vec::new() });
    blocks
}

impl Play {
    fn apply(&mut self, entry: &Entry, shown: &mut Shown) -> Block {
        let before = self.copy.get(&RecordKey::Cluster).cloned();
        let mut text = match &entry.said {
            Said::Command(command) => {
                let applied = self.state.apply(entry.at, command);
                let text = headline(&moment(&self.state, entry.at), command, &applied) + &indented("", &applied.events);
                let report = decide(&self.state, &heard(&self.state), NOW).report;
                shown.take(&command.change, &applied, &report);
                text
            }
            Said::Voters(voters) => {
                let events = self.state.apply_voters(entry.at, voters);
                shown.take_events(&events);
                format!("{} voters\n", moment(&self.state, entry.at)) + &indented("", &events)
            }
        };
        assert_eq!(self.state.check(), [], "{}", entry.at);
        let rows = self.changed(&before);
        for (key, row) in &rows {
            writeln!(text, "    {}", fingerprint(key, row.as_ref())).expect("a text takes all");
        }
        let work = self.state.work();
        if work != self.work {
            text += &if work.is_empty() { "    no work\n".into() } else { indented("work ", work.iter().map(task)) };
            self.work = work;
        }
        let decision = decide(&self.state, &heard(&self.state), NOW);
        if decision != self.decision {
            text += &told(&decision);
            self.decision = decision;
        }
        Block { text, rows }
    }

    /// Takes the rows over that differ; what was written without being changed is nobody's business. Returns those that
    /// no word of the entry tells already: new events are told, and so is the clock.
    fn changed(&mut self, before: &Option<Record>) -> Vec<(RecordKey, Option<Record>)> {
        let mut changed = self.state.take_changes();
        changed.retain(|(key, row)| self.copy.get(key) != row.as_ref());
        for (key, row) in &changed {
            match row {
                Some(row) => self.copy.insert(key.clone(), row.clone()),
                None => self.copy.remove(key),
            };
        }
        changed.retain(|(key, row)| match (key, row) {
            (RecordKey::Event(_), Some(_)) => false,
            (RecordKey::Cluster, row) => timeless(row) != timeless(before),
            (_, _) => true,
        });
        changed
    }
}

/// The cluster's own record without what every entry changes.
fn timeless(row: &Option<Record>) -> Option<Cluster> {
    let Some(Record::Cluster(cluster)) = row else { return None };
    Some(Cluster { clock: ClusterTime::default(), applied: LogIndex::default(), ..cluster.clone() })
}

/// The moment at which a leader looks that hears every agent.
const NOW: Millis = Millis(1_000_000);

fn heard(state: &State) -> View {
    let mut view = View::default();
    for host in state.hosts() {
        if let Some(agent) = &host.agent {
            view.heard(&host.id, agent.boot, NOW, Millis::ZERO);
        }
    }
    view
}

fn moment(state: &State, at: LogIndex) -> String {
    let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
    format!("{at} {}", Millis(clock.0))
}

fn headline(moment: &str, command: &Command, applied: &Applied) -> String {
    let what = format!("{moment} {} of {}", kinds::change(&command.change), command.by);
    match &applied.reply {
        Ok(reply) => format!("{what}: {reply:?}\n"),
        Err(rejected) => format!("{what}: {}, {rejected}\n", kinds::rejection(rejected)),
    }
}

fn told(decision: &Decision) -> String {
    let changes =
        decision.changes.iter().map(|change| serde_json::to_string(change).expect("a change has a JSON form"));
    let reasons = decision.report.hosts.iter();
    let reasons = reasons.flat_map(|(host, reasons)| reasons.iter().map(move |reason| format!("{host}: {reason}")));
    let text = indented("then ", changes) + &indented("waits, ", reasons);
    if text.is_empty() { "    nothing to decide\n".into() } else { text }
}

fn task(work: &Work) -> String {
    match work {
        Work::Fence(work) => {
            let identity = work.identity.map_or("any machine".into(), |identity| identity.to_string());
            let executor = work.executor.map_or(String::new(), |executor| format!(", by {executor}"));
            let devices: Vec<String> = work.devices.iter().map(device).collect();
            format!(
                "fence {}, token {}, level {}, attempt {}, not before {}{executor}, {identity}, {}",
                work.host,
                work.token,
                work.level,
                work.attempt,
                work.not_before.0,
                devices.join(", ")
            )
        }
        Work::Start(work) => format!(
            "start {} on {} in boot {}, token {}, from {:?}",
            work.instance, work.host, work.boot, work.token, work.definition
        ),
        Work::Stop(work) => {
            format!("stop {} on {} in boot {}, token {}", work.instance, work.host, work.boot, work.token)
        }
    }
}

fn device(device: &Device) -> String {
    format!("{:?} at {} as {}", device.driver, device.address, device.user)
}

fn fingerprint(key: &RecordKey, row: Option<&Record>) -> String {
    let row = match row {
        Some(Record::Cluster(_)) => timeless(&row.cloned()).map(Record::Cluster),
        other => other.cloned(),
    };
    let name = match key {
        RecordKey::Cluster => "cluster".into(),
        RecordKey::Controller(id) => id.to_string(),
        RecordKey::JoinToken(id) => format!("join token {id}"),
        RecordKey::Segment(id) => format!("segment {id}"),
        RecordKey::Host(id) => id.to_string(),
        RecordKey::Instance(id) => format!("instance {id}"),
        RecordKey::Fence(token) => format!("fence {token}"),
        RecordKey::Request(id) => format!("request {id}"),
        RecordKey::Event(number) => format!("event {number}"),
    };
    match row {
        Some(row) => format!("{name} = {:.8}", State::from_records([row]).digest().to_string()),
        None => format!("{name} is gone"),
    }
}

fn indented<T: std::fmt::Display>(before: &str, lines: impl IntoIterator<Item = T>) -> String {
    lines.into_iter().map(|line| format!("    {before}{line}\n")).collect()
}
