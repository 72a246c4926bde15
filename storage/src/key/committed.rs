//! The last committed log id that was noted. A hint: it may be older than the truth.

pub(crate) const KEY: [u8; 1] = [super::COMMITTED];
