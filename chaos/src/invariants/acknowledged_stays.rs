//! S6: a change that was acknowledged survives any crash of a minority and a power cut of all.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{ControllerId, Event, LogIndex, Millis};

use super::Promise;
use super::committed::{Committed, Entry};
use crate::observation::{Answer, Observation, Request, Seen};

/// How long a controller may be behind: what was acknowledged less than this before the end is not asked of it, nor
/// anything of one that began to run, or whose network healed, less than this before.
const CATCH_UP: Millis = Millis(5000);

/// Judges S6: what was acknowledged is committed, says what the client asked for, never says anything else, and is had
/// at the end by every voter that has run for a while.
///
/// A call that was refused changed nothing: its text stands nowhere.
///
/// The text may stand in an earlier entry than the acknowledged one: a request that is sent twice becomes two entries,
/// and only the first changes anything. Without a `Healed` the end is not judged: a controller may be cut off.
#[derive(Debug, Default)]
pub struct AcknowledgedStays {
    committed: Committed,
    contents: BTreeMap<LogIndex, u64>,
    /// The writes on their way. Of those that failed nothing is known, and nothing is asked.
    calls: BTreeMap<u64, String>,
    /// Where the text of a write stands.
    found: BTreeMap<String, LogIndex>,
    /// What was acknowledged, and when first.
    acknowledged: BTreeMap<LogIndex, Millis>,
    /// What was acknowledged and nobody has applied: the texts that must come.
    awaited: BTreeMap<LogIndex, String>,
    /// The writes that were refused.
    refused: BTreeSet<String>,
    running: BTreeMap<ControllerId, Replica>,
    voters: Option<BTreeSet<ControllerId>>,
    healed: Option<Millis>,
    judged: u64,
}

#[derive(Debug)]
struct Replica {
    since: Millis,
    applied: LogIndex,
}

