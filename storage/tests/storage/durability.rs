//! Group commit, the order of answers, and what happens after a failed sync.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use quorumfence_storage::{Change, Expect, Fatal, LogStore, Records, Rocks, open};
use tokio::task::JoinSet;

use crate::config::{
    Log, SlowDisk, Vote, append, append_durably, crash_image, entries, entry, fresh_log, identity, log_id, observed,
    open_log, poll,
};

const DEADLINE: Duration = Duration::from_secs(20);

async fn slow_log(folder: &Path, fatal: Fatal) -> (SlowDisk, Log<SlowDisk>, Records<SlowDisk>) {
    let disk = SlowDisk::open(folder);
    disk.permits.add_permits(1);
    let store = open(disk.clone(), &identity(), Expect::New, fatal).await.unwrap();
    disk.syncs.store(0, Ordering::SeqCst);
    (disk, LogStore::open(store.clone()).unwrap(), Records::new(store))
}

async fn until_syncing(disk: &SlowDisk, times: usize) {
    let reached = async {
        while disk.syncs.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.expect("the flusher syncs");
}

#[tokio::test]
async fn entries_are_readable_before_they_are_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (_disk, mut log, _records) = slow_log(folder.path(), Fatal::new(|_| {})).await;
    let mut answer = append(&mut log, entries(1, 0..3)).await.unwrap();
    let mut reader = log.get_log_reader().await;
    assert_eq!(reader.try_get_log_entries(..).await.unwrap(), entries(1, 0..3));
    assert_eq!(poll(&mut answer), None);
}

#[tokio::test]
async fn appends_that_wait_together_share_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, mut log, _records) = slow_log(folder.path(), Fatal::new(|_| {})).await;
    let mut first = append(&mut log, vec![entry(1, 0)]).await.unwrap();
    until_syncing(&disk, 1).await;
    let mut second = append(&mut log, vec![entry(1, 1)]).await.unwrap();
    let mut third = append(&mut log, vec![entry(1, 2)]).await.unwrap();

    disk.permits.add_permits(1);
    until_syncing(&disk, 2).await;
    assert_eq!([poll(&mut first), poll(&mut second), poll(&mut third)], [Some(Ok(())), None, None]);

    disk.permits.add_permits(1);
    third.await.unwrap().unwrap();
    assert_eq!(poll(&mut second), Some(Ok(())));
    assert_eq!(disk.syncs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_entry_is_held_once_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, mut log, _records) = slow_log(folder.path(), Fatal::new(|_| {})).await;
    let durable = log.durable();
    drop(append(&mut log, entries(1, 0..3)).await.unwrap());
    assert!(!durable.holds(&log_id(1, 3)).await.unwrap());
    assert!(!durable.holds(&log_id(2, 2)).await.unwrap(), "another entry stands there");
    {
        let last = log_id(1, 2);
        let mut holds = Box::pin(durable.holds(&last));
        assert!(holds.as_mut().now_or_never().is_none());
        disk.permits.add_permits(2);
        assert!(tokio::time::timeout(DEADLINE, holds).await.expect("the sync was let through").unwrap());
    }
    drop(log);
    assert!(!durable.holds(&log_id(1, 2)).await.unwrap(), "it does not keep the log open");
}

#[tokio::test]
async fn a_log_that_begins_behind_a_snapshot_holds_its_last_entry() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, mut log, _records) = slow_log(folder.path(), Fatal::new(|_| {})).await;
    let durable = log.durable();
    log.purge(log_id(2, 100)).await.unwrap();
    disk.permits.add_permits(1);
    assert!(durable.holds(&log_id(2, 100)).await.unwrap());
    assert!(!durable.holds(&log_id(1, 100)).await.unwrap(), "another entry stood there");
    assert!(!durable.holds(&log_id(2, 101)).await.unwrap());
    assert_eq!(disk.syncs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_vote_is_saved_only_when_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, mut log, _records) = slow_log(folder.path(), Fatal::new(|_| {})).await;
    let mut before = append(&mut log, vec![entry(1, 0)]).await.unwrap();
    {
        let vote = Vote::new(7, 3);
        let mut saving = Box::pin(log.save_vote(&vote));
        assert!(saving.as_mut().now_or_never().is_none());
        until_syncing(&disk, 1).await;
        assert!(saving.as_mut().now_or_never().is_none());
        disk.permits.add_permits(2);
        tokio::time::timeout(DEADLINE, saving).await.expect("the sync was let through").unwrap();
    }
    assert_eq!(poll(&mut before), Some(Ok(())));
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(7, 3)));
}

#[tokio::test]
async fn a_commit_of_the_state_machine_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _log, records) = slow_log(folder.path(), Fatal::new(|_| {})).await;
    let change = Change { puts: Vec::new(), deletes: Vec::new(), applied: b"9".to_vec(), membership: None };
    let mut commit = Box::pin(records.commit(change));
    assert!(commit.as_mut().now_or_never().is_none());
    disk.permits.add_permits(1);
    commit.await.unwrap();
}

