//! One table per subject: what each command does, and what each rule refuses.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test names the one variant that it wants")]

mod cluster;
mod executor;
mod fence;
mod flaws;
mod limits;
mod lists;
mod migrated;
mod moved;
mod property;
mod recovery;
mod returned;
pub(crate) mod rig;
mod settings;
mod settled;
mod told;
mod vote;
