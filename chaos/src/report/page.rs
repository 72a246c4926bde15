//! The page around the drawing.

use std::collections::BTreeMap;

use super::drawing::{self, LEGEND, STATES, draw};
use super::escaped;
use super::style::{CSS, SCRIPT};
use super::timeline::timeline;
use crate::observation::{Observation, Seen};
use crate::verdict::Broken;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// What the run is called.
    pub run: String,
    /// The first broken promise.
    pub broken: Option<Broken>,
    /// How often each promise was put to the test.
    pub judged: BTreeMap<String, u64>,
    /// The command that plays it again.
    pub again: Option<String>,
}

/// Returns the whole page.
pub fn page(summary: &Summary, observations: &[Observation]) -> String {
    let timeline = timeline(observations);
    let chart = draw(&timeline, summary.broken.as_ref());
    let breach = summary.broken.as_ref().map(|broken| line_of(broken, observations));
    let run = escaped(&summary.run);
    let faults = observations.iter().filter(|observation| matches!(observation.seen, Seen::Fault { .. })).count();
    let again = summary
        .again
        .as_ref()
        .map_or_else(String::new, |again| format!("<li>again: <code>{}</code></li>", escaped(again)));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{run}</title><style>{CSS}</style></head><body>\n\
         <h1>Run {run}</h1>\n{}\n\
         <ul class=\"facts soft\"><li>{} long</li><li>{faults} faults</li><li>{} observations</li>{again}</ul>\n{}\n\
         <h2>Timeline</h2>\n{}\n<div class=\"chart\"><div class=\"names\">{}</div><div class=\"scroll\">{}</div></div>\n<div id=\"said\"></div>\n\
         <p class=\"soft\">Point at a mark to read it; click it to find its line in the log.</p>\n\
         <h2>Log</h2>\n<input type=\"checkbox\" id=\"all\"><label for=\"all\"> also clients' calls, and entries that other controllers apply again</label>\n\
         <table>\n{}</table>\n<script>{SCRIPT}</script>\n</body></html>\n",
        verdict(summary, breach),
        timeline.end,
        observations.len(),
        judged(summary),
        legend(),
        chart.names,
        chart.svg,
        rows(observations, breach)
    )
}

/// Returns the line of the last observation that the promise had heard.
fn line_of(broken: &Broken, observations: &[Observation]) -> usize {
    observations.partition_point(|observation| observation.at <= broken.at).saturating_sub(1)
}

fn verdict(summary: &Summary, breach: Option<usize>) -> String {
    match (&summary.broken, breach) {
        (Some(Broken { promise, at, why }), Some(line)) => format!(
            "<div class=\"verdict broken\"><b>{} is broken</b> at <a href=\"#o{line}\">{at}</a>: {}</div>",
            escaped(promise),
            escaped(why)
        ),
        (_, _) => "<div class=\"verdict\">Every promise held.</div>".into(),
    }
}

fn judged(summary: &Summary) -> String {
    if summary.judged.is_empty() {
        return String::new();
    }
    let items = summary.judged.iter().map(|(promise, times)| {
        let asked = if *times == 0 { "not put to the test".into() } else { times.to_string() };
        format!("<li><b>{}</b> {asked}</li>", escaped(promise))
    });
    format!(
        "<details><summary class=\"soft\">How often each promise was put to the test</summary><ul class=\"facts\">{}</ul></details>",
        items.collect::<String>()
    )
}

fn legend() -> String {
    let states = STATES.iter().map(|(state, words)| format!("<span>{}{words}</span>", drawing::piece(*state)));
    let marks = LEGEND.iter().map(|(kind, words)| format!("<span>{}{words}</span>", drawing::sample(*kind)));
    format!("<div class=\"legend\">{}</div>", states.chain(marks).collect::<String>())
}

fn rows(observations: &[Observation], breach: Option<usize>) -> String {
    let mut told = 0;
    let mut rows = String::new();
    for (line, observation) in observations.iter().enumerate() {
        let kind = match &observation.seen {
            Seen::Applied { index, events, .. } => {
                let is_news = index.0 > told && !events.is_empty();
                told = told.max(index.0);
                if is_news { "log-row" } else { "call-row minor" }
            }
            Seen::Called { .. } | Seen::Answered { .. } => "call-row minor",
            Seen::Fault { .. } | Seen::Stopped { .. } => "fault-row",
            Seen::Opened { .. }
            | Seen::PowerOff { .. }
            | Seen::PowerOn { .. }
            | Seen::OffTaken { .. }
            | Seen::Started { .. }
            | Seen::Ended { .. }
            | Seen::OffSent { .. }
            | Seen::Installed { .. }
            | Seen::Running { .. }
            | Seen::Healed
            | Seen::Closed => "log-row",
        };
        // The line of the breach is shown, whatever it is.
        let kind = if breach == Some(line) { "breach-row" } else { kind };
        let words = escaped(&observation.seen.to_string());
        rows += &format!("<tr id=\"o{line}\" class=\"{kind}\"><td>{}</td><td>{words}</td></tr>\n", observation.at);
    }
    rows
}
