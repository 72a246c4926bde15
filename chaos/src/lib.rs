//! The court: worlds that break the cluster, and the promises that judge it.

pub mod canary;
pub mod chance;
pub mod fault;
pub mod history;
pub mod invariants;
pub mod journal;
pub mod linear;
pub mod liveness;
pub mod model;
pub mod mutants;
pub mod nemesis;
pub mod observation;
pub mod report;
pub mod script;
pub mod story;
pub mod swarm;
pub mod verdict;
pub mod world;
