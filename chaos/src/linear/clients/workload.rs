//! What clients ask for, and what they know of each other's tokens.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use quorumfence_machine::{Segment, Settings};
use quorumfence_node::cluster::authority::Fingerprint;
use quorumfence_node::cluster::identity::PendingIdentity;
use quorumfence_proto::pb;

use super::super::history::{Object, Operation};
use super::ask::{Ask, Told, armed, segment_words, settings_words};
use super::{Errand, Plan, Workload};
use crate::chance::Chance;

/// Tokens that clients still use.
const TOKENS_KEPT: usize = 6;

/// Uses of a token that is used.
const USES: u32 = 2;

/// Calls in which one segment is created and read.
const CALLS_PER_SEGMENT: u64 = 40;

/// Life of a token that is used, longer than any run; and of one that nobody is given.
const TOKEN_LIFE_MS: u64 = 3_600_000;
const HARMLESS_LIFE_MS: u64 = 1000;

/// What all clients know.
#[derive(Debug)]
pub(super) struct Board {
    /// What makes this run's names its own.
    run: u64,
    workload: Workload,
    /// The number of the first event that the run can have caused.
    first_event: AtomicU64,
    /// Tokens that nobody is given, as far as they were asked for.
    harmless: AtomicU64,
    tokens: Mutex<VecDeque<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    object: Object,
    /// The call that created it.
    call: u64,
    reply: pb::TokenCreateReply,
    authority: Fingerprint,
}

