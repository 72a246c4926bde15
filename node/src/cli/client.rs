//! The command line's way to a controller that can answer.
//!
//! Any controller may be asked: what only the leader knows comes back as a hint to it. A request that changes the
//! state carries its own name, so that asking again after silence changes the state once.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use quorumfence_machine::{ControllerId, RequestId};
use quorumfence_proto::pb::cluster_client::ClusterClient;
use quorumfence_proto::status::{self, Detail};
use quorumfence_proto::{CONTROL_MESSAGE_BYTES_MAX, convert, pb};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::{Exit, Failure};
use crate::cluster::identity::Peer;
use crate::cluster::operator::Context;
use crate::wiring::dial::{NotConnected, connect};

/// A controller that does not take a connection in this time is passed over.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A controller that does not answer in this time is passed over. Its own deadline for a proposal is shorter.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

/// Pause between two rounds over all controllers: an election takes about this long.
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// Rounds in which nobody could be reached before the client gives up; waiting does not start a controller.
const SILENT_ROUNDS_MAX: u32 = 2;

/// A connection to a cluster, through whichever controller answers.
#[derive(Debug)]
pub struct Client {
    context: Context,
    path: PathBuf,
    limit: Duration,
    leader: Option<Target>,
    channels: BTreeMap<Target, Channel>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    id: ControllerId,
    address: String,
}

/// Hints that one call follows at once; after an election two controllers may name each other for a while.
const HINTS_MAX: u32 = 8;

/// What a call is for: silence after a change leaves open whether it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Change,
}

/// What one controller's refusal means for the rest of the call.
enum Verdict {
    Final,
    AskLeader(Target),
    AskNext,
}

impl Client {
    /// Creates a client that tries for at most `limit` per call. Connects with the first call.
    pub fn new(context: Context, path: PathBuf, limit: Duration) -> Self {
        Self { context, path, limit, leader: None, channels: BTreeMap::new() }
    }

    /// Returns how long a call may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Changes how long a call may take.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Returns the cluster's name.
    pub fn cluster_name(&self) -> &str {
        &self.context.cluster_name
    }

    /// Asks until a controller answers for good.
    pub async fn read<Q, A, F>(
        &mut self,
        request: Q,
        send: impl Fn(ClusterClient<Channel>, Q) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call(Purpose::Read, request, send).await
    }

    /// Sends a change until a controller answers it for good. The request's name makes it one change.
    pub async fn change<Q, A, F>(
        &mut self,
        request: Q,
        send: impl Fn(ClusterClient<Channel>, Q) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call(Purpose::Change, request, send).await
    }

