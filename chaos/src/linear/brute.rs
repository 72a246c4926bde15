//! The same question, answered by trying every order on objects that are told in other words: only for small histories.

use std::collections::BTreeMap;

use super::history::{Answer, History, Object, Operation, Step};

#[derive(Debug, Clone)]
struct Call {
    begin: usize,
    end: usize,
    operation: Operation,
    answer: Answer,
}

/// Whether some order of each object's calls explains every answer.
pub(crate) fn explains(history: &History) -> bool {
    let mut calls: BTreeMap<u64, (Object, Call)> = BTreeMap::new();
    let mut starts: BTreeMap<Object, Option<String>> = BTreeMap::new();
    for (at, record) in history.records.iter().enumerate() {
        match &record.step {
            Step::Opens { object, value } => drop(starts.insert(object.clone(), value.clone())),
            Step::Invoke { call, object, operation, .. } => {
                let made = Call { begin: at, end: usize::MAX, operation: operation.clone(), answer: Answer::Unknown };
                calls.insert(*call, (object.clone(), made));
            }
            Step::Return { call, answer, .. } if *answer != Answer::Unknown => {
                let (_, call) = calls.get_mut(call).unwrap();
                (call.end, call.answer) = (at, answer.clone());
            }
            Step::Return { .. } | Step::Attempt { .. } | Step::Log { .. } => {}
        }
    }
    let mut objects: BTreeMap<Object, Vec<Call>> = BTreeMap::new();
    for (object, call) in calls.into_values().filter(|(_, call)| call.answer != Answer::Nothing) {
        objects.entry(object).or_default().push(call);
    }
    objects.into_iter().all(|(object, calls)| {
        let value = starts.get(&object).cloned().flatten();
        extends(&Thing { value, uses: None }, &calls)
    })
}

#[derive(Debug, Clone)]
struct Thing {
    value: Option<String>,
    uses: Option<u32>,
}

fn extends(thing: &Thing, left: &[Call]) -> bool {
    if left.iter().all(|call| call.answer == Answer::Unknown) {
        return true;
    }
    let may_be_first = |call: &&Call| left.iter().all(|other| other.end > call.begin);
    left.iter().filter(may_be_first).any(|call| {
        let rest: Vec<Call> = left.iter().filter(|other| other.begin != call.begin).cloned().collect();
        let mut after = thing.clone();
        let told = after.does(&call.operation);
        (call.answer == Answer::Unknown || call.answer == told) && extends(&after, &rest)
    })
}

impl Thing {
    fn does(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Read | Operation::Peek => return Answer::Value(self.value.clone()),
            Operation::Write(value) => self.value = Some(value.clone()),
            Operation::Take(value) => drop(self.value.get_or_insert_with(|| value.clone())),
            Operation::Free => self.value = None,
            Operation::Create(_) if self.value.is_some() => return Answer::Refused,
            Operation::Create(value) => self.value = Some(value.clone()),
            Operation::Issue(_) if self.uses.is_some() => return Answer::Refused,
            Operation::Issue(uses) => self.uses = Some(*uses),
            Operation::Use => match self.uses.as_mut().filter(|uses| **uses > 0) {
                Some(uses) => *uses -= 1,
                None => return Answer::Refused,
            },
        }
        Answer::Done
    }
}
