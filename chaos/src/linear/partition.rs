//! From a history to one small problem for each object, with unknown operations decided where reads decide them.
//!
//! Written values are unique, so a read tells whose value it saw. An unanswered write that was seen took effect before
//! that read ended: it gets an end. One that nobody ever saw could be taken out of every explanation (no read lies
//! between it and the next change), so it is left out. What is left open has no end and need not take effect.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Answer, History, Object, Operation, Step};

/// What happened to one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The first state.
    pub start: u32,
    /// Operations that took effect before their end, by their beginning.
    pub closed: Vec<Op>,
    /// Operations that may take effect at any time after their beginning, or never, by their beginning.
    pub open: Vec<Op>,
    /// What the states are called.
    pub names: Vec<String>,
}

/// One operation between two lines of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Its first line.
    pub begin: usize,
    /// Its last line; none for open ones.
    pub end: usize,
    /// What it is, with its answer.
    pub action: Action,
}

/// An operation with its answer, as the model takes it. Numbers stand for values; 0 is absent or free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// This was read.
    Read(u32),
    /// This was written.
    Write(u32),
    /// Taken if it was free.
    Take(u32),
    /// Freed.
    Free,
    /// It was created.
    Created(u32),
    /// It existed.
    Existed,
    /// It was created if it did not exist.
    MayCreate(u32),
    /// It was issued for so many uses.
    Issued(u32),
    /// It was issued if it was not.
    MayIssue(u32),
    /// It was used.
    Used,
    /// It could not be used.
    NotUsed,
    /// It was used if it could be.
    MayUse,
}

/// Why an object's history is no problem to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// No order can explain it.
    Impossible(String),
    /// A value that two operations write.
    NotUnique(String),
}

struct Call<'a> {
    begin: usize,
    operation: &'a Operation,
    end: Option<(usize, &'a Answer)>,
}

