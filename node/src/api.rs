//! What a controller offers to others.

pub mod grpc;

use std::fmt;

use quorumfence_drivers::secret::ClusterKey;

use crate::cluster::authority::Authority;
use crate::cluster::directory::ControllerDescription;
use crate::controller::Controller;
use crate::environment::Environment;

/// A controller as its faces see it.
pub struct Node<E: Environment> {
    /// The loops and the replica.
    pub controller: Controller<E>,
    /// Makes drivers of enrolled devices.
    pub devices: E::Devices,
    /// The clock of the loops.
    pub clock: E::Clock,
    /// Signs certificates of those who join.
    pub authority: Authority,
    /// Seals the passwords that operators give.
    pub cluster_key: ClusterKey,
    /// Who this controller is.
    pub description: ControllerDescription,
    /// Whether agents of a laboratory are let in.
    pub laboratory: bool,
}

impl<E: Environment> fmt::Debug for Node<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("description", &self.description).finish_non_exhaustive()
    }
}
