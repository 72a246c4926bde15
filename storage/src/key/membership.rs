//! The membership as of the last applied entry.

pub(crate) const KEY: [u8; 2] = [super::RESERVED, super::MEMBERSHIP];
