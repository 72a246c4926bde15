//! The controllers that decide, and how that changes.

use std::collections::BTreeSet;

use quorumfence_machine::{Controller, ControllerId, LogIndex};
use quorumfence_proto::{pb, status};
use quorumfence_raft::{MembershipError, Peer, Status as RaftStatus};
use tonic::Status;

use super::super::Node;
use super::refusal;
use crate::environment::Environment;

/// Returns every controller that joined, with what it does in Raft.
pub(super) fn list<E: Environment>(node: &Node<E>) -> Vec<pb::Member> {
    let replica = node.controller.replica();
    let raft = replica.status();
    let joined: Vec<Controller> = replica.read(|state| state.controllers().cloned().collect());
    joined.into_iter().map(|controller| member(&raft, controller)).collect()
}

fn member(status: &RaftStatus, controller: Controller) -> pb::Member {
    let ids = |peers: &[Peer]| peers.iter().map(|peer| peer.id).collect::<BTreeSet<_>>();
    let role = if ids(&status.voters).contains(&controller.id) {
        pb::MemberRole::Voter
    } else if ids(&status.learners).contains(&controller.id) {
        pb::MemberRole::Learner
    } else {
        pb::MemberRole::Outside
    };
    let matched = match (status.leads, controller.id == status.id) {
        (true, true) => status.last_log,
        (true, false) => status.followers.get(&controller.id).and_then(|follower| follower.matched),
        (false, _) => None,
    };
    pb::Member {
        leader: status.leader.as_ref().is_some_and(|leader| leader.id == controller.id),
        peer: Some(pb::Peer { id: controller.id.0, address: controller.address }),
        role: role.into(),
        matched: matched.map(|index| index.0),
    }
}

/// Makes a joined controller a learner; one that is a member already stays what it is.
pub(super) async fn add<E: Environment>(node: &Node<E>, id: ControllerId) -> Result<pb::MutationReply, Status> {
    let replica = node.controller.replica();
    replica.linearizable().await.map_err(refusal::of_read)?;
    let joined = replica.read(|state| state.controllers().find(|row| row.id == id).cloned());
    let joined = joined.ok_or_else(|| {
        Status::not_found(format!("{id} has not joined; let it in with 'quorumfence token create --role controller'"))
    })?;
    let peer = Peer { id, address: joined.address };
    done(replica.add_learner(peer).await)
}

/// Makes a learner a voter.
pub(super) async fn promote<E: Environment>(node: &Node<E>, id: ControllerId) -> Result<pb::MutationReply, Status> {
    done(node.controller.replica().promote(id).await)
}

/// Takes a voter's vote. A leader first hands over, and its successor is asked instead.
pub(super) async fn demote<E: Environment>(node: &Node<E>, id: ControllerId) -> Result<pb::MutationReply, Status> {
    let replica = node.controller.replica();
    match replica.demote(id).await {
        Err(MembershipError::Leads(_)) => {
            replica.hand_over(None).await.map_err(refusal::of_membership)?;
            let leader = replica.status().leader;
            Err(status::not_leader(leader.as_ref().map(refusal::peer)))
        }
        changed => done(changed),
    }
}

/// Takes a learner out of the cluster.
pub(super) async fn remove<E: Environment>(node: &Node<E>, id: ControllerId) -> Result<pb::MutationReply, Status> {
    done(node.controller.replica().remove(id).await)
}

fn done(changed: Result<LogIndex, MembershipError>) -> Result<pb::MutationReply, Status> {
    let at = changed.map_err(refusal::of_membership)?;
    Ok(pb::MutationReply { at: at.0, reply: Some(quorumfence_machine::Reply::Done.into()) })
}
