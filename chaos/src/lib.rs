//! The court: worlds that break the cluster, and the promises that judge it.

pub mod chance;
pub mod fault;
pub mod history;
pub mod invariants;
pub mod liveness;
pub mod nemesis;
pub mod observation;
pub mod script;
pub mod swarm;
pub mod verdict;
pub mod world;
