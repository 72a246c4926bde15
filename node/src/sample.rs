//! States for tests, made of commands as a log would make them.

use quorumfence_machine::{
    Actor, AgentReport, BootId, Change, ClusterId, ClusterTime, Command, ControllerId, Device, Driver, Enrolment,
    HostId, InstanceId, InstanceReport, InstanceState, JoinTokenId, Joiner, Level, LogIndex, Millis, Reply, Role,
    Segment, Settings, State, Vote, WallMillis,
};

/// A state and the index of its last entry.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) state: State,
    at: u64,
}

pub(crate) fn host(name: &str) -> HostId {
    name.parse().expect("tests use good names")
}

pub(crate) fn boot(number: u8) -> BootId {
    BootId([number; 16])
}

pub(crate) const ME: ControllerId = ControllerId(1);

/// The changes that create an armed cluster with these hosts, joined and enrolled.
pub(crate) fn founding(settings: Settings, hosts: &[&str]) -> Vec<Change> {
    let id: JoinTokenId = "t".parse().expect("a good name");
    let secret_hash = [7; 32];
    let mut changes = vec![
        Change::ClusterCreate { cluster: ClusterId([1; 16]), name: "test".into(), address: "c1:1".into(), settings },
        Change::Arm { reason: "test".into() },
        Change::SegmentCreate { segment: Segment::default() },
        Change::JoinTokenCreate { id: id.clone(), secret_hash, role: Role::Agent, life: Millis(60_000), uses: 100 },
    ];
    for name in hosts {
        let joiner = Joiner::Agent { host: host(name) };
        changes.push(Change::Join { id: id.clone(), secret_hash, joiner });
        changes.push(Change::HostEnrol { host: host(name), enrolment: enrolment(name, "secret") });
    }
    changes
}

pub(crate) fn enrolment(name: &str, password: &str) -> Enrolment {
    let device = Device {
        driver: Driver::Laboratory,
        address: format!("bmc-{name}:623"),
        user: "admin".into(),
        sealed_password: password.into(),
        suite: None,
        identity: None,
    };
    Enrolment {
        segment: Segment::default().id,
        ping: None,
        health: None,
        levels: vec![Level { devices: vec![device] }],
    }
}

pub(crate) fn instance(number: u8, state: InstanceState) -> InstanceReport {
    InstanceReport {
        id: InstanceId([number; 16]),
        name: format!("vm{number}"),
        state,
        ha_enabled: true,
        priority: 500,
        memory_mib: 512,
        definition: "<domain/>".into(),
    }
}

pub(crate) fn report(number: u8, instances: Vec<InstanceReport>) -> AgentReport {
    AgentReport {
        boot: boot(number),
        system_uuid: None,
        memory_mib: 16_384,
        instances,
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    }
}

impl Log {
    /// A cluster whose only voter is [`ME`], with these hosts.
    pub(crate) fn of(hosts: &[&str]) -> Self {
        let mut log = Self::default();
        for change in founding(Settings::default(), hosts) {
            log.apply(Actor::Controller(ME), change).expect("the cluster can be founded");
        }
        log
    }

    pub(crate) fn apply(&mut self, by: Actor, change: Change) -> Result<Reply, quorumfence_machine::Rejected> {
        self.at += 1;
        let clock = ClusterTime(self.at * 10);
        let command = Command { by, wall: WallMillis(0), clock, request: None, change };
        self.state.apply(LogIndex(self.at), &command).reply
    }

    pub(crate) fn last(&self) -> LogIndex {
        LogIndex(self.at)
    }

    pub(crate) fn vote(&mut self, votes: Vec<Vote>) {
        self.apply(Actor::Controller(ME), Change::Votes { controller: ME, votes }).expect("this controller votes");
    }

    pub(crate) fn report(&mut self, name: &str, report: AgentReport) {
        let change = Change::AgentReport { host: host(name), report };
        self.apply(Actor::Agent(host(name)), change).expect("the host is known");
    }
}
