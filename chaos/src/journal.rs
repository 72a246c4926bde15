//! Journals: what the log of a run said, one entry a line. `raft/machine/tests/journal` applies them again.
//!
//! ```text
//! 1 voters 1
//! 3 {"by":{"Controller":1},"wall":1,"clock":1,"request":null,"change":{"Arm":{"reason":"by hand"}}}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use quorumfence_machine::{Command, ControllerId, LogIndex};
use quorumfence_raft::Said;

/// The committed entries of one run that say something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Journal {
    entries: BTreeMap<LogIndex, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Command(Box<Command>),
    Voters(BTreeSet<ControllerId>),
}

impl Journal {
    /// Notes an entry. Every controller applies it; the first time counts.
    pub fn note(&mut self, at: LogIndex, said: Said<'_>) {
        let entry = match said {
            Said::Blank => return,
            Said::Command(command) => Entry::Command(Box::new(command.clone())),
            Said::Voters(voters) => Entry::Voters(voters.clone()),
        };
        self.entries.entry(at).or_insert(entry);
    }

    /// Writes one entry a line.
    ///
    /// # Errors
    /// The line could not be written.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        for (LogIndex(at), entry) in &self.entries {
            match entry {
                Entry::Command(command) => writeln!(out, "{at} {}", serde_json::to_string(command)?)?,
                Entry::Voters(voters) => {
                    let ids: Vec<String> = voters.iter().map(|id| id.0.to_string()).collect();
                    writeln!(out, "{at} voters {}", ids.join(" "))?;
                }
            }
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use quorumfence_machine::{Actor, Change, ClusterTime, WallMillis};

    use super::*;

    #[test]
    fn each_entry_that_says_something_is_one_line_and_the_first_telling_counts() {
        let arm = |reason: &str| Command {
            by: Actor::Operator("ada".into()),
            wall: WallMillis(7),
            clock: ClusterTime(5),
            request: None,
            change: Change::Arm { reason: reason.into() },
        };
        let voters = [1, 3].map(ControllerId).into();
        let mut journal = Journal::default();
        journal.note(LogIndex(4), Said::Command(&arm("a \"quoted\"\nword")));
        journal.note(LogIndex(4), Said::Command(&arm("another")));
        journal.note(LogIndex(1), Said::Voters(&voters));
        journal.note(LogIndex(3), Said::Blank);
        let mut bytes = Vec::new();
        journal.write(&mut bytes).unwrap();
        let text = concat!(
            "1 voters 1 3\n",
            r#"4 {"by":{"Operator":"ada"},"wall":7,"clock":5,"request":null,"#,
            r#""change":{"Arm":{"reason":"a \"quoted\"\nword"}}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
}
