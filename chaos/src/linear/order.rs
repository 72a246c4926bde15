//! The order of the log: an entry that is written after another was acknowledged stands behind it, and who reads sees
//! at least what was acknowledged before. It holds over all objects at once. What one controller shows without asking
//! a quorum may be old; it never goes back, and never comes from nowhere.

use std::collections::BTreeMap;

use super::history::{Answer, History, Object, Operation, Step};

/// Returns what is broken, in plain words.
pub fn judge(history: &History) -> Vec<String> {
    let mut court = Court::default();
    for record in &history.records {
        match &record.step {
            Step::Opens { object, value } => {
                court.values.entry(object).or_default().extend(value);
            }
            Step::Invoke { call, object, operation, .. } => {
                court.calls.insert(
                    *call,
                    Call {
                        object,
                        operation,
                        floor: court.acknowledged,
                        controller: None,
                        floors: court.shown.clone(),
                    },
                );
                if let Operation::Write(value) | Operation::Take(value) | Operation::Create(value) = operation {
                    court.values.entry(object).or_default().push(value);
                }
            }
            Step::Attempt { call, controller, .. } => {
                if let Some(call) = court.calls.get_mut(call) {
                    call.controller = Some(*controller);
                }
            }
            Step::Return { call, answer, index } => court.returned(*call, answer, *index),
            Step::Log { .. } => {}
        }
    }
    court.broken
}

#[derive(Default)]
struct Court<'a> {
    calls: BTreeMap<u64, Call<'a>>,
    /// The highest entry that any client knows, and the call that told.
    acknowledged: (u64, u64),
    /// The changes by their entries.
    changes: BTreeMap<u64, u64>,
    /// The highest entry that each controller has shown without a quorum.
    shown: BTreeMap<u64, (u64, u64)>,
    /// What was written so far, answered or not.
    values: BTreeMap<&'a Object, Vec<&'a String>>,
    broken: Vec<String>,
}

struct Call<'a> {
    object: &'a Object,
    operation: &'a Operation,
    /// What was known when it began.
    floor: (u64, u64),
    floors: BTreeMap<u64, (u64, u64)>,
    controller: Option<u64>,
}

impl Court<'_> {
    fn returned(&mut self, number: u64, answer: &Answer, index: Option<u64>) {
        let Some(call) = self.calls.remove(&number) else { return };
        if *call.operation == Operation::Peek {
            return self.peeked(number, &call, answer, index);
        }
        let Some(index) = index else { return };
        let (floor, by) = call.floor;
        let is_change = *call.operation != Operation::Read;
        if index < floor || (is_change && index == floor) {
            self.broken.push(format!(
                "call {number} ({} {}) is at log #{index}, and call {by} had been answered with log #{floor} before it began",
                call.operation, call.object
            ));
        }
        if is_change && let Some(other) = self.changes.insert(index, number) {
            self.broken.push(format!("calls {other} and {number} are both at log #{index}"));
        }
        self.acknowledged = self.acknowledged.max((index, number));
    }

    fn peeked(&mut self, number: u64, call: &Call<'_>, answer: &Answer, index: Option<u64>) {
        if let Answer::Value(Some(value)) = answer
            && !self.values.get(call.object).is_some_and(|written| written.contains(&value))
        {
            self.broken.push(format!("call {number} saw {value:?} at {}, which nobody had written", call.object));
        }
        let (Some(index), Some(controller)) = (index, call.controller) else { return };
        if let Some((floor, by)) = call.floors.get(&controller)
            && index < *floor
        {
            self.broken.push(format!(
                "controller-{controller} showed log #{floor} to call {by}, and later only log #{index} to call {number}"
            ));
        }
        let shown = self.shown.entry(controller).or_default();
        *shown = (*shown).max((index, number));
    }
}