#[tokio::test]
async fn a_failed_sync_stops_the_store_and_is_never_retried() {
    let folder = tempfile::tempdir().unwrap();
    let (fatal, seen) = observed();
    let (disk, mut log, records) = slow_log(folder.path(), fatal).await;
    disk.failing.store(true, Ordering::SeqCst);
    let waiting = append(&mut log, vec![entry(1, 0)]).await.unwrap();
    until_syncing(&disk, 1).await;
    let behind = append(&mut log, vec![entry(1, 1)]).await.unwrap();
    disk.permits.add_permits(100);
    assert_eq!(
        waiting.await.unwrap().unwrap_err().to_string(),
        "the database could not sync: no space left on the platter"
    );
    behind.await.unwrap().unwrap_err();

    disk.failing.store(false, Ordering::SeqCst);
    let stopped = "the store stopped after an earlier failure: the database could not sync: no space left on the \
                   platter. Restart the process after checking the disk";
    assert_eq!(append(&mut log, vec![entry(1, 2)]).await.map(|_| ()).unwrap_err().to_string(), stopped);
    assert_eq!(log.save_vote(&Vote::new(7, 3)).await.unwrap_err().to_string(), stopped);
    let change = Change { puts: Vec::new(), deletes: Vec::new(), applied: b"9".to_vec(), membership: None };
    assert_eq!(records.commit(change).await.unwrap_err().to_string(), stopped);
    assert_eq!(disk.syncs.load(Ordering::SeqCst), 1);
    assert_eq!(*seen.lock().unwrap(), ["the database could not sync"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_in_order_under_concurrent_reads() {
    let (_folder, mut log) = fresh_log().await;
    let mut reader = log.get_log_reader().await;
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        let mut seen = 0;
        while seen < 500 {
            let found = reader.try_get_log_entries(0..500).await.unwrap();
            assert!(found.len() >= seen, "an entry that was there is gone");
            seen = found.len();
            assert_eq!(found, entries(1, 0..seen as u64));
            tokio::task::yield_now().await;
        }
    });
    let mut answers = Vec::new();
    for index in 0..500 {
        answers.push(append(&mut log, vec![entry(1, index)]).await.unwrap());
    }
    while let Some(last) = answers.pop() {
        last.await.unwrap().unwrap();
        let step = answers.len() / 2;
        for mut earlier in answers.drain(step..) {
            assert_eq!(poll(&mut earlier), Some(Ok(())), "an earlier append is answered first");
        }
    }
    tokio::time::timeout(DEADLINE, reading.join_all()).await.expect("the reader sees all entries");
}

#[tokio::test]
async fn a_clean_restart_keeps_everything() {
    let (folder, mut log) = fresh_log().await;
    append_durably(&mut log, entries(1, 0..10)).await;
    log.truncate_after(Some(log_id(1, 7))).await.unwrap();
    append_durably(&mut log, entries(2, 8..12)).await;
    log.purge(log_id(1, 4)).await.unwrap();
    log.save_committed(Some(log_id(2, 9))).await.unwrap();
    log.save_vote(&Vote::new_committed(2, 1)).await.unwrap();
    drop(log);
    // The flusher lets go of the database once it has seen that the log is gone.
    let closed = async {
        while Rocks::open(folder.path()).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, closed).await.expect("the last handle closes the database");
    check_survivors(folder.path()).await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_durable() {
    let (folder, mut log) = fresh_log().await;
    append_durably(&mut log, entries(1, 0..10)).await;
    log.truncate_after(Some(log_id(1, 7))).await.unwrap();
    append_durably(&mut log, entries(2, 8..12)).await;
    log.purge(log_id(1, 4)).await.unwrap();
    log.save_committed(Some(log_id(2, 9))).await.unwrap();
    log.save_vote(&Vote::new_committed(2, 1)).await.unwrap();
    check_survivors(crash_image(folder.path()).path()).await;
}

async fn check_survivors(folder: &Path) {
    let mut log = open_log(folder).await.unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 4)), Some(log_id(2, 11))));
    let kept = [entries(1, 5..8), entries(2, 8..12)].concat();
    assert_eq!(log.try_get_log_entries(0..100).await.unwrap(), kept);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(2, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(2, 9)));
}

#[tokio::test]
async fn an_append_that_would_leave_a_hole_is_refused() {
    let (_folder, mut log) = fresh_log().await;
    append_durably(&mut log, entries(1, 0..3)).await;
    let refused = append(&mut log, vec![entry(1, 4)]).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "refused to append entry 4: the log ends such that entry 3 must come next");
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), entries(1, 0..3));
}

#[tokio::test]
async fn replication_reads_a_long_log_in_parts() {
    let (_folder, mut log) = fresh_log().await;
    append_durably(&mut log, entries(1, 0..600)).await;
    let mut reader = log.get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(100, 600).await.unwrap(), entries(1, 100..356));
    assert_eq!(reader.limited_get_log_entries(590, 600).await.unwrap(), entries(1, 590..600));
}

#[tokio::test]
async fn a_purge_behind_the_end_makes_room_for_what_follows_a_snapshot() {
    let (folder, mut log) = fresh_log().await;
    append_durably(&mut log, entries(1, 0..3)).await;
    log.purge(log_id(2, 100)).await.unwrap();
    append_durably(&mut log, entries(2, 101..103)).await;
    let mut log = open_log(crash_image(folder.path()).path()).await.unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), entries(2, 101..103));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(2, 100)), Some(log_id(2, 102))));
}
