//! Samples of every change.

use quorumfence_machine::{
    AgentReport, Change, ClusterId, Destination, InstanceState, Joiner, LogIndex, Millis, Move, OffSeen, Outcome,
    Parking, RecoveryMethod, Role, Segment, Uncertainty, Verdict, Vote,
};

use super::{
    BOOT, CONTROLLER, INSTANCE, MACHINE, OTHER_BOOT, OTHER_INSTANCE, TOKEN, enrolment, evidences, host,
    instance_reports, join_token_id, named, names, other_host, outcomes, refusals, segment_id, settings,
};

names!(Change, CHANGE_NAMES, change_name, {
    ClusterCreate => "cluster_create",
    SettingsSet => "settings_set",
    Arm => "arm",
    Disarm => "disarm",
    JoinTokenCreate => "join_token_create",
    Join => "join",
    SegmentCreate => "segment_create",
    HostEnrol => "host_enrol",
    HostMaintenance => "host_maintenance",
    HostConfirmDead => "host_confirm_dead",
    AgentReport => "agent_report",
    Votes => "votes",
    HostAdmit => "host_admit",
    FenceDecide => "fence_decide",
    PermitGrant => "permit_grant",
    FenceResult => "fence_result",
    FenceNewBoot => "fence_new_boot",
    RecoveryPlan => "recovery_plan",
    RecoveryResult => "recovery_result",
});

pub(crate) fn changes() -> Vec<(String, Change)> {
    let mut changes = administration();
    changes.extend(hosts());
    changes.extend(fences());
    changes.push(later_report());
    let moving = Outcome::Observed(InstanceState::Moving);
    changes.push(Change::RecoveryResult { instance: INSTANCE, token: TOKEN, outcome: moving });
    let reason = "the rack is dark".into();
    changes.push(Change::HostConfirmDead { host: host(), reason, boot: Some(OTHER_BOOT) });
    let migrated = Outcome::Observed(InstanceState::Migrated);
    changes.push(Change::RecoveryResult { instance: INSTANCE, token: TOKEN, outcome: migrated });
    named(changes, change_name)
}

fn administration() -> Vec<Change> {
    let secret_hash = *b"sha-256 of a secret, 32 bytes...";
    let token =
        |role| Change::JoinTokenCreate { id: join_token_id(), secret_hash, role, life: Millis(3_600_000), uses: 3 };
    let join = |joiner| Change::Join { id: join_token_id(), secret_hash, joiner };
    vec![
        Change::ClusterCreate {
            cluster: ClusterId(*b"cluster-aaaaaaaa"),
            name: "north".into(),
            address: "192.0.2.1:7654".into(),
            settings: settings(),
        },
        Change::SettingsSet { settings: settings() },
        Change::Arm { reason: "acceptance test passed".into() },
        Change::Disarm { reason: "switch is replaced: \u{e9}t\u{e9}".into() },
        token(Role::Controller),
        token(Role::Agent),
        join(Joiner::Controller { address: "192.0.2.2:7654".into() }),
        join(Joiner::Agent { host: host() }),
        Change::SegmentCreate { segment: segment() },
    ]
}

pub(crate) fn segment() -> Segment {
    Segment {
        id: segment_id(),
        failure_threshold: 4,
        check_interval: Millis(1501),
        evacuation_enabled: true,
        method: RecoveryMethod::Auto,
        minimum_healthy_percent: 67,
    }
}

/// Every verdict.
pub(crate) fn verdicts() -> [Verdict; 6] {
    let all = [
        Verdict::Alive { boot: BOOT },
        Verdict::Unreachable,
        Verdict::PoweredOff,
        Verdict::CannotTell(Uncertainty::CutOff),
        Verdict::CannotTell(Uncertainty::AgentSilent),
        Verdict::CannotTell(Uncertainty::NeverSeen),
    ];
    for (at, verdict) in all.iter().enumerate() {
        let place = match verdict {
            Verdict::Alive { .. } => 0,
            Verdict::Unreachable => 1,
            Verdict::PoweredOff => 2,
            Verdict::CannotTell(Uncertainty::CutOff) => 3,
            Verdict::CannotTell(Uncertainty::AgentSilent) => 4,
            Verdict::CannotTell(Uncertainty::NeverSeen) => 5,
        };
        assert_eq!(place, at);
    }
    all
}

