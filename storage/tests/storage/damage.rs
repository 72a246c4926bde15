//! Bytes that changed on the disk: refused, or without effect, but never believed.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use quorumfence_storage::{Batch, Column, Error, Expect, Kv, LogStore, OpenError, Rocks};
use tempfile::TempDir;

use crate::config::{Entry, Log, Vote, append_durably, crash_image, entries, files, fresh_log, open_log, open_store};

const ENTRIES: u64 = 40;
const TERM: u64 = 5;
/// Steps without a common factor with the sizes of records, so that every field of a header is hit.
const WAL_STEP: usize = 11;
const MANIFEST_STEP: usize = 3;
const TABLE_STEP: usize = 61;

async fn written() -> (TempDir, Log<Rocks>) {
    let (folder, mut log) = fresh_log().await;
    for index in 0..ENTRIES {
        append_durably(&mut log, entries(TERM, index..index + 1)).await;
    }
    log.save_vote(&Vote::new(TERM, 3)).await.unwrap();
    (folder, log)
}

/// What a replica sees when it starts on a damaged database.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Refused(String),
    /// All entries and the vote.
    Whole,
    /// Good entries and no hole, but the end is missing.
    Shorter(usize),
}

async fn start(folder: &Path) -> Start {
    let mut log = match open_log(folder).await {
        Ok(log) => log,
        Err(error) => return Start::Refused(error.to_string()),
    };
    let found: Vec<Entry> = match log.try_get_log_entries(..).await {
        Ok(found) => found,
        Err(error) => return Start::Refused(error.to_string()),
    };
    assert_eq!(found, entries(TERM, 0..found.len() as u64), "a damaged entry was believed");
    let vote = match log.read_vote().await {
        Ok(vote) => vote,
        Err(error) => return Start::Refused(error.to_string()),
    };
    match (found.len() as u64 == ENTRIES, vote) {
        (true, Some(vote)) => {
            assert_eq!(vote, Vote::new(TERM, 3), "a damaged vote was believed");
            Start::Whole
        }
        (true, None) | (false, None) => Start::Shorter(found.len()),
        (false, Some(vote)) => panic!("a hole: {} entries, but the later vote {vote}", found.len()),
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

async fn start_with_a_flip(folder: &Path, file: &Path, at: usize) -> Start {
    let image = crash_image(folder);
    flip(&image.path().join(file.file_name().unwrap()), at);
    start(image.path()).await
}

fn newest(folder: &Path, suffix: &str) -> PathBuf {
    files(folder, suffix).pop().unwrap()
}

#[tokio::test]
async fn a_flipped_byte_in_the_middle_of_the_wal_is_refused() {
    let (folder, _log) = written().await;
    let wal = newest(folder.path(), ".log");
    let payload = b"command 20 of term 5";
    let bytes = fs::read(&wal).unwrap();
    let at = bytes.windows(payload.len()).position(|window| window == payload).unwrap();
    let Start::Refused(reason) = start_with_a_flip(folder.path(), &wal, at).await else {
        panic!("the damage was not noticed");
    };
    assert!(reason.starts_with("the database files are damaged: Corruption: "), "{reason}");
    assert!(reason.ends_with("remove this node from the cluster, and join it again under a new node id"), "{reason}");
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_the_wal_is_refused() {
    let (folder, _log) = written().await;
    let wal = newest(folder.path(), ".log");
    let length = fs::metadata(&wal).unwrap().len();
    for at in (0..usize::try_from(length).unwrap()).step_by(WAL_STEP) {
        let started = start_with_a_flip(folder.path(), &wal, at).await;
        assert!(matches!(started, Start::Refused(_)), "byte {at} of {length}: {started:?}");
    }
}

#[tokio::test]
async fn flipped_bytes_of_the_manifest_are_refused_or_without_effect() {
    let (folder, log) = written().await;
    drop(log);
    let image = crash_image(folder.path());
    assert_eq!(start(image.path()).await, Start::Whole);
    let image = crash_image(image.path());
    let manifest =
        files(image.path(), "").into_iter().find(|path| path.to_str().unwrap().contains("MANIFEST")).unwrap();
    let length = fs::metadata(&manifest).unwrap().len();
    let mut refused = 0;
    for at in (0..usize::try_from(length).unwrap()).step_by(MANIFEST_STEP) {
        match start_with_a_flip(image.path(), &manifest, at).await {
            Start::Refused(_) => refused += 1,
            Start::Whole => {}
            Start::Shorter(found) => panic!("byte {at} of {length}: only {found} entries"),
        }
    }
    assert!(refused > 20, "only {refused} flips were noticed, so this test shows little");
}

#[tokio::test]
async fn flipped_bytes_in_a_table_are_refused_or_without_effect() {
    let (folder, log) = written().await;
    drop(log);
    let image = crash_image(folder.path());
    // Recovery writes what was in the write-ahead log to tables.
    assert_eq!(start(image.path()).await, Start::Whole);
    let tables = crash_image(image.path());
    let mut refused = 0;
    for table in files(tables.path(), ".sst") {
        let length = fs::metadata(&table).unwrap().len();
        for at in (0..usize::try_from(length).unwrap()).step_by(TABLE_STEP) {
            match start_with_a_flip(tables.path(), &table, at).await {
                Start::Refused(_) => refused += 1,
                Start::Whole => {}
                Start::Shorter(found) => panic!("byte {at} of {}: only {found} entries", table.display()),
            }
        }
    }
    assert!(refused > 20, "only {refused} flips were noticed, so this test shows little");
}

#[tokio::test]
async fn a_hole_in_the_log_is_an_error_when_it_is_read() {
    let (folder, mut log) = written().await;
    let image = crash_image(folder.path());
    drop(log);
    let rocks = Rocks::open(image.path()).unwrap();
    let identity = crate::config::identity();
    let fatal = quorumfence_storage::Fatal::new(|_| {});
    let store = quorumfence_storage::open(rocks.clone(), &identity, Expect::Existing, fatal).await.unwrap();
    log = LogStore::open(store).unwrap();
    let mut batch = Batch::default();
    batch.delete(Column::Log, 20_u64.to_be_bytes());
    rocks.write(batch).unwrap();

    let hole = "the log has a hole: entry 20 is missing, entry 21 follows. Acknowledged entries are lost. Remove this node \
                from the cluster, and join it again under a new node id";
    assert_eq!(log.try_get_log_entries(10..30).await.unwrap_err().to_string(), hole);
    let mut reader = log.get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(10, 30).await.unwrap_err().to_string(), hole);
    assert_eq!(log.try_get_log_entries(0..20).await.unwrap(), entries(TERM, 0..20));

    let mut batch = Batch::default();
    batch.delete(Column::Log, (ENTRIES - 1).to_be_bytes());
    rocks.write(batch).unwrap();
    let end = log.try_get_log_entries(30..).await.unwrap_err();
    assert!(end.to_string().starts_with("the log has a hole: entry 39 is missing, nothing follows it."), "{end}");
}

#[tokio::test]
async fn a_log_with_a_hole_does_not_open() {
    let (folder, _log) = written().await;
    for missing in [0, 20] {
        let image = crash_image(folder.path());
        let mut batch = Batch::default();
        batch.delete(Column::Log, u64::to_be_bytes(missing));
        Rocks::open(image.path()).unwrap().write(batch).unwrap();
        let error = open_log(image.path()).await.unwrap_err();
        let OpenError::Storage(Error::Hole { expected, found }) = error else {
            panic!("{error}");
        };
        assert_eq!((expected, found), (missing, Some(missing + 1)));
    }
}

#[tokio::test]
async fn an_entry_in_another_place_is_refused() {
    let (folder, _log) = written().await;
    let image = crash_image(folder.path());
    let rocks = Rocks::open(image.path()).unwrap();
    let other = rocks.get(Column::Log, &21_u64.to_be_bytes()).unwrap().unwrap();
    let mut batch = Batch::default();
    batch.put(Column::Log, 20_u64.to_be_bytes(), other);
    rocks.write(batch).unwrap();
    drop(rocks);
    let store = open_store(image.path(), Expect::Existing).await.unwrap();
    let error = Log::open(store).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { column: Column::Log, key, .. } if key == "0000000000000014"), "{error}");
}
