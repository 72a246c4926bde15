//! The court: worlds that break the cluster, and the promises that judge it.

pub mod chance;
pub mod fault;
pub mod nemesis;
pub mod observation;
pub mod script;
pub mod swarm;
pub mod world;
