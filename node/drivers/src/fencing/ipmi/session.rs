//! One authenticated conversation with a BMC.

use std::net::SocketAddr;
use std::time::Duration;

use ipmi_rs::connection::{CompletionErrorCode, IpmiCommand, LogicalUnit, Request, RequestTargetAddress, Response};
use tokio::time::Instant;

use super::commands::{BecomeOperator, CloseSession};
use super::error::Error;
use super::message::{self, Question};
use super::packet::{self, Payload, Seal, Window};
use super::rakp::Attempt;
use super::suite::Suite;
use super::wire::Wire;
use crate::order::DeviceAccess;

/// How often a handshake is begun within one deadline: a lost or doubled datagram can spoil one. Each may take a slot.
const HANDSHAKES_MAX: u32 = 4;

/// First pause before a handshake's datagram is sent again, longer with each handshake. Patient, because a BMC that
/// is asked twice draws two challenges, and old ones take most of a second to draw one.
const HANDSHAKE_RESEND: Duration = Duration::from_secs(1);

/// First pause before a command is sent again. Shorter: a command that arrives twice is answered twice, and no harm.
const COMMAND_RESEND: Duration = Duration::from_millis(400);

/// Longest wait for the answer to Close Session, which nobody needs.
const CLOSE_MAX: Duration = Duration::from_millis(300);

/// Six bits tell requests apart.
const REQUEST_SEQUENCE_MASK: u8 = 0x3f;

/// One authenticated conversation with a BMC. Dropped unclosed, it still asks the BMC to free its slot.
#[derive(Debug)]
pub struct Session {
    peer: SocketAddr,
    wire: Wire,
    seal: Seal,
    window: Window,
    /// The last session sequence number that was sent; each datagram has its own.
    sent: u32,
    /// The last request sequence number; each request has its own, and keeps it when it is sent again.
    request: u8,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Usable,
    /// A request went unanswered, and its answer may still be on the way.
    Over,
    Closed,
}

impl Session {
    /// Logs in with one suite and no other, and becomes operator.
    pub(super) async fn open(access: &DeviceAccess, suite: Suite, until: Instant) -> Result<Self, Error> {
        let (wire, seal) = handshake(access, suite, until).await?;
        let peer = access.address;
        let mut session =
            Self { peer, wire, seal, window: Window::default(), sent: 0, request: 0, state: State::Usable };
        match session.command(BecomeOperator, until).await {
            Ok(()) => Ok(session),
            Err(error) => {
                session.end().await;
                Err(error)
            }
        }
    }

    /// Returns the cipher suite that this session speaks.
    pub const fn suite(&self) -> Suite {
        self.seal.suite
    }

    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends one command, again and again with the same request number, until it is answered.
    pub(super) async fn command<C>(&mut self, command: C, until: Instant) -> Result<C::Output, Error>
    where
        C: IpmiCommand,
        C::Error: Into<Error>,
    {
        if self.state != State::Usable {
            return Err(Error::Over);
        }
        // If this future is dropped half-way, the request went unanswered.
        self.state = State::Over;
        let response = self.exchange(command.into(), until).await?;
        self.state = State::Usable;
        if let Ok(code) = CompletionErrorCode::try_from(response.cc()) {
            let special = C::handle_completion_code(code, response.data()).map(Into::into);
            return Err(special.unwrap_or(Error::Completion { code: response.cc() }));
        }
        C::parse_success_response(response.data()).map_err(Into::into)
    }

    /// Asks the BMC to free the slot. Best effort: a BMC forgets idle sessions by itself, after a minute or so.
    pub(super) async fn end(mut self) {
        if self.state == State::Usable {
            let close = CloseSession { session: self.seal.theirs };
            match self.command(close, Instant::now() + CLOSE_MAX).await {
                Ok(()) => self.state = State::Closed,
                Err(error) => tracing::debug!(device = %self.peer, %error, "ipmi: the session was not closed"),
            }
        }
    }

