//! The face to operators: who may call, what is read how, and what is proposed. The rest is one file per subject.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use quorumfence_machine::{
    Actor, BootId, Change, ControllerId, EventRecord, HostId, InstanceId, RequestId, Segment, Settings,
};
use quorumfence_proto::{convert, pb, status as detail};
use tonic::{Request, Response, Status};

use super::super::Node;
use super::events::EventStream;
use super::{caller, enrolment, events, fences, hosts, instances, members, refusal, status, tokens};
use crate::environment::Environment;

/// Longest reason that an operator may give.
const REASON_BYTES_MAX: usize = 1024;

/// Events that an explanation shows, the newest.
const EXPLAINED_EVENTS_MAX: usize = 40;

/// Answers operators.
#[derive(Debug)]
pub(super) struct Face<E: Environment> {
    node: Arc<Node<E>>,
}

type Answer<T> = Result<Response<T>, Status>;

impl<E: Environment> Face<E> {
    pub(super) fn new(node: Arc<Node<E>>) -> Self {
        Self { node }
    }

    /// Waits until this controller has everything that was acknowledged before, unless its own state is enough.
    async fn fresh(&self, local: bool) -> Result<(), Status> {
        if local {
            return Ok(());
        }
        self.node.controller.replica().linearizable().await.map_err(refusal::of_read).map(|_| ())
    }

    /// As [`Self::fresh`], for what only the leader knows.
    async fn fresh_at_leader(&self, local: bool) -> Result<(), Status> {
        let raft = self.node.controller.replica().status();
        if !local && !raft.leads {
            return Err(detail::not_leader(raft.leader.as_ref().map(refusal::peer)));
        }
        self.fresh(local).await
    }

    async fn change(&self, by: Actor, mutation: Option<&pb::Mutation>, change: Change) -> Answer<pb::MutationReply> {
        propose(&self.node, by, mutation, change).await.map(Response::new)
    }
}

/// Proposes an operator's change under the name that its request has.
pub(super) async fn propose<E: Environment>(
    node: &Node<E>,
    by: Actor,
    mutation: Option<&pb::Mutation>,
    change: Change,
) -> Result<pb::MutationReply, Status> {
    let request = request_id(mutation)?;
    let proposed = node.controller.replica().propose(by, Some(request), change).await;
    let (at, reply) = proposed.map_err(refusal::of_proposal)?;
    Ok(pb::MutationReply { at: at.0, reply: Some(reply.into()) })
}

/// Returns the name of an operator's request.
pub(super) fn request_id(mutation: Option<&pb::Mutation>) -> Result<RequestId, Status> {
    let mutation = mutation.ok_or_else(|| Status::invalid_argument("field 'mutation': it is missing"))?;
    Ok(RequestId(convert::uuid(mutation.request.clone(), "mutation.request")?))
}

fn reason(mutation: Option<&pb::Mutation>) -> Result<String, Status> {
    let reason = mutation.map(|mutation| mutation.reason.trim()).unwrap_or_default();
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        let words = format!("this needs a reason of 1 to {REASON_BYTES_MAX} bytes; it stands in the history");
        return Err(Status::invalid_argument(words));
    }
    Ok(reason.into())
}

#[tonic::async_trait]
impl<E: Environment> pb::cluster_server::Cluster for Face<E> {
    type InstanceListStream = Pin<Box<dyn Stream<Item = Result<pb::Instance, Status>> + Send>>;
    type EventListStream = EventStream;

    async fn status(&self, request: Request<pb::ReadRequest>) -> Answer<pb::StatusReply> {
        caller::operator(&request)?;
        self.fresh(request.get_ref().local).await?;
        Ok(Response::new(status::reply(&self.node)))
    }

    async fn member_list(&self, request: Request<pb::ReadRequest>) -> Answer<pb::MemberListReply> {
        caller::operator(&request)?;
        self.fresh_at_leader(request.get_ref().local).await?;
        Ok(Response::new(pb::MemberListReply { members: members::list(&self.node) }))
    }

