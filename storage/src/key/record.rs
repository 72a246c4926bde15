//! A state machine record, under the ordinal of its kind and its own key.

use super::RESERVED;

/// Returns the key of a record; records sort by kind, then by their own key.
///
/// # Panics
///
/// When `kind` is 0, which this crate keeps for itself.
pub(crate) fn key(kind: u8, own: &[u8]) -> Vec<u8> {
    assert_ne!(kind, RESERVED, "kind 0 of the records column belongs to the storage crate");
    let mut key = Vec::with_capacity(1 + own.len());
    key.push(kind);
    key.extend_from_slice(own);
    key
}

/// Returns the kind and the own key of a record, or `None` for a key that is not a record's.
pub(crate) fn split(key: &[u8]) -> Option<(u8, &[u8])> {
    match key.split_first() {
        Some((&RESERVED, _)) | None => None,
        Some((&kind, own)) => Some((kind, own)),
    }
}

/// The first key that can belong to a record.
pub(crate) const FIRST: [u8; 1] = [RESERVED + 1];
