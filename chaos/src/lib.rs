//! The court: worlds that break the cluster, and the promises that judge it.

pub mod fault;
pub mod observation;
pub mod world;
