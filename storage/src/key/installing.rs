//! Present while records are replaced by a snapshot: the other records are incomplete.

pub(crate) const KEY: [u8; 2] = [super::RESERVED, super::INSTALLING];
