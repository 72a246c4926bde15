//! One table of samples for every test: each variant of each type that is written to disk or sent.
//!
//! The `..._name` functions are exhaustive on purpose: a variant that is added to the machine fails to compile here
//! until it has a name, and the test `every_variant_has_a_sample` fails until it has a sample. Their names are the
//! names of the frozen files.

mod changes;
mod events;
mod records;
mod rejections;

use std::collections::BTreeSet;

use quorumfence_machine::{
    Actor, BootId, ClusterTime, Command, ControllerId, Device, Doubt, Driver, Enrolment, Evidence, HostId, InstanceId,
    InstanceReport, InstanceState, JoinTokenId, Level, LogIndex, Millis, Outcome, Power, ProofClass, Refusal,
    RequestId, SegmentId, Settings, SystemUuid, Token, WallMillis,
};

pub(crate) use self::changes::{CHANGE_NAMES, change_name, changes};
pub(crate) use self::events::{EVENT_NAMES, events};
pub(crate) use self::records::{RECORD_NAMES, record_name, records};
pub(crate) use self::rejections::{REASON_NAMES, REJECTED_NAMES, reasons, rejections, replies};

pub(crate) const BOOT: BootId = BootId(*b"boot-aaaaaaaaaaa");
pub(crate) const OTHER_BOOT: BootId = BootId(*b"boot-bbbbbbbbbbb");
pub(crate) const INSTANCE: InstanceId = InstanceId(*b"instance-aaaaaaa");
pub(crate) const OTHER_INSTANCE: InstanceId = InstanceId(*b"instance-bbbbbbb");
pub(crate) const MACHINE: SystemUuid = SystemUuid(*b"machine-aaaaaaaa");
pub(crate) const REQUEST: RequestId = RequestId(*b"request-aaaaaaaa");
pub(crate) const TOKEN: Token = Token(LogIndex(4711));
pub(crate) const CONTROLLER: ControllerId = ControllerId(2);

pub(crate) fn host() -> HostId {
    "kvm-07".parse().expect("a name")
}

pub(crate) fn other_host() -> HostId {
    "kvm-08".parse().expect("a name")
}

pub(crate) fn segment_id() -> SegmentId {
    "rack-3".parse().expect("a name")
}

pub(crate) fn join_token_id() -> JoinTokenId {
    "jt-5f2a".parse().expect("a name")
}

/// Every kind of command, by every kind of actor, with and without a request.
pub(crate) fn commands() -> Vec<(String, Command)> {
    let actors = [Actor::Operator("anna".into()), Actor::Controller(CONTROLLER), Actor::Agent(host())];
    let numbered = changes().into_iter().enumerate();
    numbered
        .map(|(at, (name, change))| {
            let command = Command {
                by: actors[at % actors.len()].clone(),
                wall: WallMillis(1_700_000_000_000 + at as u64),
                clock: ClusterTime(90_000 + at as u64),
                request: at.is_multiple_of(2).then_some(REQUEST),
                change,
            };
            (name, command)
        })
        .collect()
}

/// Settings that differ from the defaults in every field.
pub(crate) fn settings() -> Settings {
    Settings {
        heartbeat_interval: Millis(201),
        suspect_after: Millis(452),
        permit_life: Millis(20_003),
        device_deadline: Millis(2004),
        attempts_per_level: 5,
        retry_pause: Millis(1006),
        human_retry_pause: Millis(30_007),
        late_delivery: Millis(30_008),
        fences_in_flight_max: 9,
        storm_fences_max: 10,
        storm_window: Millis(600_011),
        proofs: BTreeSet::from([ProofClass::PowerOffVerified, ProofClass::NewBootId, ProofClass::Human]),
        starts_per_host_max: 13,
        max_restart_attempts: 14,
    }
}

/// Two levels with every driver, with and without what is optional.
pub(crate) fn enrolment() -> Enrolment {
    let ipmi = Device {
        driver: Driver::Ipmi,
        address: "192.0.2.7:623".into(),
        user: "fencer".into(),
        sealed_password: vec![0, 1, 2, 253, 254, 255],
        suite: Some(17),
        identity: Some(MACHINE),
    };
    let laboratory = Device {
        driver: Driver::Laboratory,
        address: "127.0.0.1:9000".into(),
        user: String::new(),
        sealed_password: Vec::new(),
        suite: None,
        identity: None,
    };
    Enrolment {
        segment: segment_id(),
        ping: Some("192.0.2.107".into()),
        health: Some("http://192.0.2.107:8080/health".into()),
        levels: vec![Level { devices: vec![ipmi.clone(), laboratory] }, Level { devices: vec![ipmi] }],
    }
}

