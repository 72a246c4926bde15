//! The id of the last entry that was purged from the front of the log.

pub(crate) const KEY: [u8; 1] = [super::PURGED];
