//! Scripts: which fault happens when. A story is a script that somebody wrote; a run of the nemesis leaves one behind.

mod cast;

use std::fmt;
use std::str::FromStr;

use quorumfence_machine::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use cast::Cast;

use crate::fault::{self, Fault, Time};

/// One fault and when it happens, counted from the start of the script.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Action {
    /// When.
    pub at: Millis,
    /// What.
    pub fault: Fault,
}

/// Faults in the order of their times.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Script {
    /// The faults.
    pub actions: Vec<Action>,
}

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line has no time in front.
    #[error("line {line}: '{text}' does not begin with a time such as 500ms or 3s")]
    Time {
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// A line's words are no fault.
    #[error("line {line}")]
    Fault {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: fault::Error,
    },
    /// A line's time is before that of the line above.
    #[error("line {line}: {at} is before the line above; times only grow")]
    Order {
        /// The line, from 1.
        line: usize,
        /// Its time.
        at: Millis,
    },
}

impl FromStr for Script {
    type Err = Error;

    /// Reads one action a line; blank lines and lines that begin with `#` say nothing.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut actions: Vec<Action> = Vec::new();
        for (text, line) in text.lines().map(str::trim).zip(1..) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let action = action(text).map_err(|wrong| match wrong {
                Wrong::Time => Error::Time { line, text: text.into() },
                Wrong::Fault(source) => Error::Fault { line, source },
            })?;
            if actions.last().is_some_and(|before| action.at < before.at) {
                return Err(Error::Order { line, at: action.at });
            }
            actions.push(action);
        }
        Ok(Self { actions })
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actions.iter().try_for_each(|action| writeln!(f, "{action}"))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Time(self.at), self.fault)
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        action(&text).map_err(|wrong| match wrong {
            Wrong::Time => serde::de::Error::custom(format!("'{text}' does not begin with a time such as 500ms or 3s")),
            Wrong::Fault(error) => serde::de::Error::custom(error),
        })
    }
}

enum Wrong {
    Time,
    Fault(fault::Error),
}

fn action(text: &str) -> Result<Action, Wrong> {
    let (time, words) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let at = fault::duration(time).ok_or(Wrong::Time)?;
    Ok(Action { at, fault: words.parse().map_err(Wrong::Fault)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "1s isolate host host2\n1500ms bmc host2 silent\n60s heal\n";

    #[test]
    fn a_script_reads_back_as_text_and_as_json() {
        let script: Script = TEXT.parse().unwrap();
        assert_eq!(script.to_string(), TEXT);
        let json = serde_json::to_string(&script).unwrap();
        assert_eq!(json, r#"["1s isolate host host2","1500ms bmc host2 silent","60s heal"]"#);
        assert_eq!(serde_json::from_str::<Script>(&json).unwrap(), script);
    }

    #[test]
    fn blank_lines_and_remarks_say_nothing() {
        assert_eq!(format!("# why\n\n{TEXT}").parse::<Script>(), TEXT.parse());
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let wrong = |text: &str| text.parse::<Script>().unwrap_err().to_string();
        assert_eq!(wrong("1s heal\nheal"), "line 2: 'heal' does not begin with a time such as 500ms or 3s");
        assert_eq!(wrong("\n1s explode"), "line 2");
        assert_eq!(wrong("2s heal\n1s heal"), "line 2: 1.000 s is before the line above; times only grow");
    }
}
