//! Proposals and linearizable reads: asking the leader, wherever it is.

use prost::Message;
use quorumfence_machine::{Actor, Change, LogIndex, Millis, Rejected, RequestId};
use quorumfence_proto::{COMMAND_BYTES_MAX, pb};

use super::Replica;
use crate::error::Proposed;
use crate::{
    CallError, Clock, Environment, Lane, Peer, Point, ProposeError, ReadError, Request, Response, Runtime, Transport,
};

/// Why nobody answered.
enum Unanswered {
    /// Certainly nothing was done.
    NoLeader(Option<Peer>),
    /// Something may have been done.
    Unknown(String),
}

/// Whether a request may be sent again when nobody knows what became of the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Safe,
    Never,
}

impl<E: Environment> Replica<E> {
    /// Proposes a change and waits until it is applied and durable at the leader.
    ///
    /// Goes to the leader wherever it is, waits for an election and follows a change of leader, all within the call
    /// deadline. With a request id an unclear attempt is repeated, because the machine answers a known id with its
    /// first answer; without one it is reported as [`ProposeError::Unknown`] at once.
    pub async fn propose(&self, by: Actor, request: Option<RequestId>, change: Change) -> Proposed {
        let message = pb::ProposeRequest {
            by: Some(by.into()),
            request: request.map(|id| id.0.to_vec()),
            change: Some(change.into()),
        };
        let bytes = message.encoded_len();
        if bytes > COMMAND_BYTES_MAX {
            let why = format!("the change has {bytes} bytes; at most {COMMAND_BYTES_MAX} fit into the log");
            return Err(ProposeError::Rejected(Rejected::Invalid(why)));
        }
        if self.stopped() {
            return Err(ProposeError::Stopped);
        }
        let repeat = if request.is_some() { Repeat::Safe } else { Repeat::Never };
        let deadline = self.inner.clock.now() + self.inner.options.call_deadline;
        E::pass(Point::ProposeBeforeAsk).await;
        let answered = self.ask_leader(Request::Propose(message), repeat, deadline).await;
        E::pass(Point::ProposeBeforeAnswer).await;
        match answered {
            Ok(Response::Propose(reply)) => answer(reply),
            Ok(other) => Err(ProposeError::Unknown(format!("the leader answered with {other:?}"))),
            Err(Unanswered::NoLeader(leader)) => Err(ProposeError::NotLeader(leader)),
            Err(Unanswered::Unknown(why)) => Err(ProposeError::Unknown(why)),
        }
    }

    /// Waits until [`Replica::read`] sees every change that was acknowledged before this call (ReadIndex).
    ///
    /// A quorum confirms the leader for this very read; no lease and no clock is trusted. Returns the entry that the
    /// state reflects at least.
    pub async fn linearizable(&self) -> Result<LogIndex, ReadError> {
        if self.stopped() {
            return Err(ReadError::Stopped);
        }
        E::pass(Point::ReadBeforeIndex).await;
        let deadline = self.inner.clock.now() + self.inner.options.call_deadline;
        let reply = match self.ask_leader(Request::ReadIndex(pb::ReadIndexRequest {}), Repeat::Safe, deadline).await {
            Ok(Response::ReadIndex(reply)) => reply,
            Ok(_) | Err(Unanswered::Unknown(_)) => return Err(ReadError::TimedOut),
            Err(Unanswered::NoLeader(leader)) => return Err(ReadError::NoLeader(leader)),
        };
        E::pass(Point::ReadAfterIndex).await;
        let wanted = LogIndex(reply.log_id.map_or(0, |id| id.index));
        let mut applied = self.applied();
        let left = deadline - self.inner.clock.now();
        match E::Runtime::timeout(left.into(), applied.wait_for(|applied| *applied >= wanted)).await {
            Ok(Ok(_)) => Ok(wanted),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::TimedOut),
        }
    }

    async fn ask_leader(&self, request: Request, repeat: Repeat, deadline: Millis) -> Result<Response, Unanswered> {
        let mut leadership = self.leadership();
        let mut hint: Option<Peer> = None;
        let mut doubt: Option<String> = None;
        loop {
            let left = deadline - self.inner.clock.now();
            let known = leadership.borrow_and_update().leader.clone();
            if left == Millis::ZERO || self.stopped() {
                return Err(doubt.map_or(Unanswered::NoLeader(known), Unanswered::Unknown));
            }
            if let Some(target) = hint.take().or(known) {
                // A dead leader must not eat the whole deadline of a request that can be sent again.
                let attempt = match repeat {
                    Repeat::Safe => left.min(self.inner.options.election_max),
                    Repeat::Never => left,
                };
                match self.attempt(&target, request.clone(), attempt).await {
                    Ok(Response::NotLeader(Some(other))) if other != target => {
                        hint = Some(other);
                        // Two that point at each other must not spin.
                        E::Runtime::sleep(HINT_PAUSE.into()).await;
                        continue;
                    }
                    Ok(Response::NotLeader(_)) | Err(CallError::Unreachable(_)) => {}
                    Ok(response) => return Ok(response),
                    Err(CallError::Refused(why)) => {
                        tracing::warn!(leader = %target, why, "the leader refuses requests of this controller");
                    }
                    Err(error @ (CallError::TimedOut | CallError::Broken(_))) => match repeat {
                        Repeat::Safe => doubt = Some(error.to_string()),
                        Repeat::Never => return Err(Unanswered::Unknown(error.to_string())),
                    },
                }
            }
            let pause = E::Runtime::sleep(self.inner.options.heartbeat.min(left).into());
            E::Runtime::select2(leadership.changed(), pause).await;
        }
    }

    async fn attempt(&self, target: &Peer, request: Request, deadline: Millis) -> Result<Response, CallError> {
        if target.id != self.inner.me {
            return self.inner.transport.call(target, Lane::Log, request, deadline.into()).await;
        }
        match E::Runtime::timeout(deadline.into(), self.serve(request)).await {
            Ok(response) => Ok(response?),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.inner.ended.borrow().is_some()
    }
}

/// Pause between two controllers' opinions on who leads.
const HINT_PAUSE: Millis = Millis(10);

fn answer(reply: pb::ProposeReply) -> Proposed {
    let unreadable = |why: String| ProposeError::Unknown(format!("the leader's answer is not understood: {why}"));
    let at = LogIndex(reply.log_id.ok_or_else(|| unreadable("no log id".into()))?.index);
    let answered = reply.answered.ok_or_else(|| unreadable("no answer".into()))?;
    let result: Result<quorumfence_machine::Reply, Rejected> =
        answered.try_into().map_err(|error: quorumfence_proto::convert::Error| unreadable(error.to_string()))?;
    Ok((at, result?))
}
