use std::time::Duration;

use quorumfence_storage::{Batch, Column, Kv, Range, SnapshotFiles, conformance};
use tokio::time::{Instant, sleep, timeout};

use super::{SimDisk, Trouble};

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(Column::Log, key, value);
    batch
}

fn keys(disk: &SimDisk) -> Vec<String> {
    let pairs = disk.scan(Column::Log, &Range::all()).unwrap();
    pairs.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

async fn written(keys: [&str; 3]) -> SimDisk {
    let disk = SimDisk::default();
    let [synced, rest @ ..] = keys;
    disk.write(put(synced, "value")).unwrap();
    disk.sync().await.unwrap();
    rest.into_iter().for_each(|key| disk.write(put(key, "value")).unwrap());
    disk
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract_of_every_store() {
    conformance::check(SimDisk::default()).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_loses_nothing() {
    let disk = written(["a", "b", "c"]).await;
    disk.kill();
    assert_eq!(keys(&disk), ["a", "b", "c"]);
    disk.sync().await.unwrap();
    disk.cut_power(0);
    assert_eq!(keys(&disk), ["a", "b", "c"], "and the next process can still sync it");
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_leaves_what_was_synced_and_a_prefix_of_the_rest() {
    for (keep, left) in [(0, ["a"].as_slice()), (1, &["a", "b"]), (2, &["a", "b", "c"]), (3, &["a"])] {
        let disk = written(["a", "b", "c"]).await;
        disk.cut_power(keep);
        assert_eq!(keys(&disk), left, "{keep}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_a_power_cut_interrupts_promises_nothing() {
    let disk = written(["a", "b", "c"]).await;
    let (synced, ()) = tokio::join!(disk.sync(), async {
        sleep(Duration::from_millis(1)).await;
        disk.cut_power(0);
    });
    assert!(synced.is_err());
    assert_eq!(keys(&disk), ["a"]);
    disk.sync().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sync_makes_only_what_was_written_before_it_durable() {
    let disk = written(["a", "b", "c"]).await;
    let (synced, ()) = tokio::join!(disk.sync(), async {
        sleep(Duration::from_millis(1)).await;
        disk.write(put("d", "value")).unwrap();
    });
    synced.unwrap();
    disk.cut_power(0);
    assert_eq!(keys(&disk), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_failed_fails_for_the_whole_process_and_what_it_lost_never_comes_back() {
    let disk = written(["a", "b", "c"]).await;
    disk.set_trouble(Trouble::FailSync);
    assert!(disk.sync().await.is_err());
    disk.set_trouble(Trouble::None);
    assert!(disk.sync().await.is_err(), "the pages are clean by now, and nothing of them is on the platter");
    disk.write(put("d", "value")).unwrap();
    assert!(disk.publish("snapshot", vec![1]).await.is_err());
    assert_eq!(keys(&disk), ["a", "b", "c", "d"], "the process itself still sees them");
    disk.kill();
    assert_eq!(keys(&disk), ["a"]);
    disk.sync().await.unwrap();
    disk.cut_power(9);
    assert_eq!(keys(&disk), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_writes_nothing_and_keeps_what_it_has() {
    let disk = written(["a", "b", "c"]).await;
    disk.set_trouble(Trouble::Full);
    assert!(disk.write(put("d", "value")).is_err());
    assert!(disk.publish("snapshot", vec![1]).await.is_err());
    disk.sync().await.unwrap();
    disk.set_trouble(Trouble::None);
    disk.write(put("e", "value")).unwrap();
    assert_eq!(keys(&disk), ["a", "b", "c", "e"]);
    assert_eq!(disk.names().unwrap(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_takes_its_time_for_every_sync() {
    let disk = SimDisk::default();
    disk.set_trouble(Trouble::Slow(Duration::from_millis(600)));
    let begun = Instant::now();
    disk.sync().await.unwrap();
    disk.publish("snapshot", vec![1]).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(1200));
}

#[tokio::test(start_paused = true)]
async fn a_wiped_disk_is_empty() {
    let disk = written(["a", "b", "c"]).await;
    disk.publish("snapshot", vec![1]).await.unwrap();
    disk.wipe();
    disk.cut_power(9);
    assert_eq!((keys(&disk), disk.names().unwrap()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_flipped_on_the_platter_and_in_the_cache() {
    let disk = written(["a", "b", "c"]).await;
    disk.sync().await.unwrap();
    assert_eq!(disk.flip(Column::Log, 4, 40), Some(b"b".to_vec()), "the second of three, the first bit of five bytes");
    let read = || disk.get(Column::Log, b"b").unwrap();
    assert_eq!(read(), Some(b"walue".to_vec()));
    disk.cut_power(0);
    assert_eq!(read(), Some(b"walue".to_vec()));
    assert_eq!(disk.flip(Column::Meta, 0, 0), None);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_spares_a_newer_value_that_is_not_on_the_platter() {
    let disk = written(["a", "a", "b"]).await;
    disk.write(put("a", "newer")).unwrap();
    assert_eq!(disk.flip(Column::Log, 0, 0), Some(b"a".to_vec()));
    assert_eq!(disk.get(Column::Log, b"a").unwrap(), Some(b"newer".to_vec()));
    disk.cut_power(0);
    assert_eq!(disk.get(Column::Log, b"a").unwrap(), Some(b"walue".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_published_file_survives_a_power_cut_and_an_unpublished_one_does_not() {
    let disk = SimDisk::default();
    disk.publish("first", vec![1]).await.unwrap();
    let (published, ()) = tokio::join!(disk.publish("second", vec![2]), async {
        sleep(Duration::from_millis(1)).await;
        disk.cut_power(0);
    });
    assert!(published.is_err());
    assert!(timeout(Duration::from_millis(1), disk.publish("third", vec![3])).await.is_err(), "its writer dies");
    disk.cut_power(0);
    assert_eq!(disk.names().unwrap(), ["first"]);
    assert_eq!(disk.read("first").unwrap(), [1]);
}
