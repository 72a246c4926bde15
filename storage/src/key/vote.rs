//! The last vote.

pub(crate) const KEY: [u8; 1] = [super::VOTE];
