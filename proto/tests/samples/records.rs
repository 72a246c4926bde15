//! Samples of every record.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{
    Actor, AgentFacts, Assignment, CastVote, Cluster, ClusterId, ClusterTime, Controller, ControllerId, Death,
    EventRecord, Fence, Host, HostState, Instance, InstanceState, JoinToken, LogIndex, Maintenance, Millis, Permit,
    Proof, Record, Recovery, RecoveryStage, Rejected, Reply, Role, Stage, StoredReply, Token, WallMillis,
};

use super::changes::{parkings, segment, verdicts};
use super::rejections::{rejections, replies};
use super::{
    BOOT, CONTROLLER, INSTANCE, MACHINE, OTHER_BOOT, OTHER_INSTANCE, REQUEST, TOKEN, enrolment, events, evidences,
    host, join_token_id, named, names, other_host, refusals, settings,
};

names!(Record, RECORD_NAMES, record_name, {
    Cluster => "cluster",
    Controller => "controller",
    JoinToken => "join_token",
    Segment => "segment",
    Host => "host",
    Instance => "instance",
    Fence => "fence",
    Request => "request",
    Event => "event",
});

pub(crate) fn records() -> Vec<(String, Record)> {
    let mut records = vec![
        Record::Cluster(cluster()),
        Record::Cluster(Cluster {
            armed: false,
            storm: None,
            decided: Vec::new(),
            voters: BTreeSet::new(),
            ..cluster()
        }),
        Record::Controller(Controller { id: CONTROLLER, address: "192.0.2.2:7654".into(), joined_at: LogIndex(17) }),
        Record::JoinToken(JoinToken {
            id: join_token_id(),
            secret_hash: *b"sha-256 of a secret, 32 bytes...",
            role: Role::Agent,
            ends: ClusterTime(3_600_000),
            uses_left: 2,
        }),
        Record::Segment(segment()),
    ];
    records.extend(hosts().into_iter().map(Record::Host));
    records.extend(instances().into_iter().map(Record::Instance));
    records.extend(stages().into_iter().map(fence).map(Record::Fence));
    records.push(Record::Fence(late_orders_are_awaited()));
    let answers: Vec<Result<Reply, Rejected>> = [
        replies().into_iter().map(|(_, reply)| Ok(reply)).collect::<Vec<_>>(),
        rejections().into_iter().map(|(_, rejected)| Err(rejected)).collect(),
    ]
    .concat();
    let request = |reply| Record::Request(StoredReply { request: REQUEST, at: LogIndex(99), reply });
    records.extend(answers.into_iter().map(request));
    records.extend(events().into_iter().zip(1..).map(|((_, event), sequence)| {
        Record::Event(EventRecord {
            sequence,
            at: LogIndex(4711),
            wall: WallMillis(1_700_000_000_000),
            clock: ClusterTime(90_000),
            by: Actor::Controller(CONTROLLER),
            event,
        })
    }));
    named(records, record_name)
}

fn cluster() -> Cluster {
    Cluster {
        id: ClusterId(*b"cluster-aaaaaaaa"),
        name: "north".into(),
        armed: true,
        armed_reason: "acceptance test passed".into(),
        storm: Some(LogIndex(4690)),
        decided: vec![ClusterTime(80_000), ClusterTime(81_000)],
        settings: settings(),
        clock: ClusterTime(90_000),
        voters: BTreeSet::from([ControllerId(1), ControllerId(2), ControllerId(300)]),
        last_controller: ControllerId(300),
        applied: LogIndex(4711),
    }
}