impl Promise for AcknowledgedStays {
    fn id(&self) -> &'static str {
        "S6"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        let at = observation.at;
        if let Seen::Applied { controller, index, content, .. } = &observation.seen {
            self.has_applied(*controller, *index, Millis::ZERO);
            self.compare(*controller, *index, *content)?;
            if let Some(entry) = self.committed.entry(observation) {
                self.take(&entry)?;
            }
        } else if let Seen::Installed { controller, index } = &observation.seen {
            self.has_applied(*controller, *index, Millis::ZERO);
        } else if let Seen::Running { controller, applied } = &observation.seen {
            self.running.remove(controller);
            self.has_applied(*controller, *applied, at);
        } else if let Seen::Stopped { controller, .. } = &observation.seen {
            self.running.remove(controller);
        } else if let Seen::Called { call, request: Request::Write { text }, .. } = &observation.seen {
            self.calls.insert(*call, text.clone());
        } else if let Seen::Answered { call, answer } = &observation.seen {
            self.answered(*call, answer, at)?;
        } else if observation.seen == Seen::Healed {
            self.healed = Some(at);
        } else if observation.seen == Seen::Closed {
            self.closed(at)?;
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl AcknowledgedStays {
    /// A controller that was never seen to start has run from the beginning.
    fn has_applied(&mut self, controller: ControllerId, index: LogIndex, since: Millis) {
        self.running.entry(controller).or_insert(Replica { since, applied: index }).applied = index;
    }

    fn compare(&mut self, controller: ControllerId, index: LogIndex, content: u64) -> Result<(), String> {
        let known = *self.contents.entry(index).or_insert(content);
        if known != content && self.acknowledged.contains_key(&index) {
            return Err(format!("{index} was acknowledged, and {controller} applies something else there"));
        }
        Ok(())
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        for event in entry.events {
            if let Event::VotersChanged { voters } = event {
                self.voters = Some(voters.iter().copied().collect());
            }
            let wanted: Vec<&String> = self.calls.values().chain(self.awaited.values()).chain(&self.refused).collect();
            if wanted.is_empty() {
                continue;
            }
            // Debug shows what Display leaves out; Display shows what Debug escapes.
            let words = format!("{event} {event:?}");
            let found: Vec<String> = wanted.into_iter().filter(|text| words.contains(*text)).cloned().collect();
            for text in found {
                if self.refused.contains(&text) {
                    return Err(format!("{text:?} was refused, and {} carries it", entry.index));
                }
                self.found.entry(text).or_insert(entry.index);
            }
        }
        match self.awaited.remove(&entry.index) {
            Some(text) => self.stands(entry.index, &text),
            None => Ok(()),
        }
    }

    fn answered(&mut self, call: u64, answer: &Answer, at: Millis) -> Result<(), String> {
        let Some(text) = self.calls.remove(&call) else { return Ok(()) };
        if let (Answer::Refused(why), found) = (answer, self.found.get(&text)) {
            self.judged += 1;
            let Some(found) = found else {
                self.refused.insert(text);
                return Ok(());
            };
            return Err(format!("{text:?} was refused ({why}), and {found} carries it"));
        }
        let Answer::Written(index) = answer else { return Ok(()) };
        self.judged += 1;
        self.acknowledged.entry(*index).or_insert(at);
        if self.committed.last() >= Some(*index) {
            return self.stands(*index, &text);
        }
        self.awaited.insert(*index, text);
        Ok(())
    }

    fn stands(&self, index: LogIndex, text: &str) -> Result<(), String> {
        match self.found.get(text) {
            Some(found) if *found <= index => Ok(()),
            Some(found) => Err(format!("{text:?} was acknowledged at {index} and stands at {found}")),
            None => Err(format!("{text:?} was acknowledged at {index}, and no event up to there carries it")),
        }
    }

    fn closed(&mut self, at: Millis) -> Result<(), String> {
        if let Some((index, text)) = self.awaited.first_key_value() {
            return Err(format!("{text:?} was acknowledged at {index}, and nobody ever applied that entry"));
        }
        let Some(healed) = self.healed else { return Ok(()) };
        let long_ago = |moment: Millis| moment + CATCH_UP <= at;
        let due = self.acknowledged.iter().filter(|(_, at)| long_ago(**at)).map(|(index, _)| *index).max();
        let (Some(due), true) = (due, long_ago(healed)) else { return Ok(()) };
        let must_have = |controller: &ControllerId, replica: &Replica| {
            long_ago(replica.since) && self.voters.as_ref().is_none_or(|voters| voters.contains(controller))
        };
        for (controller, replica) in self.running.iter().filter(|(id, replica)| must_have(id, replica)) {
            self.judged += 1;
            if replica.applied < due {
                let applied = replica.applied;
                return Err(format!("{due} was acknowledged, and {controller} ends with {applied} applied"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::{EntryCopy, Story, acquits, convicts};
    use crate::observation::Stop;

    fn says(text: &str) -> Vec<Event> {
        vec![Event::Armed { reason: text.into() }]
    }

    fn write(text: &str) -> Request {
        Request::Write { text: text.into() }
    }

    fn written(index: u64) -> Answer {
        Answer::Written(LogIndex(index))
    }

    fn running(story: Story, by: u64, applied: u64) -> Story {
        story.seen(Seen::Running { controller: ControllerId(by), applied: LogIndex(applied) })
    }

    /// Write 1 is acknowledged at entry 5, which controllers 1 and 2 have; controller 3 has entry 4.
    fn acknowledged() -> Story {
        let by = |by, index| EntryCopy { by, index, content: index };
        Story::new()
            .called(1, write("oats"))
            .entry(4, vec![])
            .entry(5, says("oats"))
            .applied(by(2, 5), says("oats"))
            .applied(by(3, 4), vec![])
            .at(1000)
            .answered(1, written(5))
    }

    fn the_end(story: Story) -> Story {
        story.at(20_000).seen(Seen::Healed).at(40_000).seen(Seen::Closed)
    }

    #[test]
    fn an_acknowledged_change_stands_in_the_log() {
        let story = Story::new().called(1, write("oats"));
        let other = story.clone().entry(5, says("rye"));
        convicts::<AcknowledgedStays>(&other.clone().answered(1, written(5)), "no event up to there carries it");
        let later = other.entry(6, says("oats"));
        convicts::<AcknowledgedStays>(&later.clone().answered(1, written(5)), "acknowledged at #5 and stands at #6");
        acquits::<AcknowledgedStays>(&later.clone().answered(1, written(6)));
        acquits::<AcknowledgedStays>(&later.entry(7, vec![]).answered(1, written(7)));
    }

    #[test]
    fn an_acknowledged_entry_is_applied_by_the_end() {
        let early = Story::new().called(1, write("oats")).entry(4, vec![]).answered(1, written(5));
        convicts::<AcknowledgedStays>(&early.clone().seen(Seen::Closed), "nobody ever applied that entry");
        convicts::<AcknowledgedStays>(&early.clone().entry(5, vec![]), "no event up to there carries it");
        acquits::<AcknowledgedStays>(&early.entry(5, says("oats")).seen(Seen::Closed));
    }

    #[test]
    fn an_acknowledged_entry_never_says_anything_else() {
        let other = EntryCopy { by: 3, index: 5, content: 99 };
        convicts::<AcknowledgedStays>(&acknowledged().applied(other, vec![]), "controller-3 applies something else");
        let unasked = EntryCopy { by: 3, index: 4, content: 99 };
        acquits::<AcknowledgedStays>(&acknowledged().applied(unasked, vec![]));
    }

    #[test]
    fn every_running_voter_has_it_at_the_end() {
        let why = "#5 was acknowledged, and controller-3 ends with #4 applied";
        convicts::<AcknowledgedStays>(&the_end(acknowledged()), why);
        let restarted = running(acknowledged().at(2000), 1, 4);
        convicts::<AcknowledgedStays>(&the_end(restarted), "controller-1 ends with #4 applied");
        let third = EntryCopy { by: 3, index: 5, content: 5 };
        acquits::<AcknowledgedStays>(&the_end(acknowledged().applied(third, says("oats"))));
        let installed = Seen::Installed { controller: ControllerId(3), index: LogIndex(5) };
        acquits::<AcknowledgedStays>(&the_end(acknowledged().seen(installed)));
    }

    #[test]
    fn who_does_not_run_or_vote_or_has_had_no_time_need_not_have_it() {
        let stopped = Seen::Stopped { controller: ControllerId(3), why: Stop::PowerCut };
        acquits::<AcknowledgedStays>(&the_end(acknowledged().seen(stopped)));
        let voters = vec![ControllerId(1), ControllerId(2)];
        acquits::<AcknowledgedStays>(&the_end(acknowledged().entry(6, vec![Event::VotersChanged { voters }])));
        let restarted = running(acknowledged().at(20_000).seen(Seen::Healed).at(36_000), 3, 4);
        acquits::<AcknowledgedStays>(&restarted.at(40_000).seen(Seen::Closed));
        acquits::<AcknowledgedStays>(&acknowledged().at(40_000).seen(Seen::Closed));
    }

    #[test]
    fn a_write_that_was_refused_changed_nothing() {
        let refused = |story: Story| story.answered(1, Answer::Refused("it exists".into()));
        let story = Story::new().called(1, write("oats"));
        let done = refused(story.clone().entry(5, says("oats")));
        convicts::<AcknowledgedStays>(&done, "\"oats\" was refused (it exists), and #5 carries it");
        let later = refused(story.clone()).entry(5, says("oats"));
        convicts::<AcknowledgedStays>(&later, "\"oats\" was refused, and #5 carries it");
        acquits::<AcknowledgedStays>(&refused(story).entry(5, says("rye")));
    }

    #[test]
    fn a_write_that_failed_proves_nothing() {
        let story = acknowledged().called(2, write("rye")).answered(2, Answer::Unknown("timeout".into()));
        acquits::<AcknowledgedStays>(&story.called(3, write("corn")).answered(3, Answer::Refused("no".into())));
    }
}
