//! Samples of every answer: replies, rejections and reasons.

use quorumfence_machine::{LogIndex, Reason, Rejected, Reply};

use super::changes::parkings;
use super::records::proofs;
use super::{CONTROLLER, INSTANCE, TOKEN, host, join_token_id, named, names, segment_id, without_sample};

names!(Rejected, REJECTED_NAMES, rejected_name, {
    ClusterExists => "cluster_exists",
    NoCluster => "no_cluster",
    UnknownHost => "unknown_host",
    UnknownSegment => "unknown_segment",
    SegmentExists => "segment_exists",
    Invalid => "invalid",
    JoinToken => "join_token",
    JoinTokenExists => "join_token_exists",
    HostTaken => "host_taken",
    DeviceTaken => "device_taken",
    WrongMachine => "wrong_machine",
    HostLives => "host_lives",
    NotAVoter => "not_a_voter",
    NoParent => "no_parent",
    Held => "held",
    WrongBoot => "wrong_boot",
    NoAssignment => "no_assignment",
});

names!(Reason, REASON_NAMES, reason_name, {
    Disarmed => "disarmed",
    Maintenance => "maintenance",
    NotEnrolled => "not_enrolled",
    NoFencingLevel => "no_fencing_level",
    FencesInFlight => "fences_in_flight",
    StormBrake => "storm_brake",
    MinimumHealthy => "minimum_healthy",
    WaitsForNewBoot => "waits_for_new_boot",
    WaitsForPermits => "waits_for_permits",
    WaitsForInstances => "waits_for_instances",
    WaitsForHeartbeats => "waits_for_heartbeats",
    NeedsHuman => "needs_human",
    ProofNotEnough => "proof_not_enough",
    Parked => "parked",
    WaitsForCopies => "waits_for_copies",
    NobodyCanTell => "nobody_can_tell",
});

names!(Reply, REPLY_NAMES, reply_name, {
    Done => "done",
    Controller => "controller",
    Fence => "fence",
    Permit => "permit",
});

pub(crate) fn replies() -> Vec<(String, Reply)> {
    let all = vec![Reply::Done, Reply::Controller(CONTROLLER), Reply::Fence(TOKEN), Reply::Permit(LogIndex(4712))];
    let replies = named(all, reply_name);
    assert_eq!(without_sample(REPLY_NAMES, &replies), Vec::<String>::new());
    replies
}

pub(crate) fn rejections() -> Vec<(String, Rejected)> {
    let device = || "192.0.2.7:623".to_string();
    let mut rejections = vec![
        Rejected::ClusterExists,
        Rejected::NoCluster,
        Rejected::UnknownHost(host()),
        Rejected::UnknownSegment(segment_id()),
        Rejected::SegmentExists(segment_id()),
        Rejected::Invalid("suspect_after is not above heartbeat_interval".into()),
        Rejected::JoinToken(join_token_id()),
        Rejected::JoinTokenExists(join_token_id()),
        Rejected::HostTaken(host()),
        Rejected::DeviceTaken { address: device(), host: host() },
        Rejected::WrongMachine { address: device(), host: host() },
        Rejected::HostLives(host()),
        Rejected::NotAVoter(CONTROLLER),
        Rejected::NoParent(LogIndex(4700)),
        Rejected::WrongBoot(host()),
        Rejected::NoAssignment(INSTANCE),
    ];
    rejections.extend(reasons().into_iter().map(|(_, reason)| Rejected::Held(reason)));
    named(rejections, rejected_name)
}

pub(crate) fn reasons() -> Vec<(String, Reason)> {
    let mut reasons = vec![
        Reason::Disarmed,
        Reason::Maintenance,
        Reason::NotEnrolled,
        Reason::NoFencingLevel,
        Reason::FencesInFlight { in_flight: 2, max: 3 },
        Reason::StormBrake,
        Reason::MinimumHealthy { healthy: 5, hosts: 12, percent: 50 },
        Reason::WaitsForNewBoot,
        Reason::WaitsForPermits,
        Reason::WaitsForInstances { left: 7 },
        Reason::WaitsForHeartbeats { heard: 1, needed: 2 },
        Reason::NeedsHuman { token: TOKEN },
    ];
    reasons.extend(proofs().into_iter().map(|proof| Reason::ProofNotEnough { proof }));
    reasons.extend(parkings().into_iter().map(|why| Reason::Parked { instances: 4, why }));
    reasons.push(Reason::WaitsForCopies { instances: 2, host: host() });
    reasons.push(Reason::NobodyCanTell { host: host() });
    named(reasons, reason_name)
}
