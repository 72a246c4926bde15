//! What clients write down: one line when a call begins, one for each answer. The lines' order is the order of time.

use std::fmt;
use std::io::{self, BufRead, Write};

use quorumfence_machine::Millis;
use serde::{Deserialize, Serialize};

/// What clients saw, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The lines.
    pub records: Vec<Record>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, since the clients began. For people: the order of the lines counts.
    pub at: Millis,
    /// Who.
    pub client: u64,
    /// What.
    pub step: Step,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// What an object was before the first call. An object without this line was absent.
    Opens { object: Object, value: Option<String> },
    /// A call begins.
    Invoke {
        call: u64,
        object: Object,
        operation: Operation,
        /// What the cluster's log says when this takes effect; nothing for reads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effect: Option<String>,
    },
    /// One sending of a call's request ended. A call has one or more, and some of them after its return.
    Attempt {
        call: u64,
        controller: u64,
        /// What was answered; nothing when nobody knows, or when it certainly was not done.
        reply: Option<String>,
        /// What it was, in words.
        words: String,
    },
    /// The call ends, for the client.
    Return {
        call: u64,
        answer: Answer,
        /// The entry of the log that the answer names: of a change its own, of a read the last that it saw.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u64>,
    },
    /// What the log said in the end.
    Log {
        /// Whether it begins before the first call.
        complete: bool,
        effects: Vec<String>,
    },
}

/// Something that clients write and read, by its name. Objects are judged one by one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub String);

/// What a client asks for. Written values are never used twice.
///
/// The operations say how their object behaves: a register holds what was written last; a latch takes a value while it
/// is free, and answers every change alike; what is unique is created once; a ticket is issued once for so many uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Reads what every acknowledged change has made of it.
    Read,
    /// Reads what one controller has, however old.
    Peek,
    /// Writes a register.
    Write(String),
    /// Takes a latch.
    Take(String),
    /// Frees a latch.
    Free,
    /// Creates what is unique.
    Create(String),
    /// Issues a ticket.
    Issue(u32),
    /// Uses a ticket.
    Use,
}

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// The value; nothing for what is absent or free.
    Value(Option<String>),
    /// It was looked at in its turn, and refused: it exists already, or it is used up.
    Refused,
    /// It certainly was not done, and will not be.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// Why a history could not be written or read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The line could not be written.
    #[error("line {line} of the clients' history cannot be written")]
    Write {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The line could not be read.
    #[error("line {line} of the clients' history cannot be read")]
    Read {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The line says nothing that a client writes down.
    #[error("line {line} is no line of a clients' history")]
    Line {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl History {
    /// Writes one JSON object a line.
    ///
    /// # Errors
    /// Names the first line that could not be written; the lines before it were.
    pub fn write(&self, mut out: impl Write) -> Result<(), Error> {
        for (record, line) in self.records.iter().zip(1..) {
            let text = serde_json::to_string(record).map_err(|source| Error::Line { line, source })?;
            writeln!(out, "{text}").map_err(|source| Error::Write { line, source })?;
        }
        Ok(())
    }

    /// Reads what [`History::write`] wrote. An empty line is an error: a history that lost a line proves nothing.
    ///
    /// # Errors
    /// Names the first line that is not one of a history.
    pub fn read(from: impl BufRead) -> Result<Self, Error> {
        let mut records = Vec::new();
        for (text, line) in from.lines().zip(1..) {
            let text = text.map_err(|source| Error::Read { line, source })?;
            records.push(serde_json::from_str(&text).map_err(|source| Error::Line { line, source })?);
        }
        Ok(Self { records })
    }
}

impl Record {
    /// Whether this is the return of the call that the other line begins.
    pub fn answers(&self, begins: &Self) -> bool {
        matches!(
            (&self.step, &begins.step),
            (Step::Return { call, .. }, Step::Invoke { call: begun, .. }) if call == begun
        )
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} client {}: ", self.at, self.client)?;
        match &self.step {
            Step::Opens { object, value: Some(value) } => write!(f, "{object} is {value:?}"),
            Step::Opens { object, value: None } => write!(f, "{object} is absent"),
            Step::Invoke { call, object, operation, .. } => write!(f, "call {call}: {operation} {object}"),
            Step::Attempt { call, controller, words, .. } => {
                write!(f, "call {call} at controller-{controller}: {words}")
            }
            Step::Return { call, answer, index: Some(index) } => write!(f, "call {call}: {answer}, log #{index}"),
            Step::Return { call, answer, index: None } => write!(f, "call {call}: {answer}"),
            Step::Log { effects, .. } => write!(f, "the log tells of {} changes", effects.len()),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Peek => f.write_str("look without a quorum at"),
            Self::Write(value) => write!(f, "write {value:?} to"),
            Self::Take(value) => write!(f, "take with {value:?}"),
            Self::Free => f.write_str("free"),
            Self::Create(value) => write!(f, "create with {value:?}"),
            Self::Issue(uses) => write!(f, "issue for {uses} uses"),
            Self::Use => f.write_str("use"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Value(Some(value)) => write!(f, "it is {value:?}"),
            Self::Value(None) => f.write_str("it is absent"),
            Self::Refused => f.write_str("refused"),
            Self::Nothing => f.write_str("nothing was done"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
