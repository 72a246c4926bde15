//! One run: a seed's steps on three stores.

use std::ops::AddAssign;
use std::time::Duration;

use quorumfence_chaos::chance::Chance;
use quorumfence_chaos::world::sim::disk::SimDisk;
use quorumfence_storage::Kv;
use tokio::time::sleep;

use crate::reference::{Image, Reference};
use crate::rocks::OnRocks;
use crate::step::{self, Step};

const STEPS: u64 = 60;

/// Half of a sync of the simulated disk.
const INTO_A_SYNC: Duration = Duration::from_millis(1);

/// How much happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Played {
    pub(crate) kills: u64,
    pub(crate) power_losses: u64,
    pub(crate) batches_kept: u64,
    pub(crate) batches_lost: u64,
}

impl AddAssign for Played {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.batches_kept += other.batches_kept;
        self.batches_lost += other.batches_lost;
    }
}

struct Run {
    seed: u64,
    chance: Chance,
    reference: Reference,
    rocks: OnRocks,
    sim: SimDisk,
    played: Played,
}

pub(crate) async fn run(seed: u64) -> Played {
    let mut run = Run {
        seed,
        chance: Chance::new(seed, "disks"),
        reference: Reference::default(),
        rocks: OnRocks::fresh(),
        sim: SimDisk::default(),
        played: Played::default(),
    };
    for number in 0..STEPS {
        let step = step::draw(&mut run.chance, &run.reference.now());
        let label = label(number, &step);
        run.take(step, &label).await;
    }
    run.agree("at the end");
    let played = run.played;
    run.end();
    played
}

impl Run {
    async fn take(&mut self, step: Step, label: &str) {
        match step {
            Step::Write(batch) => {
                self.reference.write(batch.clone());
                self.rocks.write(batch.clone());
                self.sim.write(batch).expect("a healthy disk writes");
            }
            Step::Sync => {
                self.reference.sync();
                self.rocks.sync().await;
                self.sim.sync().await.expect("a healthy disk syncs");
            }
            Step::Get(column, key) => {
                let expected = self.reference.now().get(column, &key);
                let found = self.rocks.kv.get(column, &key).expect("a healthy disk reads");
                assert!(found == expected, "seed {}, {label}: RocksDB has another value", self.seed);
                let found = self.sim.get(column, &key).expect("a healthy disk reads");
                assert!(found == expected, "seed {}, {label}: the simulated disk has another value", self.seed);
            }
            Step::Scan(column, range) => {
                let expected = self.reference.now().scan(column, &range);
                let found = self.rocks.kv.scan(column, &range).expect("a healthy disk reads");
                assert!(found == expected, "seed {}, {label}: RocksDB has other pairs", self.seed);
                let found = self.sim.scan(column, &range).expect("a healthy disk reads");
                assert!(found == expected, "seed {}, {label}: the simulated disk has other pairs", self.seed);
            }
            Step::Kill => {
                self.rocks.kill();
                self.sim.kill();
                self.played.kills += 1;
                self.agree(label);
            }
            Step::PowerLoss { kept } => {
                let kept = self.lose(kept);
                self.sim.cut_power(kept);
                self.agree(label);
            }
            Step::PowerLossInSync { kept, batch } => {
                let sim = self.sim.clone();
                self.reference.write(batch.clone());
                self.rocks.write_while_syncing(batch.clone()).await;
                let kept = self.lose(kept);
                let (synced, ()) = tokio::join!(sim.sync(), async {
                    sleep(INTO_A_SYNC).await;
                    sim.write(batch).expect("a healthy disk writes");
                    sim.cut_power(kept);
                });
                assert!(synced.is_err(), "seed {}, {label}: nobody is left to hear of it", self.seed);
                self.agree(label);
            }
        }
    }

    /// Cuts RocksDB's power, so that a share of what both may lose survives. Returns how many unsynced batches did.
    ///
    /// What RocksDB found at a start is durable there, and may still be lost on the simulated disk; it survives on both.
    fn lose(&mut self, percent: usize) -> u64 {
        let (all, of_rocks) = (self.reference.unsynced(), self.rocks.unsynced());
        let kept_of_rocks = of_rocks * percent / 100;
        self.rocks.lose_all_but(kept_of_rocks, self.chance.draw());
        let kept = all - of_rocks + kept_of_rocks;
        self.reference.lose_all_but(kept);
        self.note_loss(kept, all);
        u64::try_from(kept).expect("a few batches")
    }

    fn note_loss(&mut self, kept: usize, all: usize) {
        let count = |batches: usize| u64::try_from(batches).expect("a few batches");
        self.played.power_losses += 1;
        self.played.batches_kept += count(kept);
        self.played.batches_lost += count(all - kept);
    }

    fn agree(&self, label: &str) {
        let expected = self.reference.now();
        for (name, found) in [("RocksDB", Image::of(&self.rocks.kv)), ("the simulated disk", Image::of(&self.sim))] {
            let difference = difference(&found, &expected);
            assert!(difference.is_empty(), "seed {}, {label}: {name} differs: {difference:?}", self.seed);
        }
    }

    /// The last power loss, in which each keeps what it likes.
    fn end(mut self) {
        let of_rocks = self.rocks.unsynced();
        let found_at_start = self.reference.unsynced() - of_rocks;
        let kept = usize::try_from(self.chance.draw()).unwrap_or(usize::MAX) % (of_rocks + 1);
        self.rocks.lose_all_but(kept, self.chance.draw());
        self.sim.cut_power(self.chance.draw());
        let seed = self.seed;
        assert!(
            self.reference.allows(&Image::of(&self.rocks.kv), found_at_start),
            "seed {seed}: RocksDB holds what no power loss leaves"
        );
        assert!(
            self.reference.allows(&Image::of(&self.sim), 0),
            "seed {seed}: the simulated disk holds what no power loss leaves"
        );
    }
}

/// Returns the step in a few words, for long values say nothing.
fn label(number: u64, step: &Step) -> String {
    let text: String = format!("{step:?}").chars().take(160).collect();
    format!("step {number} ({text})")
}

/// Returns the keys whose values differ, or that only one has.
fn difference(found: &Image, expected: &Image) -> Vec<String> {
    let mut keys = Vec::new();
    for column in quorumfence_storage::Column::ALL {
        let mut all = found.keys(column);
        all.extend(expected.keys(column));
        all.sort_unstable();
        all.dedup();
        all.retain(|key| found.get(column, key) != expected.get(column, key));
        keys.extend(all.iter().map(|key| format!("{column} {key:x?}")));
    }
    keys
}
