//! What is torn and what is damaged, and what RocksDB itself makes of the two.

use rocksdb::{DB, DBRecoveryMode, Options};
use tempfile::TempDir;

use super::*;

fn record(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("test payloads are short");
    let checksum = masked(crc32c::crc32c(&[&[1], payload].concat()));
    [&checksum.to_le_bytes(), length.to_le_bytes().as_slice(), &[1], payload].concat()
}

/// Returns the bytes of which only the first `kept` reached the disk, in a file that is longer by some zeros.
fn zeroed(bytes: &[u8], kept: usize) -> Vec<u8> {
    [&bytes[..kept], &vec![0; bytes.len() - kept + 900]].concat()
}

#[test]
fn a_record_whose_later_sectors_are_zeros_is_torn() {
    let (synced, last) = (record(&[7; 300]), record(&[9; 2000]));
    let whole = [synced.clone(), last].concat();
    for kept in (SECTOR_BYTES..whole.len()).step_by(SECTOR_BYTES) {
        assert_eq!(torn_in(&zeroed(&whole, kept)), Some(synced.len()), "{kept} bytes reached the disk");
    }
    assert_eq!(torn_in(&zeroed(&whole, whole.len())), None, "all of it");
    assert_eq!(torn_in(&zeroed(&whole, synced.len())), None, "nothing of it");
    assert_eq!(torn_in(&whole), None, "no zeros at all");
}

#[test]
fn a_header_at_a_sectors_border_may_be_torn_anywhere() {
    for first in SECTOR_BYTES - 2 * HEADER_BYTES + 1..=SECTOR_BYTES - HEADER_BYTES {
        let synced = record(&vec![7; first]);
        let whole = [synced.clone(), record(&[9; 600])].concat();
        let expected = (synced.len() < SECTOR_BYTES).then_some(synced.len());
        assert_eq!(torn_in(&zeroed(&whole, SECTOR_BYTES)), expected, "{first} bytes before it");
    }
}

#[test]
fn a_changed_bit_is_no_tear_whatever_follows() {
    let synced = [record(&[7; 300]), record(&[9; 700])].concat();
    for bit in 0..8 * synced.len() {
        let mut changed = zeroed(&synced, synced.len());
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(torn_in(&changed), None, "bit {bit}");
    }
}

#[test]
fn a_record_that_misses_a_sector_before_others_is_damage() {
    let whole = [record(&[7; 300]), record(&[9; 2000])].concat();
    let mut hole = zeroed(&whole, whole.len());
    hole[SECTOR_BYTES..2 * SECTOR_BYTES].fill(0);
    assert_eq!(torn_in(&hole), None);
}

/// Returns how many of the three records are there after a recovery in this mode; `None` when it refuses.
fn recovered(mode: DBRecoveryMode, spoil: impl Fn(&mut Vec<u8>)) -> Option<usize> {
    let (folder, image) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_wal_recovery_mode(mode);
    let db = DB::open(&options, folder.path()).unwrap();
    for key in 0..3_u8 {
        db.put([key], vec![key + 1; 1500]).unwrap();
    }
    db.flush_wal(true).unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        if file.file_name() != "LOCK" {
            fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
        }
    }
    let wal = newest(image.path()).unwrap().unwrap();
    let mut bytes = fs::read(&wal).unwrap();
    spoil(&mut bytes);
    fs::write(&wal, bytes).unwrap();
    let db = DB::open(&options, image.path()).ok()?;
    Some((0..3_u8).filter(|key| db.get([*key]).unwrap().is_some()).count())
}

/// The reason for this file: the mode that opens a torn end also opens, in silence, without what was synced.
#[test]
fn no_mode_of_rocksdb_opens_a_torn_end_and_refuses_damage_before_it() {
    use DBRecoveryMode::{AbsoluteConsistency, PointInTime, SkipAnyCorruptedRecord, TolerateCorruptedTailRecords};
    let torn = |bytes: &mut Vec<u8>| {
        let kept = (bytes.len() - 1000) / SECTOR_BYTES * SECTOR_BYTES;
        bytes[kept..].fill(0);
    };
    let damaged = |bytes: &mut Vec<u8>| bytes[700] ^= 1;
    let cut_short = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1000);
    for (mode, of_torn, of_damaged, of_cut) in [
        (TolerateCorruptedTailRecords, None, None, Some(2)),
        (AbsoluteConsistency, None, None, None),
        (PointInTime, Some(2), Some(0), Some(2)),
        (SkipAnyCorruptedRecord, Some(2), Some(0), Some(2)),
    ] {
        let seen = (recovered(mode, torn), recovered(mode, damaged), recovered(mode, cut_short));
        assert_eq!(seen, (of_torn, of_damaged, of_cut));
    }
}
