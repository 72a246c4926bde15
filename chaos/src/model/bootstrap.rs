//! The founding of a cluster, command by command, as a real one is founded.

use std::collections::BTreeSet;

use quorumfence_machine::{
    Actor, AgentReport, Change, ClusterId, ClusterTime, Command, ControllerId, Device, Driver, Enrolment, Evidence,
    InstanceReport, InstanceState, JoinTokenId, Joiner, Level, LogIndex, Millis, Role, Segment, Settings, State,
    Verdict, Vote, WallMillis,
};

use super::Bounds;
use super::world::{Boot, ControllerNumber, HostNumber, INSTANCE};

/// One step of time: a permit's life, and the time that a late order may still take to arrive.
///
/// One length for both is enough: what matters is on which side of a permit's end and of its late delivery things happen.
pub(super) const STEP: Millis = Millis(20_000);

/// Returns the cluster's clock at a step.
pub(super) fn clock(now: u8) -> ClusterTime {
    ClusterTime(0).after(STEP.times(u64::from(now)))
}

/// Returns the state of an armed cluster whose hosts are all admitted; the instance runs on the first.
///
/// Brakes are wide open: what they hold back is not modelled, and would only make the model smaller.
pub(super) fn found(bounds: &Bounds) -> State {
    let mut founding = Founding::default();
    let settings = Settings {
        permit_life: STEP,
        late_delivery: STEP,
        attempts_per_level: 20,
        retry_pause: Millis::ZERO,
        human_retry_pause: Millis(1000),
        fences_in_flight_max: 100,
        storm_fences_max: 100,
        max_restart_attempts: 100,
        ..Settings::default()
    };
    let (cluster, address) = (ClusterId([9; 16]), "controller-1:1".into());
    founding.change(Change::ClusterCreate { cluster, name: "model".into(), address, settings });
    let voters: BTreeSet<ControllerId> = (0..bounds.controllers).map(|c| ControllerNumber(c).id()).collect();
    founding.index += 1;
    founding.state.apply_voters(LogIndex(founding.index), &voters);
    let segment = Segment { minimum_healthy_percent: 0, ..Segment::default() };
    founding.change(Change::SegmentCreate { segment });
    for number in 0..bounds.hosts {
        founding.host(HostNumber(number), &voters);
    }
    founding.change(Change::Arm { reason: "the model begins".into() });
    founding.state
}

/// Returns what a host's agent says.
pub(super) fn report(host: HostNumber, boot: Boot, runs: bool) -> AgentReport {
    let instance = InstanceReport {
        id: INSTANCE,
        name: "vm".into(),
        state: InstanceState::Running,
        ha_enabled: true,
        priority: 500,
        memory_mib: 64,
        definition: "<domain/>".into(),
    };
    AgentReport {
        boot: boot.id(host),
        system_uuid: None,
        memory_mib: 1024,
        instances: runs.then_some(instance).into_iter().collect(),
        cannot_refuse: false,
        listed: Millis(0),
        // What it says is true now: it has been told of everything.
        as_of: Some(LogIndex(u64::MAX)),
    }
}

/// Returns a command at a step of time.
pub(super) fn command(by: Actor, now: u8, change: Change) -> Command {
    Command { by, wall: WallMillis(0), clock: clock(now), request: None, change }
}

#[derive(Default)]
struct Founding {
    state: State,
    index: u64,
}

impl Founding {
    fn change(&mut self, change: Change) {
        self.index += 1;
        let applied = self.state.apply(LogIndex(self.index), &command(Actor::Operator("ada".into()), 0, change));
        applied.reply.expect("nothing stands against the founding of a cluster");
    }

    fn host(&mut self, host: HostNumber, voters: &BTreeSet<ControllerId>) {
        let (name, boot) = (host.id(), Boot(0));
        let id: JoinTokenId = format!("token-{host}").parse().expect("letters, digits and a dash are a name");
        let (secret_hash, role, life) = ([host.0; 32], Role::Agent, STEP);
        self.change(Change::JoinTokenCreate { id: id.clone(), secret_hash, role, life, uses: 1 });
        self.change(Change::Join { id, secret_hash, joiner: Joiner::Agent { host: name.clone() } });
        let device = Device {
            driver: Driver::Laboratory,
            address: format!("bmc-{host}:623"),
            user: "fence".into(),
            sealed_password: Vec::new(),
            suite: None,
            identity: None,
        };
        let levels = vec![Level { devices: vec![device] }];
        let enrolment = Enrolment { segment: Segment::default().id, ping: None, health: None, levels };
        self.change(Change::HostEnrol { host: name.clone(), enrolment });
        self.change(Change::AgentReport { host: name.clone(), report: report(host, boot, host == HostNumber(0)) });
        for controller in voters {
            let verdict = Verdict::Alive { boot: boot.id(host) };
            let votes = vec![Vote { host: name.clone(), verdict, evidence: Evidence::default() }];
            self.change(Change::Votes { controller: *controller, votes });
        }
        self.change(Change::HostAdmit { host: name, boot: boot.id(host) });
    }
}