impl Board {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            run: run(),
            workload: plan.workload.clone(),
            first_event: AtomicU64::new(0),
            harmless: AtomicU64::new(0),
            tokens: Mutex::default(),
        }
    }

    /// Says where the run's events begin.
    pub(super) fn begins_at(&self, event: u64) {
        self.first_event.store(event, Ordering::SeqCst);
    }

    /// Returns the objects that were there before the clients, and how they are read.
    pub(super) fn lasting(&self) -> Vec<(Object, Ask)> {
        match &self.workload {
            Workload::Full { hosts } => {
                let maintenance = hosts.iter().map(|host| (maintenance(host), Ask::ReadMaintenance(host.clone())));
                let cluster =
                    [(object("settings"), Ask::ReadSettings), (object("arming"), Ask::ReadArmed { local: false })];
                cluster.into_iter().chain(maintenance).collect()
            }
            Workload::Harmless { .. } => vec![(object("log"), Ask::ReadIndex { local: false })],
        }
    }

    /// Writes down what an answer teaches: a token that others can use.
    pub(super) fn learn(&self, call: u64, object: &Object, told: Told) {
        let Some((reply, authority)) = told.secret else { return };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.push_back(Token { object: object.clone(), call, reply, authority });
        while tokens.len() > TOKENS_KEPT {
            tokens.pop_front();
        }
    }

    fn token(&self, chance: &mut Chance) -> Option<Token> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens: Vec<Token> = tokens.iter().cloned().collect();
        chance.pick(&tokens).cloned()
    }

    /// Returns what a call asks for.
    pub(super) fn errand(&self, call: u64, chance: &mut Chance) -> Errand {
        match &self.workload {
            Workload::Full { hosts } => self.full(call, hosts, chance),
            Workload::Harmless { tokens } => self.harmless(call, *tokens, chance),
        }
    }

    fn full(&self, call: u64, hosts: &[String], chance: &mut Chance) -> Errand {
        let request = self.request(call);
        let mutation = |reason: String| pb::Mutation { request: request.clone(), reason };
        let host = chance.pick(hosts).cloned();
        match (chance.below(100), host) {
            (0..12, _) => {
                let settings = self.settings(call);
                let operation = Operation::Write(settings_words(&settings));
                let ask = pb::SettingsSetRequest { mutation: Some(mutation(String::new())), settings: Some(settings) };
                changes("settings", operation, "settings changed".into(), Ask::Settings(Box::new(ask)))
            }
            (12..24, _) => looks(object("settings"), Ask::ReadSettings),
            (24..32, _) => {
                let words = armed(true, &self.reason(call));
                changes("arming", Operation::Write(words.clone()), words, Ask::Arm(mutation(self.reason(call))))
            }
            (32..38, _) => {
                let words = armed(false, &self.reason(call));
                changes("arming", Operation::Write(words.clone()), words, Ask::Disarm(mutation(self.reason(call))))
            }
            (38..50, _) => looks(object("arming"), Ask::ReadArmed { local: false }),
            (50..56, _) => {
                Errand { operation: Operation::Peek, ..looks(object("arming"), Ask::ReadArmed { local: true }) }
            }
            (56..62, Some(host)) => {
                let effect = format!("host {host} in maintenance: {}", self.reason(call));
                let ask = pb::HostMaintenanceRequest {
                    mutation: Some(mutation(self.reason(call))),
                    host: host.clone(),
                    start: true,
                };
                changes(&maintenance(&host).0, Operation::Take(self.reason(call)), effect, Ask::Maintenance(ask))
            }
            (62..68, Some(host)) => {
                let effect = format!("host {host} out of maintenance");
                let ask = pb::HostMaintenanceRequest {
                    mutation: Some(mutation(self.reason(call))),
                    host: host.clone(),
                    start: false,
                };
                changes(&maintenance(&host).0, Operation::Free, effect, Ask::Maintenance(ask))
            }
            (68..78, Some(host)) => looks(maintenance(&host), Ask::ReadMaintenance(host)),
            (78..85, _) => {
                let segment = self.segment(call);
                let operation = Operation::Create(segment_words(&segment));
                let (name, effect) = (segment.id.clone(), format!("segment {} created", segment.id));
                let ask = pb::SegmentCreateRequest { mutation: Some(mutation(String::new())), segment: Some(segment) };
                changes(&format!("segment {name}"), operation, effect, Ask::Segment(ask))
            }
            (85..92, _) => {
                let id = self.segment(call).id;
                looks(object(&format!("segment {id}")), Ask::ReadSegment(id))
            }
            (92..95, _) => self.issue(call, USES, TOKEN_LIFE_MS),
            (_, _) => self
                .token(chance)
                .and_then(|token| self.join(call, &token))
                .unwrap_or_else(|| self.issue(call, USES, TOKEN_LIFE_MS)),
        }
    }

    fn harmless(&self, call: u64, tokens: u64, chance: &mut Chance) -> Errand {
        let one_more = |issued| (issued < tokens).then_some(issued + 1);
        let issues =
            chance.percent(20) && self.harmless.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok();
        match (issues, chance.below(3), self.token(chance)) {
            (true, _, _) => {
                // It is never used: what is seen of it is that it was created.
                Errand { operation: Operation::Create(self.reason(call)), ..self.issue(call, 1, HARMLESS_LIFE_MS) }
            }
            (false, 0, Some(Token { object, call, reply, .. })) => {
                let (words, from) =
                    (format!("join token {} created", reply.id), self.first_event.load(Ordering::SeqCst));
                looks(object, Ask::ReadEvent { words, value: self.reason(call), from })
            }
            (false, 1, _) => {
                Errand { operation: Operation::Peek, ..looks(object("log"), Ask::ReadIndex { local: true }) }
            }
            (false, _, _) => looks(object("log"), Ask::ReadIndex { local: false }),
        }
    }

    fn issue(&self, call: u64, uses: u32, life_ms: u64) -> Errand {
        let mutation = pb::Mutation { request: self.request(call), reason: String::new() };
        let role = pb::Role::Agent.into();
        let request = pb::TokenCreateRequest { mutation: Some(mutation), role, life_ms, uses };
        let object = object(&format!("join token of call {call}"));
        Errand { object, operation: Operation::Issue(uses), effect: None, ask: Ask::Token(request) }
    }

    fn join(&self, call: u64, token: &Token) -> Option<Errand> {
        let host = format!("joiner-{:x}-{call}", self.run);
        // A machine without randomness has no key, and nothing to ask.
        let key = PendingIdentity::generate().ok()?;
        let request = pb::JoinRequest {
            request: self.request(call),
            token: token.reply.id.clone(),
            secret: token.reply.secret.clone(),
            csr_pem: key.request_pem().into(),
            joiner: Some(pb::Joiner { kind: Some(pb::joiner::Kind::Agent(host.clone())) }),
        };
        let ask = Ask::Join { request: Box::new(request), authority: token.authority };
        Some(changes(&token.object.0, Operation::Use, format!("agent of {host} joined"), ask))
    }

    /// Returns the request id of a call.
    fn request(&self, call: u64) -> Vec<u8> {
        [self.run.to_be_bytes(), call.to_be_bytes()].concat()
    }

    /// Returns words that no other call writes, and no other run: its last ones are what the next run begins with.
    fn reason(&self, call: u64) -> String {
        format!("call {call} of run {:x}", self.run)
    }

    /// Returns settings that no other call writes, and hardly another run.
    fn settings(&self, call: u64) -> pb::Settings {
        pb::Settings {
            human_retry_pause_ms: 1000 + self.run % 80_000 * 1000 + call % 1_000_000,
            ..Settings::fast().into()
        }
    }

    fn segment(&self, call: u64) -> pb::Segment {
        let id = format!("rack-{:x}-{}", self.run, call / CALLS_PER_SEGMENT);
        pb::Segment { id, check_interval_ms: 1000 + call, ..Segment::default().into() }
    }
}

/// Draws the name of a run. It is not of the seed: a cluster that has answered a run before would answer from memory.
#[expect(clippy::disallowed_methods, reason = "real clusters remember")]
fn run() -> u64 {
    rand::random()
}

fn object(name: &str) -> Object {
    Object(name.into())
}

fn maintenance(host: &str) -> Object {
    object(&format!("maintenance of {host}"))
}

fn changes(name: &str, operation: Operation, effect: String, ask: Ask) -> Errand {
    Errand { object: object(name), operation, effect: Some(effect), ask }
}

fn looks(object: Object, ask: Ask) -> Errand {
    Errand { object, operation: Operation::Read, effect: None, ask }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_chance_creates_more_tokens_than_were_allowed() {
        for seed in 0..50 {
            let workload = Workload::Harmless { tokens: 20 };
            let plan = Plan { seed, clients: 1, time: Duration::ZERO, workload, shim: None };
            let (board, mut chance) = (Board::new(&plan), Chance::new(seed, "a test"));
            let asked = (0..1000).map(|call| board.errand(call, &mut chance).ask);
            assert_eq!(asked.filter(|ask| matches!(ask, Ask::Token(_))).count(), 20, "seed {seed}");
        }
    }
}
