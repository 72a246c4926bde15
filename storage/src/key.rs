//! The keys of everything stored: one ordinal here, one file per stored kind.
//!
//! An ordinal is never changed and never used twice: the bytes are on disks.

use crate::kv::Column;

pub(crate) mod applied;
pub(crate) mod committed;
pub(crate) mod entry;
pub(crate) mod installing;
pub(crate) mod membership;
pub(crate) mod purged;
pub(crate) mod record;
pub(crate) mod stamp;
pub(crate) mod vote;

/// Ordinals in the meta column.
const STAMP: u8 = 1;
const VOTE: u8 = 2;
const PURGED: u8 = 3;
const COMMITTED: u8 = 4;

/// The first byte of what this crate keeps in the records column beside the records, which start at 1.
const RESERVED: u8 = 0;

/// Ordinals behind [`RESERVED`] in the records column.
const INSTALLING: u8 = 1;
const APPLIED: u8 = 2;
const MEMBERSHIP: u8 = 3;

/// Returns the number that stands for the column in checksums.
pub(crate) fn column_ordinal(column: Column) -> u8 {
    match column {
        Column::Log => 1,
        Column::Meta => 2,
        Column::Records => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn key_bytes_are_frozen() {
        let keys: Vec<(&str, String)> = vec![
            ("entry 0", hex(&entry::key(0))),
            ("entry 258", hex(&entry::key(258))),
            ("entry max", hex(&entry::key(u64::MAX))),
            ("stamp", hex(&stamp::KEY)),
            ("vote", hex(&vote::KEY)),
            ("purged", hex(&purged::KEY)),
            ("committed", hex(&committed::KEY)),
            ("installing", hex(&installing::KEY)),
            ("applied", hex(&applied::KEY)),
            ("membership", hex(&membership::KEY)),
            ("record", hex(&record::key(7, b"node-1"))),
        ];
        assert_eq!(
            keys,
            [
                ("entry 0", "0000000000000000"),
                ("entry 258", "0000000000000102"),
                ("entry max", "ffffffffffffffff"),
                ("stamp", "01"),
                ("vote", "02"),
                ("purged", "03"),
                ("committed", "04"),
                ("installing", "0001"),
                ("applied", "0002"),
                ("membership", "0003"),
                ("record", "076e6f64652d31"),
            ]
            .map(|(name, bytes)| (name, bytes.to_owned()))
        );
    }

    #[test]
    fn keys_of_entries_sort_like_their_indexes() {
        let indexes = [0, 1, 255, 256, 65_535, 65_536, u64::MAX - 1, u64::MAX];
        assert!(indexes.windows(2).all(|pair| entry::key(pair[0]) < entry::key(pair[1])));
    }

    #[test]
    fn key_of_an_entry_reads_back() {
        assert_eq!(entry::index(&entry::key(258)), Some(258));
        assert_eq!(entry::index(b"short"), None);
    }

    #[test]
    fn key_of_a_record_reads_back() {
        assert_eq!(record::split(&record::key(7, b"node-1")), Some((7, b"node-1".as_slice())));
        assert_eq!(record::split(&applied::KEY), None);
    }
}
