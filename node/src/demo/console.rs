//! What the demo says while it runs.

use std::io::Write;

use crate::cli::{Exit, Failure, output};

/// Where words for people go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Console {
    /// To standard output.
    People,
    /// To standard error, because standard output belongs to a program.
    Programs,
    /// Nowhere: somebody else tells what happens.
    Nowhere,
}

impl Console {
    /// Says one or more lines.
    pub(super) fn say(self, text: &str) -> Result<(), Failure> {
        match self {
            Self::People => output::write(&format!("{text}\n")),
            Self::Programs => {
                writeln!(std::io::stderr().lock(), "{text}").map_err(|error| Failure::of(Exit::Failed, &error))
            }
            Self::Nowhere => Ok(()),
        }
    }

    /// Says what a command printed, set off from what the demo says.
    pub(super) fn quote(self, text: &str) -> Result<(), Failure> {
        let lines: Vec<String> = text.lines().map(|line| format!("    {line}").trim_end().to_string()).collect();
        self.say(&lines.join("\n"))
    }
}
