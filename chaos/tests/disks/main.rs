//! The simulated disk and RocksDB, held against each other: the same random operations and crashes on both.
//!
//! A third party says what is allowed, the [`reference`]: what was synced is there, and of the rest a prefix. While
//! nothing crashes, all three give the same answers. After a crash each must hold one of the allowed states; and since
//! the crash is made so that the same writes survive, they hold the same one. A run ends with a power loss in which each
//! loses what it likes.
//!
//! A power loss on RocksDB is a copy of its folder in which the end of the write-ahead log is cut off, at any byte
//! behind what the last sync covered. RocksDB syncs its other files by itself before it relies on them; this is taken
//! from it on trust, as is that no write fills a memtable here.
//!
//! `QUORUMFENCE_TEST_DISK_RUNS` and `QUORUMFENCE_TEST_DISK_FROM` play more runs, or others.

mod files;
mod play;
mod reference;
mod rocks;
mod step;

use std::str::FromStr;

/// Runs of the usual test: ten to fifteen seconds of processor time.
const RUNS: u64 = 40;

fn number<T: FromStr>(variable: &str, otherwise: T) -> T {
    let Ok(text) = std::env::var(variable) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}"))
}

#[tokio::test(start_paused = true)]
async fn the_simulated_disk_and_rocksdb_agree_before_and_after_every_crash() {
    let from: u64 = number("QUORUMFENCE_TEST_DISK_FROM", 1);
    let runs: u64 = number("QUORUMFENCE_TEST_DISK_RUNS", RUNS);
    let mut played = play::Played::default();
    for seed in from..from + runs {
        played += play::run(seed).await;
    }
    // Runs in which nothing is lost, or everything, would show little.
    let play::Played { kills, power_losses, batches_kept, batches_lost } = played;
    assert!(
        kills > runs && power_losses > runs && batches_kept > runs && batches_lost > runs,
        "{runs} runs: {played:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn snapshot_files_agree_before_and_after_every_crash() {
    let from: u64 = number("QUORUMFENCE_TEST_DISK_FROM", 1);
    for seed in from..from + number("QUORUMFENCE_TEST_DISK_RUNS", RUNS) {
        files::run(seed).await;
    }
}
