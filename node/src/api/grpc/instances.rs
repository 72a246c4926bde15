//! Instances and where they belong.

use quorumfence_machine::{Instance, InstanceId};
use tonic::Status;

use super::super::Node;
use crate::environment::Environment;

/// Returns all instances, by id. A copy: the stream to a slow reader must not hold up the state.
pub(super) fn list<E: Environment>(node: &Node<E>) -> Vec<Instance> {
    node.controller.replica().read(|state| state.instances().cloned().collect())
}

/// Returns one instance, or that it is not known.
pub(super) fn show<E: Environment>(node: &Node<E>, id: InstanceId) -> Result<Instance, Status> {
    let found = node.controller.replica().read(|state| state.instance(&id).cloned());
    found.ok_or_else(|| {
        Status::not_found(format!("instance {id} is not known; 'quorumfence instance list' shows the known ones"))
    })
}