    async fn exchange(&mut self, message: ipmi_rs::connection::Message, until: Instant) -> Result<Response, Error> {
        self.request = (self.request + 1) & REQUEST_SEQUENCE_MASK;
        let request = Request::new(message, RequestTargetAddress::Bmc(LogicalUnit::Zero));
        let question = Question::of(&request, self.request);
        let message = message::encode(&request, question);
        let Self { wire, seal, window, sent, .. } = self;
        let write = || {
            *sent = sent.checked_add(1).expect("a session ends long before four thousand million datagrams");
            seal.close(*sent, rand::random(), &message)
        };
        let read = |datagram: &[u8]| {
            let opened = seal.open(datagram).filter(|opened| window.admit(opened.sequence));
            Ok(opened.and_then(|opened| message::parse(&opened.message, question)))
        };
        wire.ask(COMMAND_RESEND, until, write, read).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.state == State::Closed {
            return;
        }
        let close = CloseSession { session: self.seal.theirs };
        let request = Request::new(close.into(), RequestTargetAddress::Bmc(LogicalUnit::Zero));
        let question = Question::of(&request, (self.request + 1) & REQUEST_SEQUENCE_MASK);
        let message = message::encode(&request, question);
        let datagram = self.seal.close(self.sent.saturating_add(1), rand::random(), &message);
        if let Err(error) = self.wire.tell(&datagram) {
            tracing::debug!(device = %self.peer, %error, "ipmi: the session was not closed");
        }
    }
}

/// Agrees on keys. Begins again after a mishap, each time with half of the time that is left, the last time with all.
async fn handshake(access: &DeviceAccess, suite: Suite, until: Instant) -> Result<(Wire, Seal), Error> {
    for number in 1..HANDSHAKES_MAX {
        let now = Instant::now();
        let half = now + until.saturating_duration_since(now) / 2;
        match Round::begin(access, suite, number, half).await?.agree().await {
            Err(error) if error.is_mishap_of_the_handshake() => {
                tracing::debug!(device = %access.address, %error, number, "ipmi: the handshake begins again");
            }
            concluded => return concluded,
        }
    }
    Round::begin(access, suite, HANDSHAKES_MAX, until).await?.agree().await
}

/// One handshake.
///
/// It has a port of its own: pyghmi's server, and so VirtualBMC, takes a port that it has seen for the session that it
/// had there, and answers with that session's keys.
struct Round<'a> {
    access: &'a DeviceAccess,
    wire: Wire,
    attempt: Attempt,
    pause: Duration,
    until: Instant,
}

impl<'a> Round<'a> {
    async fn begin(access: &'a DeviceAccess, suite: Suite, number: u32, until: Instant) -> Result<Self, Error> {
        let wire = Wire::connect(access.address).await?;
        let ours = rand::random::<u32>().max(1);
        let attempt = Attempt { suite, tag: rand::random(), ours, challenge: rand::random() };
        Ok(Self { access, wire, attempt, pause: HANDSHAKE_RESEND * number, until })
    }

    async fn agree(mut self) -> Result<(Wire, Seal), Error> {
        let Self { access, attempt, .. } = self;
        let open_session = packet::plain(Payload::OpenSessionRequest, &attempt.open_session());
        let theirs =
            self.ask(&open_session, Payload::OpenSessionResponse, |body| attempt.read_open_session(body)).await?;
        let rakp1 = packet::plain(Payload::Rakp1, &attempt.rakp1(theirs, &access.user));
        let counterpart = self.ask(&rakp1, Payload::Rakp2, |body| attempt.read_rakp2(body, theirs, access)).await;
        if matches!(counterpart, Err(Error::Password)) {
            self.give_back(theirs);
        }
        let counterpart = counterpart?;
        // A BMC that has answered RAKP 3 once takes the session for open and may not answer again: begin again soon.
        self.until = self.until.min(Instant::now() + self.pause * 3);
        let rakp3 = packet::plain(Payload::Rakp3, &attempt.rakp3(&counterpart, access));
        let seal = self.ask(&rakp3, Payload::Rakp4, |body| attempt.read_rakp4(body, &counterpart, access)).await?;
        Ok((self.wire, seal))
    }

    async fn ask<T>(
        &self,
        question: &[u8],
        answer: Payload,
        mut read: impl FnMut(&[u8]) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let read = |datagram: &[u8]| packet::parse_plain(datagram, answer).map_or(Ok(None), &mut read);
        self.wire.ask(self.pause, self.until, || question.to_vec(), read).await
    }

    /// Frees the slot of a half-open session at once, where the BMC takes the hint.
    fn give_back(&self, theirs: u32) {
        let refusal = packet::plain(Payload::Rakp3, &self.attempt.rakp3_refusing(theirs));
        if let Err(error) = self.wire.tell(&refusal) {
            tracing::debug!(device = %self.access.address, %error, "ipmi: the half-open session was not given back");
        }
    }
}
