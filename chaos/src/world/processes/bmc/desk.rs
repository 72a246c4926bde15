//! What a BMC makes of each datagram: a question to the laboratory, and then an answer. It waits for nothing.

use std::net::SocketAddr;

use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{BootId, HostId, Power, SystemUuid};
use tokio::time::Instant;

use super::keys::{Handshake, Suite};
use super::message::{self, Purpose, Request};
use super::packet::{self, Datagram, Sealed};
use super::session::{Active, Session, Slots, Stage};
use super::wire::{Sending, Weather, Wire};
use crate::chance::Chance;

/// Status codes of the handshake (table 13-15).
const NO_RESOURCES: u8 = 0x01;
const INVALID_SESSION: u8 = 0x02;
const UNAUTHORIZED_ROLE: u8 = 0x0a;
const UNAUTHORIZED_NAME: u8 = 0x0d;
const INVALID_INTEGRITY_CHECK: u8 = 0x0f;
const NO_SUITE: u8 = 0x11;

/// The one account of a BMC.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name, of at most sixteen bytes.
    pub user: String,
    /// Its password, of at most twenty bytes.
    pub password: Secret,
    /// The BMC key, where one is set.
    pub kg: Option<Secret>,
    /// What it may do.
    pub level: Level,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Read.
    User = 2,
    /// Switch the power.
    Operator = 3,
    /// Everything.
    Administrator = 4,
}

/// What the laboratory is asked before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Whether the BMC answers at all, and which machine it names.
    Identity,
    /// Whether it lets anybody log in, and which machine it names.
    Login,
    Power,
    Off,
    On(BootId),
}

/// What the laboratory said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Named(Option<SystemUuid>),
    Refused,
    Busy,
    Power(Power),
    Accepted,
}