    async fn call<Q, A, F>(
        &mut self,
        purpose: Purpose,
        request: Q,
        send: impl Fn(ClusterClient<Channel>, Q) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let until = Instant::now() + self.limit;
        let (mut silent_rounds, mut hints) = (0, 0);
        let mut asked: BTreeMap<Target, Status> = BTreeMap::new();
        loop {
            let (mut somebody_answered, mut hinted) = (false, false);
            for target in self.targets() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(self.gave_up(purpose, &asked));
                }
                let status = match self.attempt(&target, left, |client| send(client, request.clone())).await {
                    Ok(answer) => return Ok(answer),
                    Err(status) => status,
                };
                let verdict = verdict(&status);
                somebody_answered |= !was_not_sent(&status);
                asked.insert(target.clone(), status.clone());
                match verdict {
                    Verdict::Final => return Err(status.into()),
                    Verdict::AskLeader(leader) if leader != target && hints < HINTS_MAX => {
                        (hinted, hints) = (self.leader.as_ref() != Some(&leader), hints + 1);
                        self.leader = Some(leader);
                        if hinted {
                            break;
                        }
                    }
                    Verdict::AskLeader(_) | Verdict::AskNext => {}
                }
            }
            if hinted {
                continue;
            }
            silent_rounds = if somebody_answered { 0 } else { silent_rounds + 1 };
            if silent_rounds == SILENT_ROUNDS_MAX {
                return Err(self.gave_up(purpose, &asked));
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    /// Remembers where the controllers are, for this client and for the next.
    pub fn learn(&mut self, peers: &[pb::Peer]) {
        let controllers: BTreeMap<ControllerId, String> =
            peers.iter().map(|peer| (ControllerId(peer.id), peer.address.clone())).collect();
        if controllers.is_empty() || controllers == self.context.controllers {
            return;
        }
        self.context.controllers = controllers;
        if let Err(error) = self.context.replace(&self.path) {
            tracing::warn!(context = %self.path.display(), %error, "the operator context was not brought up to date");
        }
    }

    async fn attempt<A, F>(
        &mut self,
        target: &Target,
        left: Duration,
        send: impl FnOnce(ClusterClient<Channel>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let channel = match self.channels.get(target) {
            Some(channel) => channel.clone(),
            None => {
                let tls = self.context.identity.client_tls(&Peer::Controller(target.id));
                let channel = connect(&target.address, tls, left.min(CONNECT_LIMIT)).await?;
                self.channels.insert(target.clone(), channel.clone());
                channel
            }
        };
        let client = ClusterClient::new(channel)
            .max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(CONTROL_MESSAGE_BYTES_MAX);
        match timeout(left.min(ATTEMPT_LIMIT), send(client)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("it did not answer in time")),
        }
    }

    /// The leader first, where it is known.
    fn targets(&self) -> Vec<Target> {
        let known = self.context.controllers.iter();
        let mut targets: Vec<Target> =
            known.map(|(id, address)| Target { id: *id, address: address.clone() }).collect();
        if let Some(leader) = &self.leader {
            targets.retain(|target| target != leader);
            targets.insert(0, leader.clone());
        }
        targets
    }

    fn gave_up(&self, purpose: Purpose, asked: &BTreeMap<Target, Status>) -> Failure {
        let cluster = &self.context.cluster_name;
        let somebody_answered = asked.values().any(|status| !was_not_sent(status));
        let (exit, message) = match (somebody_answered, purpose) {
            (false, _) => (
                Exit::Unreachable,
                format!(
                    "no controller of cluster {cluster} can be reached, so nothing was done; check that one runs and \
                     that this machine can reach it"
                ),
            ),
            (true, Purpose::Change) if asked.values().any(is_unclear) => (
                Exit::TimedOut,
                format!(
                    "cluster {cluster} did not answer for good in time; the change may or may not be made. Look at \
                     'quorumfence event list' before you ask again"
                ),
            ),
            (true, _) => (
                Exit::TimedOut,
                format!(
                    "cluster {cluster} has no leader that a quorum confirms, so nothing was done; a majority of its \
                     controllers must run and reach each other. 'quorumfence status --local' shows what one of them has"
                ),
            ),
        };
        let mut failure = Failure::new(exit, message);
        failure.causes = asked
            .iter()
            .map(|(target, status)| format!("{} at {}: {}", target.id, target.address, told(status)))
            .collect();
        failure
    }
}

/// Returns a change's frame: a name of its own, and why.
pub fn mutation(reason: &str) -> pb::Mutation {
    pb::Mutation { request: request_id().0.to_vec(), reason: reason.into() }
}

/// Draws the name of a request.
#[expect(clippy::disallowed_methods, reason = "a command line is not simulated")]
pub fn request_id() -> RequestId {
    RequestId(rand::random())
}

/// Returns a part of an answer as the machine's type.
pub fn understood<P, M: TryFrom<P, Error = convert::Error>>(part: P) -> Result<M, Failure> {
    M::try_from(part).map_err(|error| {
        let message = "the controller's answer cannot be understood; use the command line of the controllers' version";
        Failure::new(Exit::Failed, message).because(Some(&error))
    })
}

fn verdict(status: &Status) -> Verdict {
    match status::detail(status) {
        Some(Detail::NotLeader { leader: Some(peer) }) => {
            return Verdict::AskLeader(Target { id: ControllerId(peer.id), address: peer.address });
        }
        Some(Detail::NotLeader { leader: None }) => return Verdict::AskNext,
        Some(Detail::Rejected(_)) => return Verdict::Final,
        None => {}
    }
    let connection_lost = status.source().is_some();
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Verdict::AskNext,
        Code::Unknown | Code::Internal if connection_lost => Verdict::AskNext,
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Verdict::Final,
    }
}

/// Returns whether no connection was made, so that the controller cannot have heard the request.
///
/// A connection that was lost later is another matter, also where tonic calls it unavailable: when keep-alives go
/// unanswered, the request may be under way or done.
fn was_not_sent(status: &Status) -> bool {
    let causes = std::iter::successors(status.source(), |&cause| cause.source());
    let mut causes = causes.map(|cause| cause.is::<NotConnected>() || cause.is::<tonic::ConnectError>());
    status.code() == Code::Unavailable && causes.any(|is_of_the_connection| is_of_the_connection)
}

/// Returns whether the request may have been heard although nothing was answered: in time, or before the connection broke.
fn is_unclear(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded || (status.source().is_some() && !was_not_sent(status))
}

/// The words of a status and the deepest cause, which is the one that helps.
fn told(status: &Status) -> String {
    let deepest = std::iter::successors(status.source(), |&cause| cause.source()).last();
    deepest.map_or_else(|| status.message().to_string(), |cause| format!("{} ({cause})", status.message()))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::wiring::dial::unreachable;

    fn unavailable(source: Option<Arc<dyn Error + Send + Sync>>) -> Status {
        let mut status = Status::unavailable("it cannot be reached");
        if let Some(source) = source {
            status.set_source(source);
        }
        status
    }

    #[test]
    fn only_a_connection_that_was_never_made_shows_that_nothing_was_done() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let never_made =
            [unreachable(refused()), unavailable(Some(Arc::new(tonic::ConnectError(Box::new(refused())))))];
        for status in never_made {
            assert_eq!((was_not_sent(&status), is_unclear(&status)), (true, false), "{status:?}");
        }
        // What tonic makes of keep-alives that nobody answered: the request may be under way.
        let lost = unavailable(Some(Arc::new(io::Error::from(io::ErrorKind::TimedOut))));
        assert_eq!((was_not_sent(&lost), is_unclear(&lost)), (false, true));
        let own_word = unavailable(None);
        assert_eq!((was_not_sent(&own_word), is_unclear(&own_word)), (false, false));
    }
}
