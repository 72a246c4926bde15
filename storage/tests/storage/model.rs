//! Random histories of the log against a model that is a plain list.

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;
use quorumfence_storage::Rocks;
use tempfile::TempDir;

use crate::config::{Entry, Log, LogId, append_durably, crash_image, entry, fresh_log, log_id, open_log};

#[derive(Debug, Clone)]
enum Step {
    /// Append this many entries, of the next term when the flag says so.
    Append(u64, bool),
    /// Drop this many entries from the end.
    Truncate(usize),
    /// Purge this many entries from the front.
    Purge(usize),
    /// Purge to this far behind the end, as after the installation of a snapshot.
    Jump(u64),
    /// Kill the process and start again on what is left.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1..5_u64, any::<bool>()).prop_map(|(count, next_term)| Step::Append(count, next_term)),
        2 => (0..6_usize).prop_map(Step::Truncate),
        2 => (0..6_usize).prop_map(Step::Purge),
        1 => (1..9_u64).prop_map(Step::Jump),
        1 => Just(Step::Kill),
    ]
}

#[derive(Debug, Default)]
struct Model {
    term: u64,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }
}

async fn take(step: Step, model: &mut Model, folder: &mut TempDir, log: &mut Log<Rocks>) {
    match step {
        Step::Append(count, next_term) => {
            model.term += u64::from(next_term);
            let next = model.next();
            let added: Vec<Entry> = (next..next + count).map(|index| entry(model.term, index)).collect();
            append_durably(log, added.clone()).await;
            model.entries.extend(added);
        }
        Step::Truncate(count) => {
            model.entries.truncate(model.entries.len().saturating_sub(count));
            log.truncate_after(model.last()).await.unwrap();
        }
        Step::Purge(count) => {
            let gone: Vec<Entry> = model.entries.drain(..count.min(model.entries.len())).collect();
            if let Some(last) = gone.last() {
                model.purged = Some(last.log_id);
                log.purge(last.log_id).await.unwrap();
            }
        }
        Step::Jump(distance) => {
            let to = log_id(model.term, model.next() + distance);
            model.entries.clear();
            model.purged = Some(to);
            log.purge(to).await.unwrap();
        }
        Step::Kill => {
            let image = crash_image(folder.path());
            *log = open_log(image.path()).await.unwrap();
            *folder = image;
        }
    }
}

proptest! {
    #![proptest_config(Cases { cases: 40, failure_persistence: None, ..Cases::default() })]

    #[test]
    fn the_log_behaves_like_a_list(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut folder, mut log) = fresh_log().await;
            let mut model = Model { term: 1, ..Model::default() };
            for step in steps {
                take(step, &mut model, &mut folder, &mut log).await;
                let state = log.get_log_state().await.unwrap();
                assert_eq!((state.last_purged_log_id, state.last_log_id), (model.purged, model.last()));
                assert_eq!(log.try_get_log_entries(..).await.unwrap(), model.entries);
            }
        });
    }
}
