//! A cluster of three voters and three hosts, driven command by command. Every step checks the state's consistency.

use std::collections::BTreeSet;

use crate::{
    Actor, AgentReport, Applied, BootId, Change, ClusterId, ClusterTime, Command, ControllerId, Device, Driver,
    Enrolment, Event, Evidence, HostId, InstanceId, InstanceReport, InstanceState, JoinTokenId, Joiner, Level,
    LogIndex, Millis, OffSeen, Outcome, Rejected, Reply, Role, Segment, Settings, State, Token, Verdict, Vote,
    WallMillis,
};

pub(crate) struct Rig {
    pub(crate) state: State,
    pub(crate) index: u64,
    pub(crate) clock: u64,
    pub(crate) by: Actor,
}

/// Stands in a list for the last entry: where a test does not say otherwise, an agent has been told of everything.
const NOW: LogIndex = LogIndex(u64::MAX);

pub(crate) fn host(number: u8) -> HostId {
    format!("host{number}").parse().unwrap()
}

pub(crate) fn boot(number: u8) -> BootId {
    BootId([number; 16])
}

pub(crate) fn instance(number: u8) -> InstanceId {
    InstanceId([number; 16])
}

pub(crate) fn operator() -> Actor {
    Actor::Operator("ada".into())
}

pub(crate) const OFF: Outcome<OffSeen> = Outcome::Observed(OffSeen { reads: 2, sessions: 2, ordered: true });

impl Rig {
    pub(crate) fn empty() -> Self {
        Self { state: State::default(), index: 0, clock: 0, by: operator() }
    }

    /// Three voters, armed, hosts 1 to 3 up in boots 1 to 3, instance 1 on host 1 and so on.
    pub(crate) fn green() -> Self {
        let mut rig = Self::disarmed();
        rig.ok(Change::Arm { reason: "tests".into() });
        rig
    }

    pub(crate) fn disarmed() -> Self {
        let mut rig = Self::empty();
        rig.ok(Change::ClusterCreate {
            cluster: ClusterId([9; 16]),
            name: "test".into(),
            address: "127.0.0.1:1".into(),
            settings: Settings::default(),
        });
        rig.index += 1;
        rig.state.apply_voters(LogIndex(rig.index), &BTreeSet::from([1, 2, 3].map(ControllerId)));
        rig.ok(Change::SegmentCreate { segment: Segment { minimum_healthy_percent: 30, ..Segment::default() } });
        for number in 1..=3 {
            rig.join(number);
            rig.ok(rig.enrolment(number, 1));
            rig.report(number, number, &[number]);
            rig.vote_all(number, Verdict::Alive { boot: boot(number) });
            rig.ok(Change::HostAdmit { host: host(number), boot: boot(number) });
        }
        rig
    }

    pub(crate) fn join(&mut self, number: u8) {
        let id: JoinTokenId = format!("t{number}").parse().unwrap();
        let secret_hash = [number; 32];
        self.ok(Change::JoinTokenCreate {
            id: id.clone(),
            secret_hash,
            role: Role::Agent,
            life: Millis(1000),
            uses: 1,
        });
        self.ok(Change::Join { id, secret_hash, joiner: Joiner::Agent { host: host(number) } });
    }

    pub(crate) fn enrolment(&self, number: u8, levels: u8) -> Change {
        let level = |level: u8| Level {
            devices: vec![Device {
                driver: Driver::Ipmi,
                address: format!("127.0.0.{number}:{level}"),
                user: "fence".into(),
                sealed_password: vec![1],
                suite: Some(3),
                identity: None,
            }],
        };
        let enrolment = Enrolment {
            segment: Segment::default().id,
            ping: None,
            health: None,
            levels: (0..levels).map(level).collect(),
        };
        Change::HostEnrol { host: host(number), enrolment }
    }

    pub(crate) fn report(&mut self, number: u8, boot_number: u8, running: &[u8]) {
        self.ok(Change::AgentReport { host: host(number), report: Self::list(boot_number, running) });
    }