    async fn member_add(&self, request: Request<pb::MemberRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let id = ControllerId(request.into_inner().controller);
        tracing::info!(controller = %id, %by, "asked to make a controller a learner");
        members::add(&self.node, id).await.map(Response::new)
    }

    async fn member_promote(&self, request: Request<pb::MemberRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let id = ControllerId(request.into_inner().controller);
        tracing::info!(controller = %id, %by, "asked to make a learner a voter");
        members::promote(&self.node, id).await.map(Response::new)
    }

    async fn member_demote(&self, request: Request<pb::MemberRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let id = ControllerId(request.into_inner().controller);
        tracing::info!(controller = %id, %by, "asked to take a voter's vote");
        members::demote(&self.node, id).await.map(Response::new)
    }

    async fn member_remove(&self, request: Request<pb::MemberRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let id = ControllerId(request.into_inner().controller);
        tracing::info!(controller = %id, %by, "asked to take a controller out of the cluster");
        members::remove(&self.node, id).await.map(Response::new)
    }

    async fn token_create(&self, request: Request<pb::TokenCreateRequest>) -> Answer<pb::TokenCreateReply> {
        let by = caller::operator(&request)?;
        tokens::create(&self.node, by, request.into_inner()).await.map(Response::new)
    }

    async fn host_enrol(&self, request: Request<pb::HostEnrolRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        enrolment::enrol(&self.node, by, request.into_inner()).await.map(Response::new)
    }

    async fn host_list(&self, request: Request<pb::ReadRequest>) -> Answer<pb::HostListReply> {
        caller::operator(&request)?;
        self.fresh_at_leader(request.get_ref().local).await?;
        Ok(Response::new(pb::HostListReply { hosts: hosts::list(&self.node) }))
    }

    async fn host_show(&self, request: Request<pb::HostRequest>) -> Answer<pb::HostShowReply> {
        caller::operator(&request)?;
        let request = request.into_inner();
        let host: HostId = convert::name(request.host, "host")?;
        self.fresh_at_leader(request.local).await?;
        hosts::show(&self.node, &host).map(Response::new)
    }

    async fn host_maintenance(&self, request: Request<pb::HostMaintenanceRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let request = request.into_inner();
        let why = reason(request.mutation.as_ref())?;
        let host = convert::name(request.host, "host")?;
        let change = Change::HostMaintenance { host, reason: request.start.then_some(why) };
        self.change(by, request.mutation.as_ref(), change).await
    }

    async fn host_confirm_dead(&self, request: Request<pb::HostConfirmDeadRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let request = request.into_inner();
        let reason = reason(request.mutation.as_ref())?;
        let host: HostId = convert::name(request.host, "host")?;
        let said = request.boot.map(|boot| convert::uuid(boot, "boot")).transpose()?.map(BootId);
        let known =
            || self.node.controller.replica().read(|state| state.host(&host)?.agent.as_ref().map(|agent| agent.boot));
        let boot = said.or_else(known);
        let change = Change::HostConfirmDead { host, reason, boot };
        self.change(by, request.mutation.as_ref(), change).await
    }

    async fn fence_test(&self, request: Request<pb::HostRequest>) -> Answer<pb::FenceTestReply> {
        caller::operator(&request)?;
        let request = request.into_inner();
        let host: HostId = convert::name(request.host, "host")?;
        self.fresh(request.local).await?;
        fences::test(&self.node, &host).await.map(Response::new)
    }

    async fn fence_status(&self, request: Request<pb::FenceStatusRequest>) -> Answer<pb::FenceStatusReply> {
        caller::operator(&request)?;
        let request = request.into_inner();
        let host: Option<HostId> = request.host.map(|host| convert::name(host, "host")).transpose()?;
        self.fresh(request.local).await?;
        let fences = fences::status(&self.node, host.as_ref())?;
        Ok(Response::new(pb::FenceStatusReply { fences: fences.into_iter().map(Into::into).collect() }))
    }

    async fn segment_create(&self, request: Request<pb::SegmentCreateRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let request = request.into_inner();
        let segment: Segment = convert::required(request.segment, "segment")?;
        self.change(by, request.mutation.as_ref(), Change::SegmentCreate { segment }).await
    }

