//! S8: equal index, equal contents and state; an index never goes back.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use quorumfence_machine::{ControllerId, Event, LogIndex};

use super::Promise;
use crate::observation::{Observation, Seen};

/// Judges S8. Entries are compared by what they say and what they changed, never by their ids alone.
///
/// A controller that starts again may have applied less than it was seen to apply: entries are seen just before they
/// are synced. What it applies again must be what it was. Whether anything acknowledged is lost is for S6.
#[derive(Debug, Default)]
pub struct ReplicasAgree {
    entries: BTreeMap<LogIndex, Entry>,
    /// What each running controller has applied.
    applied: BTreeMap<ControllerId, LogIndex>,
    judged: u64,
}

#[derive(Debug)]
struct Entry {
    /// Who applied it first.
    by: ControllerId,
    content: u64,
    events: u64,
    /// The first digest at this entry, and whose it is.
    digest: Option<(ControllerId, String)>,
}

impl Promise for ReplicasAgree {
    fn id(&self) -> &'static str {
        "S8"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        if let Seen::Applied { controller, index, content, events, digest } = &observation.seen {
            self.judged += 1;
            self.step(*controller, *index)?;
            let copy = Entry {
                by: *controller,
                content: *content,
                events: fingerprint(events),
                digest: digest.clone().map(|digest| (*controller, digest)),
            };
            self.compare(*index, copy)?;
        } else if let Seen::Installed { controller, index } = &observation.seen {
            self.judged += 1;
            self.is_known(*controller, *index, "installs a snapshot up to")?;
            if let Some(applied) = self.applied.get(controller).filter(|applied| *applied > index) {
                return Err(format!("{controller} installs a snapshot up to {index} after it applied {applied}"));
            }
            self.applied.insert(*controller, *index);
        } else if let Seen::Running { controller, applied } = &observation.seen {
            self.judged += 1;
            self.is_known(*controller, *applied, "comes up with")?;
            self.applied.insert(*controller, *applied);
        } else if let Seen::Stopped { controller, .. } = &observation.seen {
            self.applied.remove(controller);
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl ReplicasAgree {
    /// Each entry follows the one before. An empty controller says that it applied 0, and may still apply entry 0.
    fn step(&mut self, controller: ControllerId, index: LogIndex) -> Result<(), String> {
        let before = self.applied.insert(controller, index);
        let follows = before.is_none_or(|before| index.0 == before.0 + 1 || (before.0 == 0 && index.0 == 0));
        match before {
            Some(before) if !follows => Err(format!("{controller} applies {index} right after {before}")),
            Some(_) | None => Ok(()),
        }
    }

    fn compare(&mut self, index: LogIndex, copy: Entry) -> Result<(), String> {
        let Some(known) = self.entries.get_mut(&index) else {
            self.entries.insert(index, copy);
            return Ok(());
        };
        let (first, second) = (known.by, copy.by);
        if known.content != copy.content {
            return Err(format!("{index} says one thing at {first} and another at {second}"));
        }
        if known.events != copy.events {
            return Err(format!("{index} changed one thing at {first} and another at {second}"));
        }
        match (&known.digest, copy.digest) {
            (Some((first, known)), Some((second, digest))) if *known != digest => {
                Err(format!("behind {index} the state is {known} at {first} and {digest} at {second}"))
            }
            (Some(_), _) | (None, None) => Ok(()),
            (None, Some(digest)) => {
                known.digest = Some(digest);
                Ok(())
            }
        }
    }

    /// Nobody can have what nobody was seen to apply.
    fn is_known(&self, controller: ControllerId, index: LogIndex, what: &str) -> Result<(), String> {
        let last = self.entries.last_key_value().map_or(LogIndex(0), |(last, _)| *last);
        if index > last {
            return Err(format!("{controller} {what} {index}; nobody has applied more than {last}"));
        }
        Ok(())
    }
}

/// Compared within one run of the judge only, so the hash may differ from build to build.
fn fingerprint(events: &[Event]) -> u64 {
    let mut hasher = DefaultHasher::new();
    events.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::{EntryCopy, Story, acquits, armed, convicts, lost};
    use crate::observation::Stop;

    fn copy(by: u64, index: u64) -> EntryCopy {
        EntryCopy { by, index, content: index }
    }

    fn digest(story: Story, by: u64, index: u64, digest: &str) -> Story {
        let (controller, index) = (ControllerId(by), LogIndex(index));
        let digest = Some(digest.into());
        story.seen(Seen::Applied { controller, index, content: index.0, events: vec![], digest })
    }

    fn stopped(story: Story, why: Stop) -> Story {
        story.seen(Seen::Stopped { controller: ControllerId(1), why })
    }

    fn running(story: Story, by: u64, applied: u64) -> Story {
        story.seen(Seen::Running { controller: ControllerId(by), applied: LogIndex(applied) })
    }

    fn installed(story: Story, by: u64, index: u64) -> Story {
        story.seen(Seen::Installed { controller: ControllerId(by), index: LogIndex(index) })
    }

    #[test]
    fn one_index_with_two_contents_is_a_breach() {
        let story = Story::new().entry(1, vec![armed()]);
        let other = EntryCopy { by: 2, index: 1, content: 99 };
        convicts::<ReplicasAgree>(&story.clone().applied(other, vec![armed()]), "#1 says one thing at controller-1");
        convicts::<ReplicasAgree>(&story.clone().applied(copy(2, 1), vec![lost("a")]), "#1 changed one thing");
        acquits::<ReplicasAgree>(&story.applied(copy(2, 1), vec![armed()]));
    }

    #[test]
    fn one_index_with_two_digests_is_a_breach() {
        let story = digest(Story::new().entry(1, vec![]).applied(copy(3, 1), vec![]), 2, 1, "aa");
        convicts::<ReplicasAgree>(&digest(story.clone(), 4, 1, "bb"), "is aa at controller-2 and bb at controller-4");
        acquits::<ReplicasAgree>(&digest(story, 4, 1, "aa"));
    }

    #[test]
    fn entries_are_applied_one_by_one() {
        let story = Story::new().entry(1, vec![]).entry(2, vec![]);
        convicts::<ReplicasAgree>(&story.clone().entry(4, vec![]), "controller-1 applies #4 right after #2");
        convicts::<ReplicasAgree>(&story.clone().entry(2, vec![]), "controller-1 applies #2 right after #2");
        convicts::<ReplicasAgree>(&story.clone().entry(1, vec![]), "controller-1 applies #1 right after #2");
        acquits::<ReplicasAgree>(&story.entry(3, vec![]));
    }

    #[test]
    fn a_start_sets_where_a_controller_goes_on() {
        let story = Story::new().entry(1, vec![]).entry(2, vec![]);
        let cut = running(stopped(story.clone(), Stop::PowerCut), 1, 1);
        acquits::<ReplicasAgree>(&cut.clone().entry(2, vec![]));
        convicts::<ReplicasAgree>(&cut.entry(3, vec![]), "applies #3 right after #1");
        convicts::<ReplicasAgree>(&running(story, 1, 3), "comes up with #3; nobody has applied more than #2");
        acquits::<ReplicasAgree>(&running(Story::new(), 1, 0).entry(0, vec![]).entry(1, vec![]));
        acquits::<ReplicasAgree>(&running(Story::new(), 1, 0).entry(1, vec![]));
    }

    #[test]
    fn a_snapshot_sets_where_a_controller_goes_on() {
        let story = Story::new().entry(1, vec![]).entry(2, vec![]).entry(3, vec![]).applied(copy(2, 1), vec![]);
        let caught_up = installed(story.clone(), 2, 2);
        acquits::<ReplicasAgree>(&caught_up.clone().applied(copy(2, 3), vec![]));
        convicts::<ReplicasAgree>(&caught_up.applied(copy(2, 2), vec![]), "applies #2 right after #2");
        convicts::<ReplicasAgree>(&installed(story.clone(), 2, 4), "nobody has applied more than #3");
        convicts::<ReplicasAgree>(&installed(story, 1, 2), "up to #2 after it applied #3");
    }

    #[test]
    fn what_is_applied_again_after_a_power_cut_must_be_what_it_was() {
        let story = Story::new().entry(1, vec![]).entry(2, vec![armed()]);
        let cut = running(stopped(story, Stop::PowerCut), 1, 1);
        let other = EntryCopy { by: 1, index: 2, content: 99 };
        convicts::<ReplicasAgree>(&cut.applied(other, vec![]), "#2 says one thing at controller-1 and another");
    }
}
