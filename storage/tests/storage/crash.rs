//! Power loss: the write-ahead log is cut at every place, and what was promised before the cut is still there.

use std::fs::{self, OpenOptions};
use std::path::Path;

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use quorumfence_storage::{Change, Expect, LogStore, OpenError, Record, Records};

use crate::config::{Log, Vote, append_durably, crash_image, entries, entry, files, open_store};

/// A promise, and how long the write-ahead log was when it was made.
struct Promise {
    wal_bytes: u64,
    last: Option<u64>,
    vote: Option<u64>,
    applied: Option<u64>,
}

/// Cuts between the places where something was promised, to test every kind of torn record.
const CUT_STEP: usize = 29;

/// Disks write sectors whole.
const SECTOR: usize = 512;

#[tokio::test]
async fn what_was_durable_before_a_cut_survives_it() {
    let folder = tempfile::tempdir().unwrap();
    let promises = make_promises(folder.path()).await;
    let wal = newest_wal(folder.path());
    let end = fs::metadata(folder.path().join(&wal)).unwrap().len();
    assert_eq!(promises.last().unwrap().wal_bytes, end, "everything was promised");

    let mut opened = 0;
    for cut in cuts(&promises, end) {
        let image = crash_image(folder.path());
        OpenOptions::new().write(true).open(image.path().join(&wal)).unwrap().set_len(cut).unwrap();
        let promised = promises.iter().rev().find(|promise| promise.wal_bytes <= cut);
        opened += u32::from(survives(image.path(), cut, promised).await);
    }
    assert!(opened > 50, "only {opened} cuts were opened, so this test shows little");
}

/// A file system may make a file longer before it has written what belongs there.
#[tokio::test]
async fn what_was_durable_survives_zeros_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let promises = make_promises(folder.path()).await;
    let wal = newest_wal(folder.path());
    let end = fs::metadata(folder.path().join(&wal)).unwrap().len();
    for promise in &promises {
        let image = crash_image(folder.path());
        let file = OpenOptions::new().write(true).open(image.path().join(&wal)).unwrap();
        file.set_len(promise.wal_bytes).unwrap();
        file.set_len(end + 5000).unwrap();
        assert!(survives(image.path(), promise.wal_bytes, Some(promise)).await);
    }
}

/// As above, and of the record behind it only the first sectors were written.
#[tokio::test]
async fn what_was_durable_survives_a_record_that_was_written_in_part_and_zeros_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let promises = make_promises(folder.path()).await;
    let wal = newest_wal(folder.path());
    let end = fs::metadata(folder.path().join(&wal)).unwrap().len();
    let mut torn = 0;
    for cut in (0..end).step_by(SECTOR) {
        let image = crash_image(folder.path());
        let file = OpenOptions::new().write(true).open(image.path().join(&wal)).unwrap();
        file.set_len(cut).unwrap();
        file.set_len(end + 5000).unwrap();
        let promised = promises.iter().rev().find(|promise| promise.wal_bytes <= cut);
        torn += u32::from(survives(image.path(), cut, promised).await);
    }
    assert!(torn > 5, "only {torn} images were opened, so this test shows little");
}

/// Returns the lengths to cut to: around every promise, and steps in between.
fn cuts(promises: &[Promise], end: u64) -> Vec<u64> {
    let edges = promises.iter().flat_map(|promise| [promise.wal_bytes - 1, promise.wal_bytes, promise.wal_bytes + 1]);
    let mut cuts: Vec<u64> = (0..=end).step_by(CUT_STEP).chain(edges).filter(|cut| *cut <= end).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Returns whether the database opened; panics when it opened without what was promised.
async fn survives(folder: &Path, cut: u64, promised: Option<&Promise>) -> bool {
    let store = match open_store(folder, Expect::Existing).await {
        Ok(store) => store,
        Err(error) => {
            // Before the stamp was durable nothing was promised; afterwards a cut is only ever a torn tail.
            assert!(matches!(error, OpenError::Empty { .. }), "cut at {cut}: {error}");
            assert!(promised.is_none(), "cut at {cut}: {error}");
            return false;
        }
    };
    let promised = promised.expect("the stamp is the first promise");
    let mut log: Log<_> = LogStore::open(store.clone()).unwrap();
    let found = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(found, entries(1, 0..found.len() as u64), "cut at {cut}: a hole or a changed entry");
    assert!(found.len() as u64 >= promised.last.map_or(0, |last| last + 1), "cut at {cut}: an entry is lost");
    let last = log.get_log_state().await.unwrap().last_log_id;
    assert_eq!(last, found.last().map(|entry| entry.log_id), "cut at {cut}");
    let vote = log.read_vote().await.unwrap();
    assert!(vote >= promised.vote.map(|term| Vote::new(term, 3)), "cut at {cut}: a vote is lost");
    let state = Records::new(store).load().unwrap();
    assert!(
        state.applied >= promised.applied.map(|round| applied_up_to(round).applied),
        "cut at {cut}: a change is lost"
    );
    assert_eq!(
        state.records.first().map(|record| record.value.clone()),
        state.applied,
        "cut at {cut}: a change is there in part"
    );
    true
}

fn applied_up_to(round: u64) -> Change {
    let applied = vec![u8::try_from(round).unwrap()];
    let puts = vec![Record { kind: 1, key: b"round".to_vec(), value: applied.clone() }];
    Change { puts, deletes: Vec::new(), applied, membership: None }
}

async fn make_promises(folder: &Path) -> Vec<Promise> {
    let store = open_store(folder, Expect::New).await.unwrap();
    let records = Records::new(store.clone());
    let mut log: Log<_> = LogStore::open(store).unwrap();
    let wal = folder.join(newest_wal(folder));
    let wal_bytes = || fs::metadata(&wal).unwrap().len();
    let mut promises = vec![Promise { wal_bytes: wal_bytes(), last: None, vote: None, applied: None }];
    for round in 0..10 {
        append_durably(&mut log, vec![entry(1, round * 2), entry(1, round * 2 + 1)]).await;
        let before = promises.last().unwrap();
        let (vote, applied) = (before.vote, before.applied);
        promises.push(Promise { wal_bytes: wal_bytes(), last: Some(round * 2 + 1), vote, applied });
        log.save_vote(&Vote::new(round + 1, 3)).await.unwrap();
        let vote = Some(round + 1);
        promises.push(Promise { wal_bytes: wal_bytes(), last: Some(round * 2 + 1), vote, applied });
        records.commit(applied_up_to(round)).await.unwrap();
        promises.push(Promise { wal_bytes: wal_bytes(), last: Some(round * 2 + 1), vote, applied: Some(round) });
    }
    promises
}

fn newest_wal(folder: &Path) -> String {
    let newest = files(folder, ".log").pop().unwrap();
    newest.file_name().unwrap().to_str().unwrap().to_owned()
}
