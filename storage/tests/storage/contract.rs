//! The contract of the key-value store, on RocksDB.

use quorumfence_storage::{Batch, Column, Kv, Range, Rocks, conformance};

#[tokio::test]
async fn rocksdb_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(Rocks::open(folder.path()).unwrap()).await;
}

#[test]
fn a_scan_is_one_point_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(folder.path()).unwrap();
    let write_all = |round: u64| {
        let mut batch = Batch::default();
        for key in 0..50_u8 {
            batch.put(Column::Records, [key], round.to_be_bytes());
        }
        rocks.write(batch).unwrap();
    };
    write_all(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..=500).for_each(write_all));
        let mut scans = 0;
        while !writer.is_finished() || scans == 0 {
            let found = rocks.scan(Column::Records, &Range::all()).unwrap();
            assert_eq!(found.len(), 50);
            assert!(found.iter().all(|(_, round)| *round == found[0].1), "one scan saw two rounds");
            scans += 1;
        }
    });
}
