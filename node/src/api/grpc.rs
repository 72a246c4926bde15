//! The gRPC faces, all on one port.
//!
//! A peer without a certificate gets through the TLS handshake, because somebody who joins has none. So every method
//! here begins by asking [`caller`] who calls; what is not said there to be allowed is refused.

mod agent;
mod caller;
mod cluster;
mod enrolment;
mod events;
mod fences;
mod hosts;
mod instances;
mod join;
mod members;
pub(crate) mod message;
mod refusal;
mod status;
pub(crate) mod timing;
mod tokens;

use std::sync::Arc;

use quorumfence_proto::CONTROL_MESSAGE_BYTES_MAX;
use quorumfence_proto::pb::agent_server::AgentServer;
use quorumfence_proto::pb::cluster_server::ClusterServer;
use quorumfence_proto::pb::join_server::JoinServer;
use quorumfence_proto::pb::timing_server::TimingServer;
use quorumfence_raft::raft_service;
use tonic::service::Routes;

use super::Node;
use crate::environment::Environment;

/// Returns all services of a controller.
pub fn routes<E: Environment>(node: &Arc<Node<E>>) -> Routes {
    let cluster = ClusterServer::new(cluster::Face::new(Arc::clone(node)))
        .max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(CONTROL_MESSAGE_BYTES_MAX);
    let agent = AgentServer::new(agent::Face::new(Arc::clone(node)))
        .max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(CONTROL_MESSAGE_BYTES_MAX);
    let join = JoinServer::new(join::Face::new(Arc::clone(node)));
    Routes::new(raft_service(node.controller.replica().clone()))
        .add_service(cluster)
        .add_service(agent)
        .add_service(join)
        .add_service(TimingServer::new(timing::Clockwork::new(Arc::clone(node))))
}
