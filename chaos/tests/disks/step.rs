//! What is done to a store: the shapes that the log, the vote and the state machine write, and some that they do not.

use quorumfence_chaos::chance::Chance;
use quorumfence_storage::{Batch, Column, Range};

use crate::reference::Image;

/// One step of a run.
#[derive(Debug)]
pub(crate) enum Step {
    Write(Batch),
    Sync,
    Get(Column, Vec<u8>),
    Scan(Column, Range),
    /// The process dies; the page cache lives on.
    Kill,
    /// Of the unsynced batches survives a share, in percent.
    PowerLoss {
        kept: usize,
    },
    /// The power fails while a sync is under way and one more batch comes.
    PowerLossInSync {
        kept: usize,
        batch: Batch,
    },
}

/// Most entries of one append, and most operations of one batch.
const OPS_MAX: u64 = 5;

/// A write-ahead log has blocks of this size, and records that cross them.
const BLOCK_BYTES: u64 = 32_768;

/// Draws a step for a store that holds this.
pub(crate) fn draw(chance: &mut Chance, now: &Image) -> Step {
    match chance.below(100) {
        0..40 => Step::Write(batch(chance, now)),
        40..58 => Step::Sync,
        58..70 => Step::Get(column(chance), some_key(chance, now)),
        70..84 => Step::Scan(column(chance), range(chance, now)),
        84..89 => Step::Kill,
        89..96 => Step::PowerLoss { kept: percent(chance) },
        _ => Step::PowerLossInSync { kept: percent(chance), batch: batch(chance, now) },
    }
}

fn percent(chance: &mut Chance) -> usize {
    usize::try_from(chance.between(0, 100)).expect("a percentage")
}

fn batch(chance: &mut Chance, now: &Image) -> Batch {
    let log: Vec<u64> =
        now.keys(Column::Log).iter().filter_map(|key| Some(u64::from_be_bytes(*key.first_chunk()?))).collect();
    let (first, next) = (log.first().copied().unwrap_or(1), log.last().map_or(1, |last| last + 1));
    let mut batch = Batch::default();
    match chance.below(12) {
        0..4 => {
            for index in next..=next + chance.below(OPS_MAX) {
                batch.put(Column::Log, index.to_be_bytes(), value(chance));
            }
        }
        4 => batch.delete_range(Column::Log, chance.between(first, next).to_be_bytes(), next.to_be_bytes()),
        5 => {
            let rest = chance.between(first, next);
            batch.put(Column::Meta, b"purged", rest.to_be_bytes());
            batch.delete_range(Column::Log, first.to_be_bytes(), rest.to_be_bytes());
        }
        6 => batch.put(Column::Meta, b"vote", chance.draw().to_be_bytes()),
        7 => batch.put(Column::Meta, b"committed", chance.draw().to_be_bytes()),
        8..10 => {
            for _ in 0..=chance.below(OPS_MAX) {
                let key = small_key(chance);
                if chance.percent(70) {
                    batch.put(Column::Records, key, value(chance))
                } else {
                    batch.delete(Column::Records, key)
                }
            }
            batch.put(Column::Records, b"applied", chance.draw().to_be_bytes());
        }
        // Several columns at once, keys that come twice, ranges that hold nothing; now and then nothing at all.
        _ => {
            for _ in 0..chance.below(OPS_MAX + 1) {
                let (of, key) = (column(chance), small_key(chance));
                match chance.below(4) {
                    0 => batch.delete(of, key),
                    1 => {
                        let to = small_key(chance);
                        batch.delete_range(of, key.clone().min(to.clone()), key.max(to));
                    }
                    _ => batch.put(of, key, value(chance)),
                }
            }
        }
    }
    batch
}

fn column(chance: &mut Chance) -> Column {
    *chance.pick(&Column::ALL).expect("there are columns")
}

/// One of a few keys, so that they meet; one is empty, and some are the beginnings of others.
fn small_key(chance: &mut Chance) -> Vec<u8> {
    let length = chance.below(3);
    (0..length).map(|_| *chance.pick(&[0x00, 0x01, 0x7f, 0xff]).expect("there are bytes")).collect()
}

fn some_key(chance: &mut Chance, now: &Image) -> Vec<u8> {
    let known = now.keys(column(chance));
    chance.pick(&known).cloned().unwrap_or_else(|| small_key(chance))
}

fn range(chance: &mut Chance, now: &Image) -> Range {
    let (from, to) = (some_key(chance, now), some_key(chance, now));
    let (from, to) = if from <= to { (from, to) } else { (to, from) };
    let limit = usize::try_from(chance.below(6)).expect("a few");
    Range { from, to: chance.percent(60).then_some(to), limit: if limit == 0 { usize::MAX } else { limit } }
}

/// Mostly short, sometimes empty, and now and then longer than a block of the write-ahead log.
fn value(chance: &mut Chance) -> Vec<u8> {
    let length = match chance.below(40) {
        0 => 0,
        1 => chance.between(BLOCK_BYTES - 40, BLOCK_BYTES + 40),
        2 => chance.below(3 * BLOCK_BYTES),
        _ => chance.below(200),
    };
    let byte = chance.draw().to_le_bytes()[0];
    vec![byte; usize::try_from(length).expect("some ten thousand bytes")]
}
