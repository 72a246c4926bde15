//! The id of the last entry whose effects the records hold.

pub(crate) const KEY: [u8; 2] = [super::RESERVED, super::APPLIED];