fn hosts() -> Vec<Host> {
    let votes = verdicts().into_iter().zip(evidences().into_iter().cycle()).zip(1..);
    let votes = votes.map(|((verdict, evidence), id)| {
        (ControllerId(id), CastVote { verdict, at: LogIndex(4000 + id), clock: ClusterTime(0), evidence })
    });
    let full = Host {
        id: host(),
        agent_joined: true,
        enrolment: Some(enrolment()),
        agent: Some(AgentFacts {
            boot: BOOT,
            system_uuid: Some(MACHINE),
            memory_mib: 196_608,
            boot_at: LogIndex(0),
            running: BTreeSet::from([INSTANCE, OTHER_INSTANCE]),
            moving: BTreeSet::new(),
            brought: BTreeSet::new(),
            ran_before: BTreeSet::new(),
            came_before: BTreeSet::new(),
            cannot_refuse: false,
            listed: Millis(0),
            as_of: None,
            list_at: LogIndex(0),
            heard_again_at: LogIndex(0),
            earlier: Vec::new(),
        }),
        maintenance: Some(Maintenance { reason: "new DIMMs".into(), since: LogIndex(4650) }),
        state: HostState::Up { boot: BOOT },
        votes: BTreeMap::from_iter(votes),
    };
    let bare = Host {
        agent_joined: false,
        enrolment: None,
        agent: None,
        maintenance: None,
        votes: BTreeMap::new(),
        ..full.clone()
    };
    let states = [
        HostState::New,
        HostState::Up { boot: BOOT },
        HostState::Lost { boot: BOOT, at: LogIndex(4700) },
        HostState::Fencing { token: TOKEN },
        HostState::Fenced { token: TOKEN },
    ];
    for (at, state) in states.iter().enumerate() {
        let place = match state {
            HostState::New => 0,
            HostState::Up { .. } => 1,
            HostState::Lost { .. } => 2,
            HostState::Fencing { .. } => 3,
            HostState::Fenced { .. } => 4,
        };
        assert_eq!(place, at);
    }
    let rebooted = Host {
        agent: full.agent.clone().map(|facts| AgentFacts {
            listed: Millis(86_400_001),
            earlier: vec![OTHER_BOOT],
            ..facts
        }),
        votes: full
            .votes
            .iter()
            .map(|(id, vote)| (*id, CastVote { clock: ClusterTime(90_000), ..vote.clone() }))
            .collect(),
        ..full.clone()
    };
    let bare = states.into_iter().map(|state| Host { state, ..bare.clone() });
    std::iter::once(full).chain(bare).chain(with_moves(rebooted)).collect()
}

fn with_moves(rebooted: Host) -> [Host; 4] {
    let moved = moved(&rebooted);
    let told = told(&moved);
    let came = came(&told);
    [rebooted, moved, told, came]
}

fn moved(rebooted: &Host) -> Host {
    let agent = rebooted.agent.clone().map(|facts| AgentFacts {
        boot_at: LogIndex(4600),
        moving: BTreeSet::from([INSTANCE]),
        brought: BTreeSet::from([INSTANCE, OTHER_INSTANCE]),
        ran_before: BTreeSet::from([OTHER_INSTANCE]),
        ..facts
    });
    Host { agent, ..rebooted.clone() }
}

fn told(moved: &Host) -> Host {
    let agent = moved.agent.clone().map(|facts| AgentFacts {
        as_of: Some(LogIndex(4650)),
        list_at: LogIndex(4655),
        heard_again_at: LogIndex(4640),
        ..facts
    });
    Host { agent, ..moved.clone() }
}

fn came(told: &Host) -> Host {
    let agent = told.agent.clone().map(|facts| AgentFacts { came_before: BTreeSet::from([INSTANCE]), ..facts });
    Host { agent, ..told.clone() }
}

