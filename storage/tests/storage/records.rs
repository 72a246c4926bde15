//! State machine records: whole changes, whole snapshots, or a clear word that an installation was cut.

use std::sync::Mutex;

use quorumfence_storage::{Batch, Change, Column, Error, Expect, Kv, Loaded, Record, Records, Rocks};
use tempfile::TempDir;

use crate::config::{crash_image, open_store};

async fn fresh() -> (TempDir, Records<Rocks>) {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::new(open_store(folder.path(), Expect::New).await.unwrap());
    (folder, records)
}

async fn after_a_kill(folder: &TempDir) -> (TempDir, Records<Rocks>) {
    let image = crash_image(folder.path());
    let records = Records::new(open_store(image.path(), Expect::Existing).await.unwrap());
    (image, records)
}

fn record(kind: u8, key: &str, value: &str) -> Record {
    Record { kind, key: key.into(), value: value.into() }
}

fn first_change() -> Change {
    Change {
        puts: vec![record(2, "b", "two"), record(1, "z", "one"), record(1, "a", "old")],
        deletes: Vec::new(),
        applied: b"7".to_vec(),
        membership: Some(b"members".to_vec()),
    }
}

#[tokio::test]
async fn nothing_is_loaded_from_a_fresh_store() {
    let (_folder, records) = fresh().await;
    assert_eq!(records.load().unwrap(), Loaded::default());
}

#[tokio::test]
async fn committed_changes_survive_a_kill() {
    let (folder, records) = fresh().await;
    records.commit(first_change()).await.unwrap();
    let second = Change {
        puts: vec![record(1, "a", "fresh")],
        deletes: vec![(2, b"b".to_vec()), (9, b"never there".to_vec())],
        applied: b"8".to_vec(),
        membership: None,
    };
    records.commit(second).await.unwrap();
    let (_image, records) = after_a_kill(&folder).await;
    let expected = Loaded {
        applied: Some(b"8".to_vec()),
        membership: Some(b"members".to_vec()),
        records: vec![record(1, "a", "fresh"), record(1, "z", "one")],
    };
    assert_eq!(records.load().unwrap(), expected);
    assert_eq!(records.snapshot_view().unwrap(), expected);
}

#[tokio::test]
async fn an_installed_snapshot_replaces_everything() {
    let (folder, records) = fresh().await;
    records.commit(first_change()).await.unwrap();
    records.install([record(1, "z", "installed")], Some(b"40".to_vec()), b"others".to_vec()).await.unwrap();
    let (_image, records) = after_a_kill(&folder).await;
    let expected = Loaded {
        applied: Some(b"40".to_vec()),
        membership: Some(b"others".to_vec()),
        records: vec![record(1, "z", "installed")],
    };
    assert_eq!(records.load().unwrap(), expected);
}

#[tokio::test]
async fn an_installation_cut_in_the_middle_is_detected_and_repeated() {
    let (folder, records) = fresh().await;
    records.commit(first_change()).await.unwrap();
    let snapshot: Vec<Record> = (0..3000).map(|number| record(3, &format!("{number:05}"), &"x".repeat(1000))).collect();
    let images = Mutex::new(Vec::new());
    let watched = snapshot.iter().enumerate().map(|(number, record)| {
        if number % 1000 == 0 || number == 2999 {
            images.lock().unwrap().push(crash_image(folder.path()));
        }
        record.clone()
    });
    records.install(watched, Some(b"40".to_vec()), b"others".to_vec()).await.unwrap();

    let expected =
        Loaded { applied: Some(b"40".to_vec()), membership: Some(b"others".to_vec()), records: snapshot.clone() };
    assert_eq!(records.load().unwrap(), expected);
    let images = images.into_inner().unwrap();
    assert_eq!(images.len(), 4);
    for image in images {
        let (_image, records) = after_a_kill(&image).await;
        assert!(matches!(records.load(), Err(Error::InstallInterrupted)));
        assert!(matches!(records.snapshot_view(), Err(Error::InstallInterrupted)));
        records.install(snapshot.clone(), Some(b"40".to_vec()), b"others".to_vec()).await.unwrap();
        assert_eq!(records.load().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_view_never_mixes_two_changes() {
    let (_folder, records) = fresh().await;
    let reader = records.clone();
    records.commit(first_change()).await.unwrap();
    let reading = std::thread::spawn(move || {
        for _ in 0..200 {
            let view = reader.snapshot_view().unwrap();
            let applied = view.applied.unwrap();
            assert!(view.records.iter().filter(|found| found.kind == 5).all(|found| found.value == applied));
        }
    });
    for round in 0..50 {
        let applied = format!("{round}");
        let puts = (0..20).map(|number| record(5, &format!("{number}"), &applied)).collect();
        let change = Change { puts, deletes: Vec::new(), applied: applied.into_bytes(), membership: None };
        records.commit(change).await.unwrap();
    }
    reading.join().unwrap();
}

#[tokio::test]
async fn a_changed_record_is_refused() {
    let (folder, records) = fresh().await;
    records.commit(first_change()).await.unwrap();
    let image = crash_image(folder.path());
    let rocks = Rocks::open(image.path()).unwrap();
    let mut sealed = rocks.get(Column::Records, b"\x01z").unwrap().unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let mut batch = Batch::default();
    batch.put(Column::Records, b"\x01z", sealed);
    rocks.write(batch).unwrap();
    drop(rocks);
    let (_image, records) = after_a_kill(&image).await;
    let error = records.load().unwrap_err();
    assert!(matches!(&error, Error::Corrupt { column: Column::Records, key, .. } if key == "017a"), "{error}");
}

#[tokio::test]
#[should_panic(expected = "kind 0 of the records column belongs to the storage crate")]
async fn kind_0_is_a_mistake_of_the_caller() {
    let (_folder, records) = fresh().await;
    let change = Change { puts: vec![record(0, "a", "b")], ..first_change() };
    records.commit(change).await.unwrap();
}
