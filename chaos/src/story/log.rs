//! The log of a story: what was seen, in the words of an operator.

use std::collections::BTreeMap;

use quorumfence_machine::{Event, HostId, Millis};

use super::Scene;
use crate::observation::{Answer, Observation, Seen};
use crate::verdict::Broken;
use crate::world::sim::asides::Aside;
use crate::world::sim::story::Told;

/// Lines before and after the place where two logs part.
const AROUND: usize = 6;

/// Writes the log.
pub(super) fn write(scene: &Scene, told: &Told, broken: Option<&Broken>) -> String {
    let names = Names::of(&told.history);
    let mut lines = seen(scene, told);
    let heard = told.asides.iter().flat_map(|(at, aside)| said(aside).into_iter().map(|line| (*at, line)));
    lines.extend(heard.filter(|(at, _)| *at >= told.began));
    // Stable: what was told at a moment stands behind what happened.
    lines.sort_by_key(|(at, _)| *at);
    if scene.clients {
        lines.push((told.ended, clients(&told.history)));
    }
    lines.push((told.ended, verdict(told, broken)));
    lines.iter().map(|(at, line)| format!("{}  {}\n", moment(*at, told.began), names.plain(line))).collect()
}

/// Shows where two logs part.
pub(super) fn difference(expect: &str, found: &str) -> String {
    let (expect, found): (Vec<&str>, Vec<&str>) = (expect.lines().collect(), found.lines().collect());
    let part = expect.iter().zip(&found).position(|(a, b)| a != b).unwrap_or(expect.len().min(found.len()));
    let mut shown = format!("the logs part at line {}\n", part + 1);
    let mut show = |mark: &str, lines: &[&str], from: usize, to: usize| {
        for line in lines.iter().take(to).skip(from) {
            shown.push_str(mark);
            shown.push_str(line);
            shown.push('\n');
        }
    };
    show("  ", &expect, part.saturating_sub(AROUND), part);
    show("- ", &expect, part, part + AROUND);
    show("+ ", &found, part, part + AROUND);
    shown
}

fn moment(at: Millis, began: Millis) -> String {
    let (sign, millis) = if at >= began { ("", at.0 - began.0) } else { ("-", began.0 - at.0) };
    format!("{:>8}", format!("{sign}{}.{:03}", millis / 1000, millis % 1000))
}

fn seen(scene: &Scene, told: &Told) -> Vec<(Millis, String)> {
    let mut lines = Vec::new();
    let mut newest = 0;
    for Observation { at, seen } in &told.history {
        let is_told = scene.founding || *at >= told.began;
        match seen {
            Seen::Applied { index, events, .. } => {
                if index.0 <= newest {
                    continue;
                }
                newest = index.0;
                let shown = events.iter().filter(|event| is_told && !is_a_clients(event));
                lines.extend(shown.map(|event| (*at, format!("{index}  {event}"))));
            }
            Seen::Fault { what } => lines.push((*at, format!("> {what}"))),
            // To its BMC or to its outlet.
            Seen::OffSent { controller, host } => {
                lines.push((*at, format!("{controller} sends an off order for {host}")))
            }
            Seen::Opened { .. } | Seen::Called { .. } | Seen::Answered { .. } | Seen::Closed => {}
            Seen::PowerOff { .. }
            | Seen::PowerOn { .. }
            | Seen::OffTaken { .. }
            | Seen::Started { .. }
            | Seen::Ended { .. }
            | Seen::Installed { .. }
            | Seen::Stopped { .. }
            | Seen::Running { .. }
            | Seen::Healed => {
                if is_told {
                    lines.push((*at, seen.to_string()));
                }
            }
        }
    }
    lines
}

/// Clients write by creating segments, which nobody reads here.
fn is_a_clients(event: &Event) -> bool {
    matches!(event, Event::SegmentCreated { segment } if segment.as_str().starts_with("call-"))
}

fn said(aside: &Aside) -> Vec<String> {
    match aside {
        Aside::Leads(id) => vec![format!("{id} leads")],
        Aside::Resigned(id) => vec![format!("{id} does not lead any more")],
        Aside::Explained { host, standing, reasons } => {
            let head = format!("  {host} is {standing}");
            let why = reasons.iter().map(|reason| format!("  because: {reason}"));
            std::iter::once(head).chain(why).collect()
        }
        Aside::NoAnswer => vec!["  nobody leads, and nobody answers".into()],
        Aside::Refused(why) => vec![format!("  the operator is told: {why}")],
    }
}

fn clients(history: &[Observation]) -> String {
    let (mut calls, mut done, mut refused, mut unknown) = (0, 0, 0, 0);
    for observation in history {
        if let Seen::Called { .. } = &observation.seen {
            calls += 1;
        } else if let Seen::Answered { answer, .. } = &observation.seen {
            match answer {
                Answer::Written(_) | Answer::Read(_) => done += 1,
                Answer::Refused(_) => refused += 1,
                Answer::Unknown(_) => unknown += 1,
            }
        }
    }
    format!("clients: {calls} calls, {done} answered, {refused} refused, {unknown} of unknown outcome")
}

fn verdict(told: &Told, broken: Option<&Broken>) -> String {
    match broken {
        Some(broken) => format!("verdict: {} is broken: {}", broken.promise, broken.why),
        None => {
            let judged = told.judged.iter().filter(|(_, times)| **times > 0);
            let judged: Vec<&str> = judged.map(|(promise, _)| *promise).collect();
            format!("verdict: every promise held; put to the test: {}", judged.join(" "))
        }
    }
}

/// Names for what the product calls by a UUID.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(history: &[Observation]) -> Self {
        let mut names = BTreeMap::new();
        let mut boots: BTreeMap<HostId, u32> = BTreeMap::new();
        for observation in history {
            if let Seen::PowerOn { host, boot } = &observation.seen {
                let count = boots.entry(host.clone()).or_insert(1);
                *count += 1;
                names.insert(boot.to_string(), count.to_string());
            }
            let Seen::Applied { events, .. } = &observation.seen else { continue };
            for event in events {
                if let Event::InstanceRegistered { instance, name, .. } = event {
                    names.insert(instance.to_string(), name.clone());
                } else if let Event::HostBooted { boot, .. } | Event::HostAdmitted { boot, .. } = event {
                    names.entry(boot.to_string()).or_insert_with(|| "1".into());
                }
            }
        }
        Self(names)
    }

    fn plain(&self, line: &str) -> String {
        self.0
            .iter()
            .fold(line.to_string(), |line, (uuid, name)| line.replace(&format!(" ({uuid})"), "").replace(uuid, name))
    }
}
