//! RocksDB with our options lives on the disk, and keeps what it acknowledged.

use quorumfence_storage::{Batch, Column, Kv, Op, Rocks};

use super::*;

const ROUNDS: u64 = 4;
const FOLDER: &str = "QUORUMFENCE_TEST_ROCKS_FOLDER";
/// Enough entries after which the writer is killed.
const ENTRIES: usize = 40;

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn value(number: u64) -> Vec<u8> {
    key(number).repeat(64)
}

fn put(db: &Rocks, number: u64) {
    let put = Op::Put { column: Column::ALL[0], key: key(number), value: value(number) };
    db.write(Batch { ops: vec![put] }).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn stored(db: &Rocks) -> u64 {
    let numbers = 0_u64..;
    let is_stored = |number: &u64| db.get(Column::ALL[0], &key(*number)).unwrap() == Some(value(*number));
    numbers.take_while(is_stored).count().try_into().unwrap()
}

/// Writes entries for ever, and says of each that it is synced.
fn write_for_ever(folder: &Path) {
    let db = Rocks::open(&folder.join("mounted/db")).unwrap();
    let mut acknowledged = OpenOptions::new().append(true).open(folder.join("acknowledged")).unwrap();
    for number in stored(&db).. {
        put(&db, number);
        if number % 3 == 0 {
            block_on(db.sync()).unwrap();
            acknowledged.write_all(&key(number)).unwrap();
        }
    }
}

/// Runs this very test once more as the process that is killed.
#[test]
fn rocksdb_keeps_every_synced_entry_over_kills_and_power_cuts() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_for_ever(Path::new(&folder));
    }
    let bench = bench();
    let acknowledged = bench.folder.path().join("acknowledged");
    for round in 0..ROUNDS {
        fs::write(&acknowledged, "").unwrap();
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer.arg("rocksdb_keeps_every_synced_entry_over_kills_and_power_cuts").env(FOLDER, bench.folder.path());
        let mut writer = writer.stdout(Stdio::null()).spawn().unwrap();
        wait_until("enough is acknowledged", || fs::read(&acknowledged).unwrap().len() >= ENTRIES * 8);
        writer.kill().unwrap();
        writer.wait().unwrap();
        let last = *fs::read(&acknowledged).unwrap().as_chunks::<8>().0.last().unwrap();
        let survives = if round == 0 { Survives::Nothing } else { Survives::Some(Chance::new(round, "power cut")) };
        bench.disk.cut_power(survives).unwrap();
        let db = Rocks::open(&bench.path("db")).unwrap();
        let (stored, last) = (stored(&db), u64::from_be_bytes(last));
        assert!(stored > last, "round {round}: {last} was acknowledged, and {stored} entries are stored");
    }
    let counts = bench.disk.counts();
    assert!(counts.changes_lost > 0 && counts.power_cuts == ROUNDS, "nothing was at stake: {counts:?}");
}

#[test]
fn rocksdb_reports_a_sync_that_fails() {
    let bench = bench();
    let db = Rocks::open(&bench.path("db")).unwrap();
    put(&db, 0);
    block_on(db.sync()).unwrap();
    put(&db, 1);
    bench.disk.fail_sync(1);
    block_on(db.sync()).unwrap_err();
    drop(db);
    bench.lose_all();
    assert_eq!(stored(&Rocks::open(&bench.path("db")).unwrap()), 1);
}
