//! Linearizability: whether what concurrent clients were told can be the work of one cluster that does one thing at a
//! time.
//!
//! Clients write down each call when they send it and when it is answered; the order of the lines is the only time that
//! counts. The judges are four, and none knows the product:
//!
//! - [`search`]: for each object some order of its operations explains every answer (Wing and Gong, with Lowe's memory);
//! - [`once`]: a request keeps its first answer, also when it is sent again elsewhere, and has its effect once;
//! - [`order`]: entries of the log grow as time does, and a reader never falls behind what was acknowledged;
//! - every object is decided: a history that is not decided within its budget is a failure of the harness.
//!
//! A call that was not answered is unknown for ever: it may take effect at any later time, or never.

pub mod clients;
pub mod history;
pub mod once;
pub mod order;
pub mod partition;
pub mod search;

#[cfg(test)]
mod brute;
#[cfg(test)]
mod generator;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use self::history::{Answer, History, Object, Step};
use self::search::Decision;

/// What a history showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Objects that were judged.
    pub objects: u64,
    /// Calls that clients made.
    pub calls: u64,
    /// Calls whose fate nobody told.
    pub unknown: u64,
    /// Requests that were sent more than once.
    pub retried: u64,
    /// Steps of the search, over all objects.
    pub steps: u64,
    /// What cannot be explained, in plain words.
    pub broken: Vec<String>,
    /// Objects that were not decided, and why: a failure of the harness.
    pub undecided: Vec<String>,
}

impl Report {
    /// Whether everything was decided, and nothing is broken.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.undecided.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objects, calls, unknown, retried, steps, broken, undecided } = self;
        write!(
            f,
            "{calls} calls on {objects} objects, {unknown} unknown, {retried} sent again; {steps} steps of the search; "
        )?;
        write!(f, "{} broken, {} undecided", broken.len(), undecided.len())?;
        broken.iter().try_for_each(|why| write!(f, "\n  broken: {why}"))?;
        undecided.iter().try_for_each(|why| write!(f, "\n  undecided: {why}"))
    }
}

/// Judges a history. `budget` limits the steps for each object.
pub fn judge(history: &History, budget: u64) -> Report {
    let mut report = count(history);
    for (object, problem) in partition::partition(history) {
        report.objects += 1;
        match problem {
            Err(partition::Flaw::Impossible(why)) => report.broken.push(format!("{object}: {why}")),
            Err(partition::Flaw::NotUnique(value)) => {
                report
                    .undecided
                    .push(format!("{object}: two operations write {value:?}, so a read does not tell whose it is"));
            }
            Ok(problem) => {
                let (decision, steps) = search::decide(&problem, budget);
                report.steps += steps;
                match decision {
                    Decision::Linearizable => {}
                    Decision::Broken(stuck) => {
                        report.broken.push(format!("{object}: {}", told(history, &object, &stuck)))
                    }
                    Decision::Undecided => report.undecided.push(format!("{object}: {budget} steps were not enough")),
                }
            }
        }
    }
    report.broken.extend(once::judge(history));
    report.broken.extend(order::judge(history));
    report
}

fn count(history: &History) -> Report {
    let mut report = Report::default();
    let mut attempts: BTreeMap<u64, u64> = BTreeMap::new();
    for record in &history.records {
        match &record.step {
            Step::Invoke { .. } => {
                report.calls += 1;
                report.unknown += 1;
            }
            Step::Attempt { call, .. } => *attempts.entry(*call).or_default() += 1,
            Step::Return { answer, .. } => report.unknown -= u64::from(*answer != Answer::Unknown),
            Step::Opens { .. } | Step::Log { .. } => {}
        }
    }
    report.retried = attempts.values().map(|attempts| u64::from(*attempts > 1)).sum();
    report
}

/// Operations of an explanation that are told before the one that has no place.
const TOLD: usize = 6;

fn told(history: &History, object: &Object, stuck: &search::Stuck) -> String {
    let line = |position: &usize| history.records.get(*position).map(ToString::to_string).unwrap_or_default();
    let told = stuck.order.len().saturating_sub(TOLD);
    let mut words =
        format!("no order of its operations explains every answer; the longest has {} of them", stuck.order.len());
    for position in &stuck.order[told..] {
        words += &format!("\n    in order:  {}", line(position));
    }
    for position in &stuck.blocked {
        words += &format!("\n    no place:  {}", line(position));
        let answered = history.records[*position..].iter().find(|record| record.answers(&history.records[*position]));
        words += &answered.map_or_else(String::new, |record| format!("\n               {record}"));
    }
    words + &format!("\n    ({object} then is {})", stuck.state)
}
