//! The cluster's own record, its controllers and its join tokens.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Settings, State};
use crate::{
    ClusterId, ClusterTime, ControllerId, Event, HostId, JoinTokenId, Joiner, LogIndex, Millis, Rejected, Reply,
    RequestId, Role,
};

/// Answered requests that are kept, so that a client's retry gets its first answer.
pub const REQUESTS_MAX: usize = 4096;

/// Join tokens that may exist at once.
const JOIN_TOKENS_MAX: usize = 1024;

/// The cluster's own record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cluster {
    /// Its identity.
    pub id: ClusterId,
    /// What operators call it.
    pub name: String,
    /// Whether it may fence.
    pub armed: bool,
    /// Why it is armed or not, in the last operator's words.
    pub armed_reason: String,
    /// The storm brake's closing; only `arm` opens it.
    pub storm: Option<LogIndex>,
    /// When fences were decided, oldest first; those that left the longest storm window that there may be go at the next
    /// decision.
    pub decided: Vec<ClusterTime>,
    /// The settings.
    pub settings: Settings,
    /// The cluster's clock: the highest that stands in the log.
    pub clock: ClusterTime,
    /// The voters, as the last committed membership says.
    pub voters: BTreeSet<ControllerId>,
    /// The highest controller id ever given out.
    pub last_controller: ControllerId,
    /// The last applied entry that changed this state.
    pub applied: LogIndex,
}

/// A controller that joined.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Controller {
    /// Its Raft node id.
    pub id: ControllerId,
    /// Where its peers reach it, `host:port`.
    pub address: String,
    /// The entry that allocated its id.
    pub joined_at: LogIndex,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its public half.
    pub id: JoinTokenId,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// What it admits.
    pub role: Role,
    /// When it ends.
    pub ends: ClusterTime,
    /// How often it can still be used.
    pub uses_left: u32,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoredReply {
    /// The request.
    pub request: RequestId,
    /// The entry that it became.
    pub at: LogIndex,
    /// The answer it got.
    pub reply: Result<Reply, Rejected>,
}

impl Cluster {
    /// Returns how many votes make a majority of the voters.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

pub(super) fn create_join_token(
    state: &mut State,
    token: JoinToken,
    life: Millis,
) -> Result<(Reply, Vec<Event>), Rejected> {
    let clock = state.cluster().ok_or(Rejected::NoCluster)?.clock;
    let expired: Vec<JoinTokenId> = state
        .join_tokens
        .values()
        .filter(|old| old.ends <= clock || old.uses_left == 0)
        .map(|old| old.id.clone())
        .collect();
    for id in expired {
        state.join_tokens.remove(&id);
    }
    if state.join_tokens.contains(&token.id) {
        return Err(Rejected::JoinTokenExists(token.id));
    }
    if state.join_tokens.len() >= JOIN_TOKENS_MAX {
        return Err(Rejected::Invalid(format!("{JOIN_TOKENS_MAX} join tokens exist; wait until some expire")));
    }
    let id = token.id.clone();
    state.join_tokens.insert(id.clone(), JoinToken { ends: clock.after(life), ..token });
    Ok((Reply::Done, vec![Event::JoinTokenCreated { id }]))
}

pub(super) fn join(
    state: &mut State,
    at: LogIndex,
    id: &JoinTokenId,
    secret_hash: &[u8; 32],
    joiner: &Joiner,
) -> Result<(Reply, Vec<Event>), Rejected> {
    let clock = state.cluster().ok_or(Rejected::NoCluster)?.clock;
    let role = match joiner {
        Joiner::Controller { .. } => Role::Controller,
        Joiner::Agent { .. } => Role::Agent,
    };
    let valid = state.join_tokens.get(id).is_some_and(|token| {
        token.secret_hash == *secret_hash && token.role == role && token.ends > clock && token.uses_left > 0
    });
    if !valid {
        return Err(Rejected::JoinToken(id.clone()));
    }
    let joined = match joiner {
        Joiner::Controller { address } => (join_controller(state, at, address)?, None),
        Joiner::Agent { host } => (Reply::Done, Some(join_agent(state, host)?)),
    };
    if let Some(token) = state.join_tokens.get_mut(id) {
        token.uses_left -= 1;
    }
    let event = match (joined.0, joined.1) {
        (Reply::Controller(controller), _) => Event::ControllerJoined { controller },
        (_, Some(event)) => event,
        (Reply::Done | Reply::Fence(_) | Reply::Permit(_), None) => return Ok((joined.0, Vec::new())),
    };
    Ok((joined.0, vec![event]))
}

fn join_controller(state: &mut State, at: LogIndex, address: &str) -> Result<Reply, Rejected> {
    if state.controllers.values().any(|controller| controller.address == address) {
        return Err(Rejected::Invalid(format!("a controller with the address {address} exists already")));
    }
    let cluster = state.cluster.get_mut(&()).ok_or(Rejected::NoCluster)?;
    let id = ControllerId(cluster.last_controller.0 + 1);
    cluster.last_controller = id;
    state.controllers.insert(id, Controller { id, address: address.into(), joined_at: at });
    Ok(Reply::Controller(id))
}

fn join_agent(state: &mut State, host: &HostId) -> Result<Event, Rejected> {
    match state.hosts.get_mut(host) {
        Some(known) if known.agent_joined => return Err(Rejected::HostTaken(host.clone())),
        Some(known) => known.agent_joined = true,
        None => state.hosts.insert(host.clone(), super::Host::joined(host.clone())),
    }
    Ok(Event::AgentJoined { host: host.clone() })
}
