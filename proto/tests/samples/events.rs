//! Samples of every event.

use quorumfence_machine::{ControllerId, Driver, Event, Settings};

use super::changes::{destinations, verdicts};
use super::records::proofs;
use super::{
    BOOT, CONTROLLER, INSTANCE, OTHER_BOOT, TOKEN, host, join_token_id, named, names, other_host, outcomes, refusals,
    segment_id,
};

names!(Event, EVENT_NAMES, event_name, {
    ClusterCreated => "cluster_created",
    SettingsChanged => "settings_changed",
    Armed => "armed",
    Disarmed => "disarmed",
    JoinTokenCreated => "join_token_created",
    ControllerJoined => "controller_joined",
    VotersChanged => "voters_changed",
    AgentJoined => "agent_joined",
    SegmentCreated => "segment_created",
    HostEnrolled => "host_enrolled",
    MaintenanceStarted => "maintenance_started",
    MaintenanceEnded => "maintenance_ended",
    HostBooted => "host_booted",
    HostAdmitted => "host_admitted",
    VoteCast => "vote_cast",
    HostLost => "host_lost",
    HostRegained => "host_regained",
    HostRebooted => "host_rebooted",
    FenceDecided => "fence_decided",
    PermitGranted => "permit_granted",
    FenceAttemptFailed => "fence_attempt_failed",
    FenceNeedsHuman => "fence_needs_human",
    HostFenced => "host_fenced",
    StormBrakeClosed => "storm_brake_closed",
    InstanceRegistered => "instance_registered",
    InstanceMoved => "instance_moved",
    InstanceStray => "instance_stray",
    RecoveryPlanned => "recovery_planned",
    StartRefused => "start_refused",
    InstanceStarted => "instance_started",
    RecoveryFinished => "recovery_finished",
});

pub(crate) fn events() -> Vec<(String, Event)> {
    let mut events = administration();
    events.extend(hosts());
    events.extend(fences());
    events.extend(instances());
    events.push(Event::SettingsChanged { settings: Some(Box::new(Settings::fast())) });
    named(events, event_name)
}

fn administration() -> Vec<Event> {
    vec![
        Event::ClusterCreated { name: "north".into() },
        Event::SettingsChanged { settings: None },
        Event::Armed { reason: "acceptance test passed".into() },
        Event::Disarmed { reason: "switch is replaced".into() },
        Event::JoinTokenCreated { id: join_token_id() },
        Event::ControllerJoined { controller: CONTROLLER },
        Event::VotersChanged { voters: vec![ControllerId(1), ControllerId(2), ControllerId(300)] },
        Event::AgentJoined { host: host() },
        Event::SegmentCreated { segment: segment_id() },
        Event::HostEnrolled { host: host(), levels: vec![vec![Driver::Ipmi, Driver::Laboratory], Vec::new()] },
        Event::MaintenanceStarted { host: host(), reason: "new DIMMs".into() },
        Event::MaintenanceEnded { host: host() },
    ]
}

fn hosts() -> Vec<Event> {
    let mut events = vec![
        Event::HostBooted { host: host(), boot: BOOT },
        Event::HostAdmitted { host: host(), boot: BOOT },
        Event::HostLost { host: host(), votes: 2, voters: 3 },
        Event::HostRegained { host: host() },
        Event::HostRebooted { host: host(), boot: OTHER_BOOT },
    ];
    let cast = |verdict| Event::VoteCast { controller: CONTROLLER, host: host(), verdict };
    events.extend(verdicts().into_iter().map(cast));
    events
}

fn fences() -> Vec<Event> {
    let mut events = vec![
        Event::FenceDecided { host: host(), token: TOKEN },
        Event::PermitGranted { host: host(), token: TOKEN, executor: CONTROLLER, level: 1, attempt: 4 },
        Event::FenceNeedsHuman { host: host(), token: TOKEN },
        Event::StormBrakeClosed { host: host() },
    ];
    let failed = |why| Event::FenceAttemptFailed { host: host(), token: TOKEN, level: 1, why };
    events.extend(outcomes(()).into_iter().map(failed));
    events.extend(proofs().into_iter().map(|proof| Event::HostFenced { host: host(), token: TOKEN, proof }));
    events
}

fn instances() -> Vec<Event> {
    let mut events = vec![
        Event::InstanceRegistered { instance: INSTANCE, name: "web-0".into(), host: host() },
        Event::InstanceMoved { instance: INSTANCE, from: host(), to: other_host() },
        Event::InstanceStray { instance: INSTANCE, host: host(), owner: other_host() },
        Event::InstanceStarted { instance: INSTANCE, host: other_host(), token: TOKEN },
        Event::RecoveryFinished { host: host(), token: TOKEN, started: 5, parked: 1 },
    ];
    let planned = |to| Event::RecoveryPlanned { instance: INSTANCE, from: host(), to, token: TOKEN };
    events.extend(destinations().into_iter().map(planned));
    let refused = |refusal| Event::StartRefused { instance: INSTANCE, host: other_host(), token: TOKEN, refusal };
    events.extend(refusals().into_iter().map(refused));
    events
}
