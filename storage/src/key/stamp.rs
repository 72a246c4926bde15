//! The format, the cluster and the node that the database belongs to.

pub(crate) const KEY: [u8; 1] = [super::STAMP];
