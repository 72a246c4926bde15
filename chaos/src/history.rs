//! Histories on disk: one observation a line, so that a run can be read, cut and judged again.

use std::io::{self, BufRead, Write};

use crate::observation::Observation;

/// What was seen in one run, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The observations, oldest first.
    pub observations: Vec<Observation>,
}

/// Why a history could not be written or read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The observation of this line has no JSON form.
    #[error("observation {line} cannot be written as JSON")]
    Form {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The line could not be written.
    #[error("line {line} of the history cannot be written")]
    Write {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The line could not be read.
    #[error("line {line} of the history cannot be read")]
    Read {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The line is no observation.
    #[error("line {line} of the history is no observation")]
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
        for (observation, line) in self.observations.iter().zip(1..) {
            let text = serde_json::to_string(observation).map_err(|source| Error::Form { line, source })?;
            writeln!(out, "{text}").map_err(|source| Error::Write { line, source })?;
        }
        Ok(())
    }

    /// Reads what [`History::write`] wrote. An empty line is an error: a history that lost a line proves nothing.
    ///
    /// # Errors
    /// Names the first line that is no observation.
    pub fn read(from: impl BufRead) -> Result<Self, Error> {
        let mut observations = Vec::new();
        for (text, line) in from.lines().zip(1..) {
            let text = text.map_err(|source| Error::Read { line, source })?;
            observations.push(serde_json::from_str(&text).map_err(|source| Error::Line { line, source })?);
        }
        Ok(Self { observations })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use quorumfence_machine::{ControllerId, Event, LogIndex, Outcome, Verdict};

    use super::*;
    use crate::invariants::sample::{Story, host, off_proof, planned, token};
    use crate::observation::{Answer, Cause, Request, Seen, Stop};

    fn one_of_everything() -> History {
        let why = Outcome::Observed(());
        let story = Story::new()
            .entry(0, vec![])
            .entry(
                1,
                vec![Event::VoteCast { controller: ControllerId(2), host: host("a"), verdict: Verdict::PoweredOff }],
            )
            .entry(2, vec![Event::FenceAttemptFailed { host: host("a"), token: token(1), level: 0, why }])
            .entry(3, vec![Event::HostFenced { host: host("a"), token: token(1), proof: off_proof() }])
            .entry(4, vec![planned(1, "a", "b", 4)])
            .power_off("a", Cause::Outside)
            .power_on("a", 7)
            .started(1, "b", Some(4))
            .started(2, "c", None)
            .ended(1, "b")
            .sent(1, "a")
            .seen(Seen::OffTaken { host: host("a") })
            .seen(Seen::Installed { controller: ControllerId(2), index: LogIndex(3) })
            .seen(Seen::Stopped { controller: ControllerId(1), why: Stop::Itself("its disk failed".into()) })
            .seen(Seen::Stopped { controller: ControllerId(1), why: Stop::PowerCut })
            .seen(Seen::Running { controller: ControllerId(1), applied: LogIndex(2) })
            .called(1, Request::Write { text: "a \"quoted\"\nword".into() })
            .called(2, Request::Read)
            .answered(1, Answer::Written(LogIndex(u64::MAX)))
            .answered(2, Answer::Read(LogIndex(4)))
            .answered(3, Answer::Refused("no".into()))
            .answered(4, Answer::Unknown("timeout".into()))
            .seen(Seen::Fault { what: "kill controller-1".into() })
            .seen(Seen::Healed)
            .seen(Seen::Closed);
        History { observations: story.observations }
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let history = one_of_everything();
        let mut bytes = Vec::new();
        history.write(&mut bytes).unwrap();
        assert_eq!(bytes.lines().count(), history.observations.len());
        assert_eq!(History::read(bytes.as_slice()).unwrap(), history);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let check = |text: &str, line: usize| {
            let error = History::read(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), format!("line {line} of the history is no observation"), "{text}");
            assert!(error.source().is_some());
        };
        let good = r#"{"at":5,"seen":{"seen":"healed"}}"#;
        check(&format!("{good}\n{good}\n{{\"at\":5}}\n{good}\n"), 3);
        check(&format!("{good}\n\n{good}\n"), 2);
        check(&format!("{good}\n{}", &good[..9]), 2);
        check(r#"{"at":5,"seen":{"seen":"hearsay"}}"#, 1);
    }

    #[test]
    fn a_full_disk_is_named_by_the_line_that_it_stopped() {
        let mut room = [0_u8; 10];
        let error = one_of_everything().write(room.as_mut_slice()).unwrap_err();
        assert_eq!(error.to_string(), "line 1 of the history cannot be written");
    }
}