/// Evidence of each shape.
pub(crate) fn evidences() -> [Evidence; 3] {
    [
        Evidence {
            heartbeat_age: Some(Millis(2601)),
            ping_age: Some(Millis(2602)),
            health_age: Some(Millis(2603)),
            power: Some(Power::Off),
        },
        Evidence { power: Some(Power::On), ..Evidence::default() },
        Evidence::default(),
    ]
}

/// One report per state that an instance can have.
pub(crate) fn instance_reports() -> Vec<InstanceReport> {
    let states = [InstanceState::Running, InstanceState::Stopped, InstanceState::Crashed];
    let numbered = states.into_iter().enumerate();
    numbered
        .map(|(at, state)| InstanceReport {
            id: if at == 0 { INSTANCE } else { OTHER_INSTANCE },
            name: format!("web-{at}"),
            state,
            ha_enabled: at == 0,
            priority: 65_535 - u16::try_from(at).expect("three states"),
            memory_mib: 4096 + at as u64,
            definition: "<domain type='kvm'><name>web</name></domain>".into(),
        })
        .collect()
}

/// Every refusal and every doubt around one observation.
pub(crate) fn outcomes<T: Clone>(observed: T) -> Vec<Outcome<T>> {
    let mut outcomes = vec![Outcome::Observed(observed)];
    outcomes.extend(refusals().map(Outcome::Refused));
    outcomes.extend(doubts().map(Outcome::Unknown));
    outcomes
}

pub(crate) fn refusals() -> [Refusal; 11] {
    let all = [
        Refusal::Credentials,
        Refusal::Privilege,
        Refusal::Insecure,
        Refusal::WrongMachine,
        Refusal::Unsupported,
        Refusal::OldToken,
        Refusal::WrongBoot,
        Refusal::NotAssigned,
        Refusal::Quarantined,
        Refusal::Hypervisor,
        Refusal::PermitEnded,
    ];
    for (at, refusal) in all.iter().enumerate() {
        let place = match refusal {
            Refusal::Credentials => 0,
            Refusal::Privilege => 1,
            Refusal::Insecure => 2,
            Refusal::WrongMachine => 3,
            Refusal::Unsupported => 4,
            Refusal::OldToken => 5,
            Refusal::WrongBoot => 6,
            Refusal::NotAssigned => 7,
            Refusal::Quarantined => 8,
            Refusal::Hypervisor => 9,
            Refusal::PermitEnded => 10,
        };
        assert_eq!(place, at);
    }
    all
}

pub(crate) fn doubts() -> [Doubt; 6] {
    let all = [Doubt::Timeout, Doubt::Unreachable, Doubt::Busy, Doubt::Garbled, Doubt::Ambiguous, Doubt::Internal];
    for (at, doubt) in all.iter().enumerate() {
        let place = match doubt {
            Doubt::Timeout => 0,
            Doubt::Unreachable => 1,
            Doubt::Busy => 2,
            Doubt::Garbled => 3,
            Doubt::Ambiguous => 4,
            Doubt::Internal => 5,
        };
        assert_eq!(place, at);
    }
    all
}

/// Returns the names that no sample has.
pub(crate) fn without_sample<T>(names: &[&str], samples: &[(String, T)]) -> Vec<String> {
    names.iter().filter(|name| !samples.iter().any(|(other, _)| other == *name)).map(ToString::to_string).collect()
}

/// Names samples of one type: the variant's name, and a number from the second sample of a variant on.
pub(crate) fn named<T>(samples: Vec<T>, name: impl Fn(&T) -> &'static str) -> Vec<(String, T)> {
    let mut named: Vec<(String, T)> = Vec::new();
    for sample in samples {
        let base = name(&sample);
        let earlier = named.iter().filter(|(_, other)| name(other) == base).count();
        let name = if earlier == 0 { base.to_string() } else { format!("{base}_{}", earlier + 1) };
        named.push((name, sample));
    }
    named
}

/// Declares the variants' names once: as a list, and as an exhaustive match that does not compile without each.
macro_rules! names {
    ($type:ident, $list:ident, $function:ident, { $($pattern:ident => $name:literal),+ $(,)? }) => {
        pub(crate) const $list: &[&str] = &[$($name),+];

        pub(crate) fn $function(value: &$type) -> &'static str {
            match value {
                $($type::$pattern { .. } => $name,)+
            }
        }
    };
}
use names;
