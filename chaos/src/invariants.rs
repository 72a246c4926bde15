//! The promises S1 to S9, each judged by public facts alone.
//!
//! | id | promise | judge |
//! | --- | --- | --- |
//! | S1 | An instance never runs on two hosts at once. | [`OneHome`] |
//! | S2 | Nothing of a host is restarted elsewhere before the host is proven unable to run. | [`FenceFirst`] |
//! | S3 | Tokens only grow, and nobody acts on an older one after a newer one. | [`TokenOrder`] |
//! | S4 | No power action without a committed decision and a live permit. | [`QuorumOnly`] |
//! | S5 | Disarmed, maintenance, storm limits and minimum-healthy are never crossed. | [`BrakesHold`] |
//! | S6 | An acknowledged change survives. | [`AcknowledgedStays`] |
//! | S7 | A linearizable read sees every change acknowledged before it began. | [`FreshReads`] |
//! | S8 | Equal index, equal contents; an index never goes back. | [`ReplicasAgree`] |
//! | S9 | At most one evacuation of an instance per token is in flight. | [`Once`] |
//!
//! An entry is taken for committed when the first controller applies it. Judges never read the state of the product:
//! they rebuild what they need from the committed events, so a bug in the state machine cannot acquit itself. Where the
//! evidence leaves room for doubt they acquit; the comment at the rule says so.

mod acknowledged_stays;
pub(crate) mod ballot;
mod brakes_hold;
pub(crate) mod committed;
mod fence_first;
pub(crate) mod fleet;
mod fresh_reads;
mod hearing;
mod once;
mod one_home;
mod quorum_only;
mod replicas_agree;
#[cfg(test)]
pub(crate) mod sample;
mod token_order;

use std::fmt;

pub use acknowledged_stays::AcknowledgedStays;
pub use brakes_hold::BrakesHold;
pub use fence_first::FenceFirst;
pub use fresh_reads::FreshReads;
pub use once::Once;
pub use one_home::OneHome;
pub use quorum_only::QuorumOnly;
pub use replicas_agree::ReplicasAgree;
pub use token_order::TokenOrder;

use crate::observation::Observation;

/// One promise and what its judge remembers of the run.
///
/// A judge MUST be shown every observation of a run, once and in order. It MUST NOT convict on what a run of the
/// correct product could show, and it need not be asked again once it has convicted.
pub trait Promise: fmt::Debug + Send {
    /// Returns the promise's id.
    fn id(&self) -> &'static str;

    /// Takes in one observation.
    ///
    /// # Errors
    /// Says in plain words what was broken, with hosts, tokens and indexes.
    fn see(&mut self, observation: &Observation) -> Result<(), String>;

    /// Returns how many observations were held against the promise: those that could have broken it.
    fn judged(&self) -> u64;
}

/// Returns the judges of S1 to S9, one row a promise, at the beginning of a run.
pub fn promises(quorum_only: QuorumOnly) -> Vec<Box<dyn Promise>> {
    vec![
        Box::new(OneHome::default()),
        Box::new(FenceFirst::default()),
        Box::new(TokenOrder::default()),
        Box::new(quorum_only),
        Box::new(BrakesHold::default()),
        Box::new(AcknowledgedStays::default()),
        Box::new(FreshReads::default()),
        Box::new(ReplicasAgree::default()),
        Box::new(Once::default()),
    ]
}
