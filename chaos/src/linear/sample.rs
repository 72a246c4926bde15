//! Hand-made histories for the judges' own tests.

use quorumfence_machine::Millis;

use super::history::{Answer, History, Object, Operation, Record, Step};

/// A history that is told line by line; each call is made by the client of its number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    pub(crate) history: History,
}

impl Story {
    fn line(mut self, client: u64, step: Step) -> Self {
        let at = Millis(self.history.records.len() as u64);
        self.history.records.push(Record { at, client, step });
        self
    }

    pub(crate) fn opens(self, object: &str, value: &str) -> Self {
        self.line(0, Step::Opens { object: Object(object.into()), value: Some(value.into()) })
    }

    pub(crate) fn asks(self, call: u64, object: &str, operation: Operation) -> Self {
        self.line(call, Step::Invoke { call, object: Object(object.into()), operation, effect: None })
    }

    pub(crate) fn asks_for(self, call: u64, object: &str, operation: Operation, effect: &str) -> Self {
        let effect = Some(effect.into());
        self.line(call, Step::Invoke { call, object: Object(object.into()), operation, effect })
    }

    pub(crate) fn hears(self, call: u64, answer: Answer) -> Self {
        self.line(call, Step::Return { call, answer, index: None })
    }

    pub(crate) fn hears_at(self, call: u64, answer: Answer, index: u64) -> Self {
        self.line(call, Step::Return { call, answer, index: Some(index) })
    }

    pub(crate) fn attempt(self, call: u64, controller: u64, reply: Option<&str>) -> Self {
        let words = reply.unwrap_or("no answer in time").into();
        self.line(call, Step::Attempt { call, controller, reply: reply.map(Into::into), words })
    }

    /// A call that nothing else overlaps.
    pub(crate) fn does(self, call: u64, object: &str, operation: Operation, answer: Answer) -> Self {
        self.asks(call, object, operation).hears(call, answer)
    }

    pub(crate) fn log(self, effects: &[&str]) -> Self {
        let effects = effects.iter().map(|effect| (*effect).to_string()).collect();
        self.line(0, Step::Log { complete: true, effects })
    }
}

pub(crate) fn write(value: &str) -> Operation {
    Operation::Write(value.into())
}

pub(crate) fn take(value: &str) -> Operation {
    Operation::Take(value.into())
}

pub(crate) fn create(value: &str) -> Operation {
    Operation::Create(value.into())
}

pub(crate) fn value(value: &str) -> Answer {
    Answer::Value(Some(value.into()))
}

pub(crate) const ABSENT: Answer = Answer::Value(None);