fn instances() -> Vec<Instance> {
    let instance = |recovery| Instance {
        id: INSTANCE,
        name: "web-0".into(),
        ha_enabled: true,
        priority: 65_535,
        memory_mib: 4096,
        definition: "<domain type='kvm'><name>web</name></domain>".into(),
        owner: host(),
        token: Token(LogIndex(40)),
        state: InstanceState::Running,
        seen_as_of: None,
        left_at: None,
        listed_elsewhere_at: None,
        started_at: None,
        recovery,
        may_have_died: None,
    };
    let mut stages = vec![
        RecoveryStage::Waiting,
        RecoveryStage::Assigned(Assignment { token: TOKEN, host: other_host(), boot: OTHER_BOOT }),
        RecoveryStage::Parked(parkings()[0]),
        RecoveryStage::Refused { host: other_host(), refusal: refusals()[10] },
    ];
    for (at, stage) in stages.iter().enumerate() {
        let place = match stage {
            RecoveryStage::Waiting => 0,
            RecoveryStage::Assigned(_) => 1,
            RecoveryStage::Parked(_) => 2,
            RecoveryStage::Refused { .. } => 3,
        };
        assert_eq!(place, at);
    }
    stages.extend(parkings().into_iter().skip(1).map(RecoveryStage::Parked));
    let not_before = ClusterTime(95_000);
    let recoveries = stages.into_iter().map(|stage| Some(Recovery { fence: TOKEN, stage, refusals: 2, not_before }));
    let started = Instance { started_at: Some(LogIndex(41)), ..instance(None) };
    let death = |on_its_way| Death { host: other_host(), fence: TOKEN, proven_at: LogIndex(4720), on_its_way };
    let dead = Instance { may_have_died: Some(death(false)), ..instance(None) };
    let migrated = Instance { may_have_died: Some(death(true)), state: InstanceState::Migrated, ..instance(None) };
    let seen = Instance { seen_as_of: Some(LogIndex(41)), left_at: Some(LogIndex(43)), ..instance(None) };
    let stray = Instance { listed_elsewhere_at: Some(LogIndex(47)), ..instance(None) };
    std::iter::once(None).chain(recoveries).map(instance).chain([started, dead, migrated, seen, stray]).collect()
}

/// Every proof.
pub(crate) fn proofs() -> Vec<Proof> {
    let all = [
        Proof::PowerOffVerified { level: 1, ordered: true },
        Proof::NewBootId { boot: OTHER_BOOT },
        Proof::Human { operator: "anna".into(), reason: "I pulled both cables".into() },
    ];
    for (at, proof) in all.iter().enumerate() {
        let place = match proof {
            Proof::PowerOffVerified { .. } => 0,
            Proof::NewBootId { .. } => 1,
            Proof::Human { .. } => 2,
        };
        assert_eq!(place, at);
    }
    all.into()
}

fn stages() -> Vec<Stage> {
    let mut stages = vec![Stage::Working, Stage::NeedsHuman];
    stages.extend(proofs().into_iter().map(|proof| Stage::Proven { at: LogIndex(4720), proof }));
    for (at, stage) in stages.iter().enumerate() {
        let place = match stage {
            Stage::Working => 0,
            Stage::NeedsHuman => 1,
            Stage::Proven { .. } => at.max(2),
        };
        assert_eq!(place, at);
    }
    stages
}

/// A fence whose permits say for how long.
fn late_orders_are_awaited() -> Fence {
    let mut fence = fence(Stage::Working);
    fence.permits.iter_mut().for_each(|permit| permit.late_delivery = Millis(30_000));
    fence
}

fn fence(stage: Stage) -> Fence {
    let permit = |at, ended| Permit {
        at: LogIndex(at),
        executor: CONTROLLER,
        level: 1,
        ends: ClusterTime(110_000),
        late_delivery: Millis::ZERO,
        ended,
    };
    Fence {
        token: TOKEN,
        host: host(),
        boot: match stage {
            Stage::NeedsHuman => None,
            Stage::Working | Stage::Proven { .. } => Some(BOOT),
        },
        lost_at: LogIndex(4700),
        decided: ClusterTime(89_000),
        level: 1,
        attempt: 4,
        failed: 2,
        refused: BTreeSet::from([0, 255]),
        not_before: ClusterTime(95_000),
        executor: match stage {
            Stage::NeedsHuman => Some(CONTROLLER),
            Stage::Working | Stage::Proven { .. } => None,
        },
        permits: vec![permit(4712, true), permit(4715, false)],
        stage,
        started: 3,
    }
}
