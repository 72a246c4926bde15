//! Histories of a real object with clients that it answers late or never, and histories with one wrong answer.

use std::collections::BTreeMap;

use quorumfence_machine::Millis;

use super::history::{Answer, History, Object, Operation, Record, Step};
use crate::chance::Chance;

/// How the object behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Register,
    Latch,
    Unique,
    Ticket,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Register, Kind::Latch, Kind::Unique, Kind::Ticket];

/// What is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) clients: u64,
    pub(crate) calls: u64,
    /// Calls of a hundred that are never answered.
    pub(crate) unknown_percent: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Begins,
    Happens,
    Ends,
}

/// Returns what clients of a real object write down.
pub(crate) fn history(shape: Shape, chance: &mut Chance) -> History {
    let mut moments: BTreeMap<(u64, u64, Moment), Operation> = BTreeMap::new();
    for client in 0..shape.clients {
        let mut now = chance.below(50);
        for number in 0..shape.calls / shape.clients {
            let call = number * shape.clients + client;
            let operation = operation(shape, call, chance);
            let happens = now + chance.between(1, 40);
            let ends = happens + chance.between(1, 40);
            moments.insert((now, call, Moment::Begins), operation.clone());
            if chance.percent(shape.unknown_percent) {
                if chance.percent(60) {
                    moments.insert((now + chance.between(1, 400), call, Moment::Happens), operation);
                }
            } else {
                moments.insert((happens, call, Moment::Happens), operation.clone());
                moments.insert((ends, call, Moment::Ends), operation);
            }
            now = ends + chance.between(1, 40);
        }
    }
    told(shape, moments)
}

fn told(shape: Shape, moments: BTreeMap<(u64, u64, Moment), Operation>) -> History {
    let object = Object("it".into());
    let mut thing = Thing::default();
    let mut answers: BTreeMap<u64, Answer> = BTreeMap::new();
    let mut records = Vec::new();
    for ((at, call, moment), operation) in moments {
        let mut line = |step| records.push(Record { at: Millis(at), client: call % shape.clients, step });
        match moment {
            Moment::Begins => line(Step::Invoke { call, object: object.clone(), operation, effect: None }),
            Moment::Happens => drop(answers.insert(call, thing.does(&operation))),
            Moment::Ends => line(Step::Return { call, answer: answers.remove(&call).unwrap(), index: None }),
        }
    }
    History { records }
}

fn operation(shape: Shape, call: u64, chance: &mut Chance) -> Operation {
    let value = format!("v{call}");
    match shape.kind {
        Kind::Register if chance.percent(50) => Operation::Write(value),
        Kind::Latch if chance.percent(30) => Operation::Take(value),
        Kind::Latch if chance.percent(30) => Operation::Free,
        Kind::Unique if chance.percent(60) => Operation::Create(value),
        Kind::Ticket if call == 0 => Operation::Issue(2),
        Kind::Ticket => Operation::Use,
        Kind::Register | Kind::Latch | Kind::Unique => Operation::Read,
    }
}

/// Changes one answer into another that the operation could have; false when there is none to change.
pub(crate) fn corrupt(history: &mut History, chance: &mut Chance) -> bool {
    let mut values = vec![Answer::Value(None), Answer::Value(Some("never".into()))];
    let mut operations: BTreeMap<u64, Operation> = BTreeMap::new();
    let mut told = Vec::new();
    for (line, record) in history.records.iter().enumerate() {
        match &record.step {
            Step::Invoke { call, operation, .. } => {
                if let Operation::Write(value) | Operation::Take(value) | Operation::Create(value) = operation {
                    values.push(Answer::Value(Some(value.clone())));
                }
                operations.insert(*call, operation.clone());
            }
            Step::Return { call, answer, .. } => {
                if matches!(operations[call], Operation::Read | Operation::Create(_) | Operation::Use) {
                    told.push((line, answer.clone()));
                }
            }
            Step::Opens { .. } | Step::Attempt { .. } | Step::Log { .. } => {}
        }
    }
    let Some((line, right)) = chance.pick(&told).cloned() else { return false };
    let wrong = match right {
        Answer::Done => Answer::Refused,
        Answer::Refused => Answer::Done,
        Answer::Value(_) => {
            values.retain(|value| *value != right);
            chance.pick(&values).unwrap().clone()
        }
        Answer::Nothing | Answer::Unknown => return false,
    };
    let Step::Return { answer, .. } = &mut history.records[line].step else { return false };
    *answer = wrong;
    true
}

/// The real object.
#[derive(Debug, Default)]
struct Thing {
    value: Option<String>,
    uses: Option<u32>,
}

impl Thing {
    fn does(&mut self, operation: &Operation) -> Answer {
        let is_free = self.value.is_none();
        let uses = self.uses.unwrap_or(0);
        let refuses = match operation {
            Operation::Create(_) => !is_free,
            Operation::Use => uses == 0,
            Operation::Read | Operation::Peek => return Answer::Value(self.value.clone()),
            Operation::Write(_) | Operation::Take(_) | Operation::Free | Operation::Issue(_) => false,
        };
        if refuses {
            return Answer::Refused;
        }
        match operation {
            Operation::Take(_) if !is_free => {}
            Operation::Write(value) | Operation::Create(value) | Operation::Take(value) => {
                self.value = Some(value.clone())
            }
            Operation::Free => self.value = None,
            Operation::Issue(uses) => self.uses = Some(*uses),
            Operation::Use => self.uses = Some(uses - 1),
            Operation::Read | Operation::Peek => {}
        }
        Answer::Done
    }
}