/// A datagram that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) peer: SocketAddr,
    pub(super) host: HostId,
    pub(super) ask: Ask,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Ping { tag: u8 },
    OpenSession { tag: u8, level: u8, console: u32, suite: Option<Suite> },
    Rakp1(Rakp1),
    Rakp3 { tag: u8, session: u32, proof: Vec<u8> },
    Command { envelope: Envelope, request: Request, refusal: Option<u8> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rakp1 {
    tag: u8,
    session: u32,
    challenge: [u8; 16],
    role: u8,
    user: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Envelope {
    Old,
    Plain,
    Session(u32),
}

/// The state of one BMC.
#[derive(Debug)]
pub(super) struct Desk {
    account: Account,
    /// Whose BMC it is.
    pub(super) host: HostId,
    pub(super) slots: Slots,
    weather: Weather,
    chance: Chance,
    /// How often somebody named a user.
    pub(super) logins: usize,
    /// How often somebody ordered anything but off.
    pub(super) other_orders: usize,
}

impl Desk {
    pub(super) fn new(host: HostId, account: Account) -> Self {
        let chance = Chance::new(0, &format!("BMC of {host}"));
        let weather = Weather::new(Wire::default());
        Self { account, host, slots: Slots::default(), weather, chance, logins: 0, other_orders: 0 }
    }

    pub(super) fn set_wire(&mut self, wire: Wire) {
        self.weather = Weather::new(wire);
    }

    pub(super) fn spoil(&mut self, answer: Vec<u8>) -> Vec<Sending> {
        self.weather.spoil(answer)
    }

    /// Returns what has to be asked before this datagram can be answered; `None` for what gets no answer.
    pub(super) fn hear(&mut self, now: Instant, peer: SocketAddr, datagram: &[u8]) -> Option<Question> {
        let (what, ask) = match packet::parse(datagram)? {
            Datagram::Ping { tag } => (What::Ping { tag }, Ask::Identity),
            Datagram::Old { message } => self.hear_outside(Envelope::Old, message)?,
            Datagram::Plain { payload: packet::MESSAGE, body } => self.hear_outside(Envelope::Plain, body)?,
            Datagram::Plain { payload, body } => (self.hear_handshake(now, payload, body)?, Ask::Login),
            Datagram::Sealed(sealed) => return self.hear_sealed(now, peer, &sealed),
        };
        Some(Question { peer, host: self.host.clone(), ask, what })
    }

    fn hear_outside(&mut self, envelope: Envelope, message: &[u8]) -> Option<(What, Ask)> {
        let request = Request::parse(message)?;
        let refusal = request.purpose().least_level().map(|_| message::INSUFFICIENT_PRIVILEGE);
        Some((What::Command { envelope, request, refusal }, Ask::Identity))
    }

    fn hear_handshake(&mut self, now: Instant, payload: u8, body: &[u8]) -> Option<What> {
        match (payload, body) {
            (packet::OPEN_SESSION_REQUEST, [tag, level, _, _, a, b, c, d, algorithms @ ..]) => {
                let asked: Vec<u8> = algorithms.chunks_exact(8).map(|kind| kind[4]).collect();
                let suite = Suite::ALL.into_iter().find(|suite| suite.algorithms() == asked.as_slice());
                let console = u32::from_le_bytes([*a, *b, *c, *d]);
                Some(What::OpenSession { tag: *tag, level: level & 0x0f, console, suite })
            }
            (packet::RAKP_1, [tag, _, _, _, a, b, c, d, rest @ ..]) => {
                let (challenge, rest) = rest.split_first_chunk::<16>()?;
                let [role, _, _, length, name @ ..] = rest else { return None };
                let user = name.get(..usize::from(*length))?.to_vec();
                self.logins += 1;
                let session = u32::from_le_bytes([*a, *b, *c, *d]);
                Some(What::Rakp1(Rakp1 { tag: *tag, session, challenge: *challenge, role: *role, user }))
            }
            (packet::RAKP_3, [tag, status, _, _, a, b, c, d, proof @ ..]) => {
                let session = u32::from_le_bytes([*a, *b, *c, *d]);
                if *status != 0 {
                    // The console gives up, and the slot is free. Nobody waits for an answer.
                    let unfinished =
                        self.slots.get(session, now).is_some_and(|it| matches!(it.stage, Stage::Challenged(_)));
                    if unfinished {
                        self.slots.free(session);
                    }
                    return None;
                }
                Some(What::Rakp3 { tag: *tag, session, proof: proof.to_vec() })
            }
            _ => None,
        }
    }

    fn hear_sealed(&mut self, now: Instant, peer: SocketAddr, sealed: &Sealed<'_>) -> Option<Question> {
        let session = self.slots.get(sealed.session, now)?;
        let host = session.host.clone();
        let Stage::Active(active) = &mut session.stage else { return None };
        let split = sealed.after_rmcp.len().checked_sub(active.keys.suite.tag_bytes())?;
        let (packet, tag) = sealed.after_rmcp.split_at(split);
        if !active.keys.is_tag_of(tag, packet) || !active.admit(sealed.sequence) {
            return None;
        }
        let request = Request::parse(&active.keys.decrypt(sealed.payload)?)?;
        let least = request.purpose().least_level().unwrap_or_default();
        let refusal = if self.weather.is_busy() {
            Some(message::NODE_BUSY)
        } else {
            (active.level < least).then_some(message::INSUFFICIENT_PRIVILEGE)
        };
        if self.weather.forgets() {
            self.slots.free(sealed.session);
            return None;
        }
        let ask = match (refusal, request.purpose()) {
            (None, Purpose::ChassisStatus) => Ask::Power,
            (None, Purpose::PowerOff) => Ask::Off,
            (None, Purpose::PowerOn) => {
                self.other_orders += 1;
                Ask::On(BootId(self.draw()))
            }
            (
                None,
                Purpose::ChannelCapabilities
                | Purpose::ChannelSuites { .. }
                | Purpose::DeviceId
                | Purpose::SystemGuid
                | Purpose::SetPrivilege { .. }
                | Purpose::CloseSession { .. }
                | Purpose::Unserved { .. },
            )
            | (Some(_), _) => Ask::Identity,
        };
        let envelope = Envelope::Session(sealed.session);
        Some(Question { peer, host, ask, what: What::Command { envelope, request, refusal } })
    }

    /// Returns the answer to a question, after the laboratory had its say.
    pub(super) fn answer(&mut self, now: Instant, question: Question, said: Said) -> Option<Vec<u8>> {
        match question.what {
            What::Ping { tag } => Some(packet::pong(tag)),
            What::OpenSession { tag, level, console, suite } => {
                let session = Session {
                    host: question.host,
                    peer: question.peer,
                    tag,
                    suite: suite.unwrap_or(Suite::Three),
                    console,
                    level_asked: level,
                    stage: Stage::Opened,
                    used_at: now,
                };
                let opened = match (suite, said) {
                    (None, _) => Err(NO_SUITE),
                    (Some(_), Said::Busy) => Err(NO_RESOURCES),
                    (Some(_), Said::Named(_) | Said::Refused | Said::Power(_) | Said::Accepted) => self.open(session),
                };
                Some(open_session_response(tag, console, level, suite, opened))
            }
            What::Rakp1(rakp1) => {
                let tag = rakp1.tag;
                let (console, proof) = self.challenge(now, rakp1, said);
                Some(rakp_answer(packet::RAKP_2, tag, console, proof))
            }
            What::Rakp3 { tag, session, proof } => {
                let (console, confirmation) = self.admit(now, session, said, &proof);
                Some(rakp_answer(packet::RAKP_4, tag, console, confirmation))
            }
            What::Command { envelope, request, refusal } => self.respond(now, envelope, &request, refusal, said),
        }
    }

    fn open(&mut self, session: Session) -> Result<u32, u8> {
        if let Some(id) = self.slots.given_to(session.peer, session.tag, session.console) {
            return Ok(id);
        }
        let id = u32::try_from(self.chance.between(1, u32::MAX.into())).expect("it was drawn from that range");
        if self.slots.take(id, session) { Ok(id) } else { Err(NO_RESOURCES) }
    }

    /// RAKP 1: returns the console's name of the session, and the BMC's challenge, GUID and proof.
    fn challenge(&mut self, now: Instant, asked: Rakp1, said: Said) -> (u32, Result<Vec<u8>, u8>) {
        let Rakp1 { session: id, challenge: console_challenge, role, user, .. } = asked;
        let bmc_challenge = self.draw();
        let Some(session) = self.slots.get(id, now) else { return (0, Err(INVALID_SESSION)) };
        let console = session.console;
        let refusal = match said {
            Said::Refused => Some(UNAUTHORIZED_NAME),
            Said::Busy => Some(NO_RESOURCES),
            Said::Named(_) | Said::Power(_) | Said::Accepted if user != self.account.user.as_bytes() => {
                Some(UNAUTHORIZED_NAME)
            }
            Said::Named(_) | Said::Power(_) | Said::Accepted => {
                (role & 0x0f > self.account.level as u8).then_some(UNAUTHORIZED_ROLE)
            }
        };
        if let Some(status) = refusal {
            self.slots.free(id);
            return (console, Err(status));
        }
        let named = match said {
            Said::Named(named) => named,
            Said::Refused | Said::Busy | Said::Power(_) | Said::Accepted => None,
        };
        let guid = message::guid(named);
        let suite = session.suite;
        // Asked twice, it gives the same challenge: the console may have computed its proof already.
        let bmc_challenge = match &session.stage {
            Stage::Challenged(before) if before.console_challenge == console_challenge => before.bmc_challenge,
            Stage::Opened | Stage::Challenged(_) | Stage::Active(_) => bmc_challenge,
        };
        let handshake = Handshake { suite, console, bmc: id, console_challenge, bmc_challenge, guid, role, user };
        let proof = handshake.proof_of_bmc(self.account.password.expose());
        session.stage = Stage::Challenged(handshake);
        (console, Ok([bmc_challenge.as_slice(), &guid, &proof].concat()))
    }

    /// RAKP 3: returns the console's name of the session, and the code that shows that both have the same key.
    fn admit(&mut self, now: Instant, id: u32, said: Said, proof: &[u8]) -> (u32, Result<Vec<u8>, u8>) {
        let is_of_another = self.weather.names_another();
        let Some(session) = self.slots.get(id, now) else { return (0, Err(INVALID_SESSION)) };
        let console = session.console;
        let handshake = match &session.stage {
            Stage::Challenged(handshake) => handshake,
            // RAKP 4 was lost. Its code is no secret.
            Stage::Active(active) => return (console, Ok(active.keys.confirmation.clone())),
            Stage::Opened => return (console, Err(INVALID_SESSION)),
        };
        let refusal = match said {
            Said::Refused => Some(UNAUTHORIZED_NAME),
            Said::Busy => Some(NO_RESOURCES),
            Said::Named(_) | Said::Power(_) | Said::Accepted => {
                let proven = handshake.is_proven_by(proof, self.account.password.expose());
                (!proven).then_some(INVALID_INTEGRITY_CHECK)
            }
        };
        if let Some(status) = refusal {
            self.slots.free(id);
            return (console, Err(status));
        }
        let keys = handshake.keys(self.account.kg.as_ref().unwrap_or(&self.account.password).expose());
        let asked = [handshake.role & 0x0f, session.level_asked].into_iter().filter(|level| *level > 0).min();
        let level_max = asked.unwrap_or(u8::MAX).min(self.account.level as u8);
        let confirmation = keys.confirmation.clone();
        session.stage = Stage::Active(Box::new(Active::new(keys, level_max, is_of_another)));
        (console, Ok(confirmation))
    }

    fn respond(
        &mut self,
        now: Instant,
        envelope: Envelope,
        request: &Request,
        refusal: Option<u8>,
        said: Said,
    ) -> Option<Vec<u8>> {
        let (code, data) = match refusal {
            Some(code) => (code, Vec::new()),
            None => self.carry_out(now, envelope, request.purpose(), said),
        };
        let response = request.respond(code, &data);
        let id = match envelope {
            Envelope::Old => return Some(packet::old(&response)),
            Envelope::Plain => return Some(packet::plain(packet::MESSAGE, &response)),
            Envelope::Session(id) => id,
        };
        let vector = self.draw();
        let session = self.slots.get(id, now)?;
        let console = session.console;
        let Stage::Active(active) = &mut session.stage else { return None };
        let sequence = active.next_sequence();
        let payload = active.keys.encrypt(vector, &response);
        let packet = packet::sealed(console, sequence, &payload, |packet| active.keys.tag(packet));
        if code == message::DONE && matches!(request.purpose(), Purpose::CloseSession { .. }) {
            self.slots.free(id);
        }
        Some(packet)
    }

    fn carry_out(&mut self, now: Instant, envelope: Envelope, purpose: Purpose, said: Said) -> (u8, Vec<u8>) {
        match (purpose, said) {
            (Purpose::ChannelCapabilities, _) => {
                (message::DONE, message::channel_capabilities(self.account.kg.is_some()).to_vec())
            }
            (Purpose::ChannelSuites { first }, _) => (message::DONE, message::channel_suites(first)),
            (Purpose::DeviceId, _) => (message::DONE, message::DEVICE_ID.to_vec()),
            (Purpose::SystemGuid, Said::Named(named)) => {
                let mut guid = message::guid(named);
                if self.active(now, envelope).is_some_and(|active| active.is_of_another) {
                    guid[7] ^= 0x01;
                }
                (message::DONE, guid.to_vec())
            }
            (Purpose::SetPrivilege { level }, _) => self.set_level(now, envelope, level),
            (Purpose::CloseSession { session }, _) => {
                let ours = envelope == Envelope::Session(session);
                (if ours { message::DONE } else { message::NO_SUCH_SESSION }, Vec::new())
            }
            (Purpose::ChassisStatus, Said::Power(power)) => (message::DONE, message::chassis_status(power).to_vec()),
            (Purpose::PowerOff | Purpose::PowerOn, Said::Accepted) => (message::DONE, Vec::new()),
            (Purpose::Unserved { code }, _) => (code, Vec::new()),
            (Purpose::SystemGuid | Purpose::ChassisStatus | Purpose::PowerOff | Purpose::PowerOn, _) => {
                (message::NODE_BUSY, Vec::new())
            }
        }
    }

    fn set_level(&mut self, now: Instant, envelope: Envelope, level: u8) -> (u8, Vec<u8>) {
        let Some(active) = self.active(now, envelope) else { return (message::INSUFFICIENT_PRIVILEGE, Vec::new()) };
        if level > active.level_max {
            return (message::EXCEEDS_LIMIT, Vec::new());
        }
        // Zero asks for no change.
        if level > 0 {
            active.level = level;
        }
        (message::DONE, vec![active.level])
    }

    fn active(&mut self, now: Instant, envelope: Envelope) -> Option<&mut Active> {
        let Envelope::Session(id) = envelope else { return None };
        match &mut self.slots.get(id, now)?.stage {
            Stage::Active(active) => Some(active),
            Stage::Opened | Stage::Challenged(_) => None,
        }
    }

    fn draw(&mut self) -> [u8; 16] {
        (u128::from(self.chance.draw()) << 64 | u128::from(self.chance.draw())).to_le_bytes()
    }
}

fn open_session_response(tag: u8, console: u32, level: u8, suite: Option<Suite>, opened: Result<u32, u8>) -> Vec<u8> {
    let body = match (suite, opened) {
        (Some(suite), Ok(id)) => {
            let mut body = vec![tag, 0, level, 0];
            body.extend(console.to_le_bytes());
            body.extend(id.to_le_bytes());
            for (kind, algorithm) in (0..).zip(suite.algorithms()) {
                body.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
            }
            body
        }
        (_, Err(status)) => refusal(tag, status, console),
        (None, Ok(_)) => refusal(tag, NO_SUITE, console),
    };
    packet::plain(packet::OPEN_SESSION_RESPONSE, &body)
}

fn rakp_answer(payload: u8, tag: u8, console: u32, answer: Result<Vec<u8>, u8>) -> Vec<u8> {
    let body = match answer {
        Ok(rest) => [&[tag, 0, 0, 0], console.to_le_bytes().as_slice(), &rest].concat(),
        Err(status) => refusal(tag, status, console),
    };
    packet::plain(payload, &body)
}

fn refusal(tag: u8, status: u8, console: u32) -> Vec<u8> {
    [&[tag, status, 0, 0], console.to_le_bytes().as_slice()].concat()
}
