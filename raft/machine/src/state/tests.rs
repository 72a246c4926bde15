//! One table per subject: what each command does, and what each rule refuses.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod cluster;
mod fence;
mod property;
mod recovery;
pub(crate) mod rig;
mod vote;