fn hosts() -> Vec<Change> {
    let report = |system_uuid, instances| Change::AgentReport {
        host: host(),
        report: AgentReport {
            boot: BOOT,
            system_uuid,
            memory_mib: 196_608,
            instances,
            cannot_refuse: false,
            listed: Millis(0),
            as_of: None,
        },
    };
    let numbered = verdicts().into_iter().zip(evidences().into_iter().cycle());
    let votes = numbered.map(|(verdict, evidence)| Vote { host: host(), verdict, evidence }).collect();
    vec![
        Change::HostEnrol { host: host(), enrolment: enrolment() },
        Change::HostEnrol {
            host: host(),
            enrolment: quorumfence_machine::Enrolment { ping: None, health: None, levels: Vec::new(), ..enrolment() },
        },
        Change::HostMaintenance { host: host(), reason: Some("new DIMMs".into()) },
        Change::HostMaintenance { host: host(), reason: None },
        Change::HostConfirmDead { host: host(), reason: "I pulled both cables".into(), boot: None },
        report(Some(MACHINE), instance_reports()),
        report(None, Vec::new()),
        Change::Votes { controller: CONTROLLER, votes },
        Change::HostAdmit { host: host(), boot: BOOT },
    ]
}

/// A report with the fields that the first ones did not have; behind the first samples, so that they keep their places.
fn later_report() -> Change {
    let report = AgentReport {
        boot: BOOT,
        system_uuid: None,
        memory_mib: 196_608,
        instances: Vec::new(),
        cannot_refuse: true,
        listed: Millis(86_400_001),
        as_of: Some(LogIndex(4713)),
    };
    Change::AgentReport { host: host(), report }
}

/// Every destination.
pub(crate) fn destinations() -> Vec<Destination> {
    let mut destinations = vec![Destination::Host { host: other_host(), boot: OTHER_BOOT }];
    destinations.extend(parkings().into_iter().map(Destination::Parked));
    destinations
}

/// Every reason for parking.
pub(crate) fn parkings() -> Vec<Parking> {
    let all = [Parking::NoHost, Parking::NoRoom, Parking::Refused(refusals()[0]), Parking::EvacuationDisabled];
    for (at, parking) in all.iter().enumerate() {
        let place = match parking {
            Parking::NoHost => 0,
            Parking::NoRoom => 1,
            Parking::Refused(_) => 2,
            Parking::EvacuationDisabled => 3,
        };
        assert_eq!(place, at);
    }
    all.into()
}

fn fences() -> Vec<Change> {
    let moves = destinations().into_iter().enumerate();
    let moves = moves.map(|(at, to)| Move { instance: if at == 0 { INSTANCE } else { OTHER_INSTANCE }, to });
    let result = |outcome| Change::RecoveryResult { instance: INSTANCE, token: TOKEN, outcome };
    let mut fences = vec![
        Change::FenceDecide { host: host(), lost_at: LogIndex(4700) },
        Change::PermitGrant { token: TOKEN, executor: CONTROLLER, level: 1, life: Millis(20_000) },
        Change::FenceResult {
            token: TOKEN,
            permit: LogIndex(4712),
            outcomes: outcomes(OffSeen { reads: 2, sessions: 3, ordered: true }),
        },
        Change::FenceNewBoot { token: TOKEN, boot: OTHER_BOOT },
        Change::RecoveryPlan { token: TOKEN, moves: moves.collect() },
    ];
    let states = [InstanceState::Running, InstanceState::Stopped, InstanceState::Crashed];
    fences.extend(states.into_iter().flat_map(outcomes).map(result));
    fences
}
