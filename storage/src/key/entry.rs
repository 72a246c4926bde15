//! A log entry, under its index.

/// Returns the key of the entry at `index`; keys sort like indexes.
pub(crate) fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// Returns the index in a key of the log column.
pub(crate) fn index(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}
