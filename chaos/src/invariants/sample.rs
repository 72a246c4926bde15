//! Hand-made histories for the judges' own tests.

use quorumfence_machine::{
    BootId, ControllerId, Destination, Event, HostId, InstanceId, LogIndex, Millis, Parking, Proof, Refusal, Segment,
    Settings, Token,
};

use super::Promise;
use crate::observation::{Answer, Cause, Observation, Request, Seen};

/// A history that is told step by step. Every step happens at the time that was set last.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) observations: Vec<Observation>,
    now: Millis,
}

/// Fails unless the judge convicts, and says so in these words.
#[track_caller]
pub(crate) fn convicts<P: Promise + Default>(story: &Story, words: &str) {
    let mut judge = P::default();
    let verdict = story.observations.iter().try_for_each(|observation| judge.see(observation));
    let why = verdict.expect_err("the judge must convict");
    assert!(why.contains(words), "{why:?} does not say {words:?}");
}

/// Fails when the judge convicts, or has had nothing to judge.
#[track_caller]
pub(crate) fn acquits<P: Promise + Default>(story: &Story) {
    let mut judge = P::default();
    let verdict = story.observations.iter().try_for_each(|observation| judge.see(observation));
    assert_eq!(verdict, Ok(()));
    assert!(judge.judged() > 0, "{} has judged nothing", judge.id());
}

impl Story {
    pub(crate) fn new() -> Self {
        Self::opened(Settings::default(), Segment::default())
    }

    pub(crate) fn opened(settings: Settings, segment: Segment) -> Self {
        let story = Self { observations: Vec::new(), now: Millis::ZERO };
        story.seen(Seen::Opened { run: "a story".into(), settings, segment })
    }

    /// Sets the time of the steps that follow.
    pub(crate) fn at(mut self, millis: u64) -> Self {
        self.now = Millis(millis);
        self
    }

    pub(crate) fn seen(mut self, seen: Seen) -> Self {
        self.observations.push(Observation { at: self.now, seen });
        self
    }

    /// Controller 1 applies an entry.
    pub(crate) fn entry(self, index: u64, events: Vec<Event>) -> Self {
        self.applied(EntryCopy { by: 1, index, content: index }, events)
    }

    pub(crate) fn applied(self, copy: EntryCopy, events: Vec<Event>) -> Self {
        let (controller, index) = (ControllerId(copy.by), LogIndex(copy.index));
        self.seen(Seen::Applied { controller, index, content: copy.content, events, digest: None })
    }

    pub(crate) fn power_off(self, name: &str, cause: Cause) -> Self {
        self.seen(Seen::PowerOff { host: host(name), cause })
    }

    pub(crate) fn power_on(self, name: &str, number: u8) -> Self {
        self.seen(Seen::PowerOn { host: host(name), boot: boot(number) })
    }

    pub(crate) fn started(self, number: u8, on: &str, under: Option<u64>) -> Self {
        self.seen(Seen::Started { instance: instance(number), host: host(on), token: under.map(token) })
    }

    pub(crate) fn ended(self, number: u8, on: &str) -> Self {
        self.seen(Seen::Ended { instance: instance(number), host: host(on) })
    }

    pub(crate) fn sent(self, by: u64, to: &str) -> Self {
        self.seen(Seen::OffSent { controller: ControllerId(by), host: host(to) })
    }

    pub(crate) fn called(self, call: u64, request: Request) -> Self {
        self.seen(Seen::Called { call, controller: ControllerId(1), request })
    }

    pub(crate) fn answered(self, call: u64, answer: Answer) -> Self {
        self.seen(Seen::Answered { call, answer })
    }
}

/// One controller's copy of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryCopy {
    pub(crate) by: u64,
    pub(crate) index: u64,
    pub(crate) content: u64,
}

pub(crate) fn host(name: &str) -> HostId {
    name.parse().expect("samples use good names")
}

pub(crate) fn instance(number: u8) -> InstanceId {
    InstanceId([number; 16])
}

pub(crate) fn boot(number: u8) -> BootId {
    BootId([number; 16])
}

pub(crate) fn token(index: u64) -> Token {
    Token(LogIndex(index))
}

pub(crate) fn off_proof() -> Proof {
    Proof::PowerOffVerified { level: 0, ordered: true }
}

pub(crate) fn new_boot(number: u8) -> Proof {
    Proof::NewBootId { boot: boot(number) }
}

pub(crate) fn word_of_a_person() -> Proof {
    Proof::Human { operator: "ada".into(), reason: "it lies on my desk".into() }
}

pub(crate) fn armed() -> Event {
    Event::Armed { reason: "drill done".into() }
}

pub(crate) fn admitted(name: &str, number: u8) -> Event {
    Event::HostAdmitted { host: host(name), boot: boot(number) }
}

pub(crate) fn lost(name: &str) -> Event {
    Event::HostLost { host: host(name), votes: 2, voters: 3 }
}

pub(crate) fn booted(name: &str, number: u8) -> Event {
    Event::HostBooted { host: host(name), boot: boot(number) }
}

pub(crate) fn rebooted(name: &str, number: u8) -> Event {
    Event::HostRebooted { host: host(name), boot: boot(number) }
}

pub(crate) fn decided(name: &str, under: u64) -> Event {
    Event::FenceDecided { host: host(name), token: token(under) }
}

pub(crate) fn granted(name: &str, under: u64, to: u64) -> Event {
    Event::PermitGranted { host: host(name), token: token(under), executor: ControllerId(to), level: 0, attempt: 1 }
}

pub(crate) fn needs_human(name: &str, under: u64) -> Event {
    Event::FenceNeedsHuman { host: host(name), token: token(under) }
}

pub(crate) fn fenced(name: &str, under: u64, proof: Proof) -> Event {
    Event::HostFenced { host: host(name), token: token(under), proof }
}

pub(crate) fn registered(number: u8, on: &str) -> Event {
    Event::InstanceRegistered { instance: instance(number), name: format!("vm-{number}"), host: host(on) }
}

/// A start order for the target's boot 1.
pub(crate) fn planned(number: u8, from: &str, to: &str, under: u64) -> Event {
    let to = Destination::Host { host: host(to), boot: boot(1) };
    Event::RecoveryPlanned { instance: instance(number), from: host(from), to, token: token(under) }
}

pub(crate) fn parked(number: u8, from: &str, under: u64) -> Event {
    let to = Destination::Parked(Parking::NoRoom);
    Event::RecoveryPlanned { instance: instance(number), from: host(from), to, token: token(under) }
}

pub(crate) fn runs(number: u8, on: &str, under: u64) -> Event {
    Event::InstanceStarted { instance: instance(number), host: host(on), token: token(under) }
}

pub(crate) fn refused(number: u8, on: &str, under: u64) -> Event {
    let refusal = Refusal::Hypervisor;
    Event::StartRefused { instance: instance(number), host: host(on), token: token(under), refusal }
}
