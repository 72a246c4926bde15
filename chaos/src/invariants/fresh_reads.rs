//! S7: a linearizable read sees every change acknowledged before it began.

use std::collections::BTreeMap;

use quorumfence_machine::LogIndex;

use super::Promise;
use crate::observation::{Answer, Observation, Request, Seen};

/// Judges S7 at each answered read. A read that nobody answered proves nothing.
#[derive(Debug, Default)]
pub struct FreshReads {
    acknowledged: Option<LogIndex>,
    /// The reads on their way, each with the highest change that was acknowledged before it began.
    reads: BTreeMap<u64, Option<LogIndex>>,
    judged: u64,
}

impl Promise for FreshReads {
    fn id(&self) -> &'static str {
        "S7"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        if let Seen::Called { call, request: Request::Read, .. } = &observation.seen {
            self.reads.insert(*call, self.acknowledged);
        } else if let Seen::Answered { call, answer } = &observation.seen {
            let due = self.reads.remove(call).flatten();
            match (answer, due) {
                (Answer::Written(index), _) => self.acknowledged = self.acknowledged.max(Some(*index)),
                (Answer::Read(seen), Some(due)) => {
                    self.judged += 1;
                    if *seen < due {
                        return Err(format!("read {call} saw up to {seen}; {due} was acknowledged before it began"));
                    }
                }
                (Answer::Read(_), None) | (Answer::Refused(_) | Answer::Unknown(_), _) => {}
            }
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::{Story, acquits, convicts};

    fn written(index: u64) -> Answer {
        Answer::Written(LogIndex(index))
    }

    fn read(index: u64) -> Answer {
        Answer::Read(LogIndex(index))
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_change_is_a_breach() {
        let story = Story::new().answered(1, written(7)).answered(2, written(6)).called(3, Request::Read);
        convicts::<FreshReads>(&story.clone().answered(3, read(6)), "saw up to #6; #7 was acknowledged");
        acquits::<FreshReads>(&story.clone().answered(3, read(7)));
        acquits::<FreshReads>(&story.answered(3, read(9)));
    }

    #[test]
    fn what_is_acknowledged_during_a_read_need_not_be_seen() {
        let story = Story::new().answered(1, written(5)).called(3, Request::Read).answered(2, written(7));
        acquits::<FreshReads>(&story.clone().answered(3, read(5)));
        convicts::<FreshReads>(&story.answered(3, read(4)), "saw up to #4; #5 was acknowledged");
    }

    #[test]
    fn a_read_without_an_answer_proves_nothing() {
        let story = Story::new().answered(1, written(5)).called(3, Request::Read);
        let unknown = story.answered(3, Answer::Unknown("timeout".into()));
        acquits::<FreshReads>(&unknown.called(4, Request::Read).answered(4, read(5)));
    }
}