    /// Returns what an agent says of these running instances.
    pub(crate) fn list(boot_number: u8, running: &[u8]) -> AgentReport {
        let row = |id: &u8| InstanceReport {
            id: instance(*id),
            name: format!("vm{id}"),
            state: InstanceState::Running,
            ha_enabled: true,
            priority: 500,
            memory_mib: 64,
            definition: "<domain/>".into(),
        };
        AgentReport {
            boot: boot(boot_number),
            system_uuid: None,
            memory_mib: 1024,
            instances: running.iter().map(row).collect(),
            cannot_refuse: false,
            listed: Millis(0),
            as_of: Some(NOW),
        }
    }

    pub(crate) fn vote(&mut self, controller: u64, number: u8, verdict: Verdict) -> Applied {
        let vote = Vote { host: host(number), verdict, evidence: Evidence::default() };
        self.apply(Change::Votes { controller: ControllerId(controller), votes: vec![vote] })
    }

    pub(crate) fn vote_all(&mut self, number: u8, verdict: Verdict) {
        for controller in 1..=3 {
            self.vote(controller, number, verdict);
        }
    }

    pub(crate) fn lose(&mut self, number: u8) -> LogIndex {
        self.vote(1, number, Verdict::Unreachable);
        self.vote(2, number, Verdict::Unreachable);
        LogIndex(self.index)
    }

    pub(crate) fn decide(&mut self, number: u8) -> Token {
        let lost_at = self.lose(number);
        match self.ok(Change::FenceDecide { host: host(number), lost_at }) {
            Reply::Fence(token) => token,
            other => panic!("a decision answers with its token, not {other:?}"),
        }
    }

    pub(crate) fn permit(&mut self, token: Token) -> LogIndex {
        let level = self.state.fence(&token).unwrap().level;
        let change = Change::PermitGrant { token, executor: ControllerId(1), level, life: Millis(20_000) };
        match self.ok(change) {
            Reply::Permit(at) => at,
            other => panic!("a permit answers with its index, not {other:?}"),
        }
    }

    pub(crate) fn fence(&mut self, number: u8) -> Token {
        let token = self.decide(number);
        let permit = self.permit(token);
        self.ok(Change::FenceResult { token, permit, outcomes: vec![OFF] });
        token
    }

    pub(crate) fn apply(&mut self, mut change: Change) -> Applied {
        if let Change::AgentReport { host, report } = &mut change {
            report.as_of = match report.as_of {
                Some(NOW) => Some(LogIndex(self.index)),
                // Agents of new boots list after they have been asked to.
                None => self.state.new_boot_since(host, report.boot),
                told => told,
            };
        }
        self.index += 1;
        let command = Command {
            by: self.by.clone(),
            wall: WallMillis(self.clock),
            clock: ClusterTime(self.clock),
            request: None,
            change,
        };
        let applied = self.state.apply(LogIndex(self.index), &command);
        assert_eq!(self.state.check(), Vec::new(), "after {:?}", command.change);
        applied
    }

    pub(crate) fn ok(&mut self, change: Change) -> Reply {
        let applied = self.apply(change.clone());
        applied.reply.unwrap_or_else(|rejected| panic!("{change:?}: {rejected}"))
    }

    /// The rejection, after making sure that it changed nothing that people or work can see.
    pub(crate) fn refused(&mut self, change: Change) -> Rejected {
        let (hosts, work) = (self.state.hosts().cloned().collect::<Vec<_>>(), self.state.work());
        let applied = self.apply(change.clone());
        assert_eq!(applied.events, Vec::<Event>::new(), "{change:?}");
        assert_eq!((hosts, work), (self.state.hosts().cloned().collect(), self.state.work()), "{change:?}");
        applied.reply.expect_err("the command should have been refused")
    }

    pub(crate) fn last_event(&self) -> Event {
        self.state.events_from(0).last().unwrap().event.clone()
    }
}