/// Returns each object's problem.
pub fn partition(history: &History) -> BTreeMap<Object, Result<Problem, Flaw>> {
    let mut calls: BTreeMap<u64, (&Object, Call<'_>)> = BTreeMap::new();
    let mut starts: BTreeMap<&Object, Option<&String>> = BTreeMap::new();
    for (position, record) in history.records.iter().enumerate() {
        match &record.step {
            Step::Opens { object, value } => {
                starts.insert(object, value.as_ref());
            }
            Step::Invoke { call, object, operation, .. } => {
                calls.insert(*call, (object, Call { begin: position, operation, end: None }));
            }
            Step::Return { call, answer, .. } => {
                if let Some((_, call)) = calls.get_mut(call) {
                    call.end = Some((position, answer));
                }
            }
            Step::Attempt { .. } | Step::Log { .. } => {}
        }
    }
    let mut objects: BTreeMap<&Object, Vec<Call<'_>>> = BTreeMap::new();
    for (object, call) in calls.into_values() {
        objects.entry(object).or_default().push(call);
    }
    let problems = objects.into_iter().map(|(object, mut calls)| {
        calls.sort_by_key(|call| call.begin);
        (object.clone(), problem(starts.get(object).copied().flatten(), &calls))
    });
    problems.collect()
}

/// The number of every value that nobody ever saw: it does not matter whose it is.
pub const UNSEEN: u32 = 1;

fn problem(start: Option<&String>, calls: &[Call<'_>]) -> Result<Problem, Flaw> {
    let mut values = Values::of(start, calls)?;
    let mut problem = Problem { start: start.map_or(0, |value| values.number(value)), ..Problem::default() };
    for call in calls {
        let Some((end, answer)) = call.end.filter(|(_, answer)| **answer != Answer::Unknown) else {
            if let Some(op) = values.unanswered(call) {
                if op.end == usize::MAX { problem.open.push(op) } else { problem.closed.push(op) }
            }
            continue;
        };
        let action = match (call.operation, answer) {
            (_, Answer::Nothing) | (Operation::Peek, _) => continue,
            (Operation::Read, Answer::Value(None)) => Action::Read(0),
            (Operation::Read, Answer::Value(Some(value))) => Action::Read(values.number(value)),
            (Operation::Write(value), Answer::Done) => Action::Write(values.written(value)),
            (Operation::Take(value), Answer::Done) => Action::Take(values.written(value)),
            (Operation::Free, Answer::Done) => Action::Free,
            (Operation::Create(value), Answer::Done) => Action::Created(values.written(value)),
            (Operation::Create(_), Answer::Refused) => Action::Existed,
            (Operation::Issue(uses), Answer::Done) => Action::Issued(*uses),
            (Operation::Use, Answer::Done) => Action::Used,
            (Operation::Use, Answer::Refused) => Action::NotUsed,
            (operation, answer) => {
                return Err(Flaw::Impossible(format!("'{answer}' is no answer to '{operation}'")));
            }
        };
        problem.closed.push(Op { begin: call.begin, end, action });
    }
    problem.names = values.names();
    Ok(problem)
}

struct Values<'a> {
    numbers: BTreeMap<&'a str, u32>,
    /// Where each value was seen first.
    seen: BTreeMap<&'a str, usize>,
}

impl<'a> Values<'a> {
    fn of(start: Option<&'a String>, calls: &[Call<'a>]) -> Result<Self, Flaw> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for call in calls {
            if let (Operation::Read, Some((end, Answer::Value(Some(value))))) = (call.operation, call.end) {
                let first = seen.entry(value).or_insert(end);
                *first = end.min(*first);
            }
        }
        let mut written: BTreeSet<&str> = BTreeSet::new();
        let mut denied: BTreeSet<&str> = BTreeSet::new();
        let values = calls.iter().filter_map(|call| Some((call, value(call.operation)?)));
        for (call, value) in values {
            if start.is_some_and(|start| start == value) || !written.insert(value) {
                return Err(Flaw::NotUnique(value.into()));
            }
            if matches!(call.end, Some((_, Answer::Nothing | Answer::Refused))) {
                denied.insert(value);
            }
        }
        for value in seen.keys() {
            if denied.contains(value) {
                return Err(Flaw::Impossible(format!(
                    "{value:?} is read, and who wrote it was told that nothing was done"
                )));
            }
            if !written.contains(value) && start.is_none_or(|start| start != value) {
                return Err(Flaw::Impossible(format!("{value:?} is read, and nobody ever wrote it")));
            }
        }
        Ok(Self { numbers: BTreeMap::new(), seen })
    }

    fn number(&mut self, value: &'a str) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX).saturating_add(UNSEEN + 1);
        *self.numbers.entry(value).or_insert(next)
    }

    fn written(&mut self, value: &'a str) -> u32 {
        if self.seen.contains_key(value) { self.number(value) } else { UNSEEN }
    }

    /// Returns what is left of an operation that nobody answered.
    fn unanswered(&mut self, call: &Call<'a>) -> Option<Op> {
        let seen = value(call.operation).and_then(|value| self.seen.get(value.as_str()).copied());
        let action = match call.operation {
            Operation::Read | Operation::Peek => return None,
            Operation::Write(_) | Operation::Take(_) if seen.is_none() => return None,
            Operation::Write(value) => Action::Write(self.number(value)),
            Operation::Take(value) => Action::Take(self.number(value)),
            Operation::Create(value) => Action::MayCreate(self.written(value)),
            Operation::Free => Action::Free,
            Operation::Issue(uses) => Action::MayIssue(*uses),
            Operation::Use => Action::MayUse,
        };
        // One that begins after it was seen keeps its begin: the search finds no place for the read.
        let end = seen.filter(|seen| *seen > call.begin).unwrap_or(usize::MAX);
        Some(Op { begin: call.begin, end, action })
    }

    fn names(&self) -> Vec<String> {
        let mut names = vec!["absent".to_string(), "something that nobody saw".to_string()];
        let mut numbered: Vec<(u32, &str)> = self.numbers.iter().map(|(value, number)| (*number, *value)).collect();
        numbered.sort_unstable();
        names.extend(numbered.into_iter().map(|(_, value)| format!("{value:?}")));
        names
    }
}

fn value(operation: &Operation) -> Option<&String> {
    match operation {
        Operation::Write(value) | Operation::Take(value) | Operation::Create(value) => Some(value),
        Operation::Read | Operation::Peek | Operation::Free | Operation::Issue(_) | Operation::Use => None,
    }
}
