//! Snapshot files: whole or skipped, never half.

use std::fs;

use quorumfence_storage::{Current, Folder, Skipped, Snapshot, Snapshots};
use tempfile::TempDir;

use crate::config::files;

fn fresh() -> (TempDir, Snapshots<Folder>) {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(Folder::open(folder.path()).unwrap());
    (folder, snapshots)
}

fn names(folder: &TempDir) -> Vec<String> {
    let named = files(folder.path(), "").into_iter();
    named.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn snapshot(index: u64, data: &[u8]) -> Snapshot {
    Snapshot { index, meta: b"meta".to_vec(), data: data.to_vec() }
}

#[tokio::test]
async fn an_empty_folder_has_no_snapshot() {
    let (_folder, snapshots) = fresh();
    assert_eq!(snapshots.current().unwrap(), Current::default());
}

#[tokio::test]
async fn the_newest_snapshot_is_current_and_the_oldest_is_gone() {
    let (folder, snapshots) = fresh();
    for index in [9, 10, 200] {
        snapshots.publish(index, b"meta", format!("data {index}").as_bytes()).await.unwrap();
    }
    let expected = Current { snapshot: Some(snapshot(200, b"data 200")), skipped: Vec::new() };
    assert_eq!(snapshots.current().unwrap(), expected);
    assert_eq!(names(&folder), ["00000000000000000010.snapshot", "00000000000000000200.snapshot"]);
}

#[tokio::test]
async fn a_snapshot_of_the_same_index_is_replaced() {
    let (folder, snapshots) = fresh();
    snapshots.publish(9, b"meta", b"first").await.unwrap();
    snapshots.publish(9, b"meta", b"second").await.unwrap();
    assert_eq!(snapshots.current().unwrap().snapshot, Some(snapshot(9, b"second")));
    assert_eq!(names(&folder), ["00000000000000000009.snapshot"]);
}

#[tokio::test]
async fn a_torn_newest_file_is_skipped_with_its_reason() {
    let (folder, snapshots) = fresh();
    snapshots.publish(9, b"meta", b"good").await.unwrap();
    snapshots.publish(10, b"meta", b"torn").await.unwrap();
    let newest = folder.path().join("00000000000000000010.snapshot");
    let whole = fs::read(&newest).unwrap();
    for length in 0..whole.len() {
        fs::write(&newest, &whole[..length]).unwrap();
        let current = snapshots.current().unwrap();
        assert_eq!(current.snapshot, Some(snapshot(9, b"good")), "{length} bytes");
        assert_eq!(current.skipped.len(), 1, "{length} bytes");
    }
    let reason = "its checksum does not match, it is torn or damaged".to_owned();
    let skipped = Skipped { name: "00000000000000000010.snapshot".to_owned(), reason };
    assert_eq!(snapshots.current().unwrap().skipped, [skipped]);
}

#[tokio::test]
async fn damage_to_all_files_leaves_no_snapshot_but_does_not_fail() {
    let (folder, snapshots) = fresh();
    snapshots.publish(9, b"meta", b"data").await.unwrap();
    snapshots.publish(10, b"meta", b"data").await.unwrap();
    for file in files(folder.path(), ".snapshot") {
        fs::write(file, b"nothing like a snapshot").unwrap();
    }
    let current = snapshots.current().unwrap();
    assert_eq!(current.snapshot, None);
    assert_eq!(
        current.skipped.into_iter().map(|skipped| skipped.reason).collect::<Vec<_>>(),
        ["it does not start like a snapshot", "it does not start like a snapshot"]
    );
}

#[tokio::test]
async fn what_an_interrupted_publication_left_is_removed() {
    let (folder, snapshots) = fresh();
    snapshots.publish(9, b"meta", b"data").await.unwrap();
    fs::write(folder.path().join("00000000000000000010.snapshot.aside"), b"half").unwrap();
    assert_eq!(snapshots.current().unwrap().skipped, []);
    let snapshots = Snapshots::new(Folder::open(folder.path()).unwrap());
    assert_eq!(names(&folder), ["00000000000000000009.snapshot"]);
    assert_eq!(snapshots.current().unwrap().snapshot, Some(snapshot(9, b"data")));
}