    async fn segment_list(&self, request: Request<pb::ReadRequest>) -> Answer<pb::SegmentListReply> {
        caller::operator(&request)?;
        self.fresh(request.get_ref().local).await?;
        let segments: Vec<Segment> = self.node.controller.replica().read(|state| state.segments().cloned().collect());
        Ok(Response::new(pb::SegmentListReply { segments: segments.into_iter().map(Into::into).collect() }))
    }

    async fn instance_list(&self, request: Request<pb::ReadRequest>) -> Answer<Self::InstanceListStream> {
        caller::operator(&request)?;
        self.fresh(request.get_ref().local).await?;
        let rows = instances::list(&self.node).into_iter();
        Ok(Response::new(Box::pin(stream::iter(rows.map(|instance| Ok(instance.into()))))))
    }

    async fn instance_show(&self, request: Request<pb::InstanceRequest>) -> Answer<pb::Instance> {
        caller::operator(&request)?;
        let request = request.into_inner();
        let id = InstanceId(convert::uuid(request.instance, "instance")?);
        self.fresh(request.local).await?;
        Ok(Response::new(instances::show(&self.node, id)?.into()))
    }

    async fn event_list(&self, request: Request<pb::EventListRequest>) -> Answer<Self::EventListStream> {
        caller::operator(&request)?;
        let request = request.into_inner();
        self.fresh(false).await?;
        Ok(Response::new(events::list(Arc::clone(&self.node), request.from, request.follow)))
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Answer<pb::ExplainReply> {
        use pb::explain_request::Subject;
        caller::operator(&request)?;
        self.fresh_at_leader(false).await?;
        let (host, instance) = match request.into_inner().subject {
            Some(Subject::Host(host)) => (convert::name(host, "host")?, None),
            Some(Subject::Instance(id)) => {
                let instance = instances::show(&self.node, InstanceId(convert::uuid(id, "instance")?))?;
                (instance.owner.clone(), Some(instance))
            }
            None => return Err(Status::invalid_argument("field 'subject': it is missing")),
        };
        let needle = instance.as_ref().map_or_else(|| host.to_string(), |instance| instance.id.to_string());
        let found = self.node.controller.replica().read(|state| hosts::known(state, &host).cloned())?;
        Ok(Response::new(pb::ExplainReply {
            host: Some(hosts::report(&self.node, found)),
            instance: instance.map(Into::into),
            fences: fences::status(&self.node, Some(&host))?.into_iter().map(Into::into).collect(),
            events: self.named(&needle).into_iter().map(Into::into).collect(),
        }))
    }

    async fn arm(&self, request: Request<pb::Mutation>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let mutation = request.into_inner();
        self.change(by, Some(&mutation), Change::Arm { reason: reason(Some(&mutation))? }).await
    }

    async fn disarm(&self, request: Request<pb::Mutation>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let mutation = request.into_inner();
        self.change(by, Some(&mutation), Change::Disarm { reason: reason(Some(&mutation))? }).await
    }

    async fn settings_set(&self, request: Request<pb::SettingsSetRequest>) -> Answer<pb::MutationReply> {
        let by = caller::operator(&request)?;
        let request = request.into_inner();
        let settings: Settings = convert::required(request.settings, "settings")?;
        self.change(by, request.mutation.as_ref(), Change::SettingsSet { settings }).await
    }
}

impl<E: Environment> Face<E> {
    /// Returns the newest kept events that name a host or an instance, oldest first.
    fn named(&self, name: &str) -> Vec<EventRecord> {
        let names = |record: &&EventRecord| {
            let words = record.event.to_string();
            words
                .split(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)))
                .any(|word| word.trim_end_matches('.') == name)
        };
        let mut named: Vec<EventRecord> =
            self.node.controller.replica().read(|state| state.events_from(0).filter(names).cloned().collect());
        let surplus = named.len().saturating_sub(EXPLAINED_EVENTS_MAX);
        named.drain(..surplus);
        named
    }
}
