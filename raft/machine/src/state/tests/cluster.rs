use super::rig::{Rig, boot, host, operator};
use crate::{
    Change, ClusterId, ClusterTime, Command, ControllerId, Event, JoinTokenId, Joiner, LogIndex, Millis, Rejected,
    Reply, RequestId, Role, Segment, SegmentId, Settings, State, SystemUuid, WallMillis,
};

fn token(id: &str) -> JoinTokenId {
    id.parse().unwrap()
}

fn create_token(id: &str, role: Role, uses: u32) -> Change {
    Change::JoinTokenCreate { id: token(id), secret_hash: [7; 32], role, life: Millis(1000), uses }
}

fn join_controller(id: &str, secret: u8, address: &str) -> Change {
    Change::Join { id: token(id), secret_hash: [secret; 32], joiner: Joiner::Controller { address: address.into() } }
}

#[test]
fn nothing_happens_before_the_cluster_exists() {
    let mut rig = Rig::empty();
    assert_eq!(rig.refused(Change::Arm { reason: "early".into() }), Rejected::NoCluster);
}

#[test]
fn a_cluster_is_created_once() {
    let mut rig = Rig::disarmed();
    let again = Change::ClusterCreate {
        cluster: ClusterId([1; 16]),
        name: "other".into(),
        address: "127.0.0.1:2".into(),
        settings: Settings::default(),
    };
    assert_eq!(rig.refused(again), Rejected::ClusterExists);
}

#[test]
fn a_new_cluster_observes_until_it_is_armed() {
    let mut rig = Rig::disarmed();
    assert!(!rig.state.cluster().unwrap().armed);
    rig.ok(Change::Arm { reason: "checked".into() });
    assert!(rig.state.cluster().unwrap().armed);
    rig.ok(Change::Disarm { reason: "switch work".into() });
    assert_eq!(rig.last_event(), Event::Disarmed { reason: "switch work".into() });
}

#[test]
fn controller_ids_are_never_given_twice() {
    let mut rig = Rig::disarmed();
    rig.ok(create_token("c", Role::Controller, 2));
    assert_eq!(rig.ok(join_controller("c", 7, "127.0.0.1:11")), Reply::Controller(ControllerId(2)));
    assert_eq!(rig.ok(join_controller("c", 7, "127.0.0.1:12")), Reply::Controller(ControllerId(3)));
}

#[test]
fn a_join_token_is_refused_when_wrong_expired_or_used_up() {
    let mut rig = Rig::disarmed();
    let refused = Rejected::JoinToken(token("c"));
    assert_eq!(rig.refused(join_controller("c", 7, "127.0.0.1:11")), refused, "unknown");
    rig.ok(create_token("c", Role::Controller, 1));
    assert_eq!(rig.refused(join_controller("c", 8, "127.0.0.1:11")), refused, "wrong secret");
    let as_agent = Change::Join { id: token("c"), secret_hash: [7; 32], joiner: Joiner::Agent { host: host(7) } };
    assert_eq!(rig.refused(as_agent), refused, "wrong role");
    rig.ok(join_controller("c", 7, "127.0.0.1:11"));
    assert_eq!(rig.refused(join_controller("c", 7, "127.0.0.1:12")), refused, "used up");
    rig.ok(create_token("d", Role::Controller, 1));
    rig.clock += 1000;
    assert_eq!(rig.refused(join_controller("d", 7, "127.0.0.1:13")), Rejected::JoinToken(token("d")), "expired");
}

#[test]
fn a_second_agent_with_the_same_name_is_refused() {
    let mut rig = Rig::disarmed();
    rig.ok(create_token("a", Role::Agent, 5));
    let join = Change::Join { id: token("a"), secret_hash: [7; 32], joiner: Joiner::Agent { host: host(1) } };
    assert_eq!(rig.refused(join), Rejected::HostTaken(host(1)));
}

#[test]
fn a_segment_is_created_once_and_must_make_sense() {
    let mut rig = Rig::disarmed();
    let id: SegmentId = "default".parse().unwrap();
    assert_eq!(rig.refused(Change::SegmentCreate { segment: Segment::default() }), Rejected::SegmentExists(id));
    let hasty = Segment { id: "b".parse().unwrap(), failure_threshold: 0, ..Segment::default() };
    assert!(matches!(rig.refused(Change::SegmentCreate { segment: hasty }), Rejected::Invalid(_)));
}

#[test]
fn contradicting_settings_are_refused() {
    let mut rig = Rig::disarmed();
    let settings = Settings { permit_life: Millis(100), ..Settings::default() };
    assert!(matches!(rig.refused(Change::SettingsSet { settings }), Rejected::Invalid(_)));
    rig.ok(Change::SettingsSet { settings: Settings::fast() });
    assert_eq!(rig.state.settings(), Settings::fast());
}

#[test]
fn one_device_belongs_to_one_host() {
    let mut rig = Rig::disarmed();
    let Change::HostEnrol { enrolment, .. } = rig.enrolment(1, 1) else { unreachable!() };
    let stolen = Change::HostEnrol { host: host(2), enrolment };
    assert_eq!(rig.refused(stolen), Rejected::DeviceTaken { address: "127.0.0.1:0".into(), host: host(1) });
}

#[test]
fn a_device_of_another_machine_is_refused() {
    let mut rig = Rig::disarmed();
    let report = crate::AgentReport {
        boot: boot(1),
        system_uuid: Some(SystemUuid([1; 16])),
        memory_mib: 1024,
        instances: Vec::new(),
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    rig.ok(Change::AgentReport { host: host(1), report });
    let Change::HostEnrol { host, mut enrolment } = rig.enrolment(1, 1) else { unreachable!() };
    enrolment.levels[0].devices[0].identity = Some(SystemUuid([2; 16]));
    let wrong = Rejected::WrongMachine { address: "127.0.0.1:0".into(), host: host.clone() };
    assert_eq!(rig.refused(Change::HostEnrol { host, enrolment }), wrong);
}

#[test]
fn a_request_sent_twice_changes_the_state_once() {
    let mut rig = Rig::disarmed();
    rig.ok(create_token("c", Role::Controller, 5));
    let mut send = |index: u64| {
        let command = Command {
            by: operator(),
            wall: WallMillis(0),
            clock: ClusterTime(0),
            request: Some(RequestId([1; 16])),
            change: join_controller("c", 7, "127.0.0.1:11"),
        };
        rig.state.apply(LogIndex(index), &command)
    };
    let (first, second) = (send(100), send(101));
    assert_eq!(first.reply, Ok(Reply::Controller(ControllerId(2))));
    assert_eq!((second.reply, second.events), (first.reply.clone(), Vec::new()));
    let answered = rig.state.answered(&RequestId([1; 16])).unwrap();
    assert_eq!((answered.at, &answered.reply), (LogIndex(100), &first.reply));
}

#[test]
fn the_records_of_a_state_build_it_again() {
    let rig = Rig::green();
    let copy = State::from_records(rig.state.records());
    assert_eq!((copy.digest(), &copy), (rig.state.digest(), &rig.state));
}

#[test]
fn the_changed_rows_are_all_that_a_copy_needs() {
    let mut rig = Rig::green();
    rig.state.take_changes();
    let mut rows: std::collections::BTreeMap<_, _> =
        rig.state.records().into_iter().map(|record| (record.key(), record)).collect();
    rig.fence(2);
    for (key, row) in rig.state.take_changes() {
        match row {
            Some(row) => rows.insert(key, row),
            None => rows.remove(&key),
        };
    }
    assert_eq!(State::from_records(rows.into_values()), rig.state);
}

#[test]
fn what_the_state_holds_can_be_read() {
    let mut rig = Rig::green();
    rig.ok(create_token("c", Role::Controller, 5));
    rig.ok(join_controller("c", 7, "127.0.0.1:11"));
    let controllers: Vec<(u64, &str)> = rig.state.controllers().map(|row| (row.id.0, row.address.as_str())).collect();
    assert_eq!(controllers, [(1, "127.0.0.1:1"), (2, "127.0.0.1:11")]);
    assert_eq!(rig.state.segments().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["default"]);
    assert_eq!(rig.state.hosts().map(|row| row.id.clone()).collect::<Vec<_>>(), [1, 2, 3].map(host));
    assert_eq!(rig.state.join_tokens().map(|row| (row.id.as_str(), row.uses_left)).collect::<Vec<_>>(), [("c", 4)]);
    assert_eq!(State::default().settings(), Settings::default());
    let others = State::from_records(rig.state.records().into_iter().skip(1));
    assert_ne!(others, rig.state, "a state without its first row is another one");
}

#[test]
fn the_fast_profile_hears_more_often_and_loses_patience_sooner() {
    let fast = Settings {
        heartbeat_interval: Millis(200),
        suspect_after: Millis(450),
        retry_pause: Millis(250),
        ..Settings::default()
    };
    assert_eq!((Settings::fast(), Settings::fast().check()), (fast, Ok(())));
}

#[test]
fn a_name_that_is_known_without_an_agent_is_free_for_one() {
    let rig = Rig::green();
    let records = rig.state.records().into_iter().map(|record| match record {
        crate::Record::Host(row) if row.id == host(1) => {
            crate::Record::Host(crate::Host { agent_joined: false, ..row })
        }
        other => other,
    });
    let mut rig = Rig { state: State::from_records(records), ..rig };
    rig.ok(create_token("a", Role::Agent, 5));
    let join = Change::Join { id: token("a"), secret_hash: [7; 32], joiner: Joiner::Agent { host: host(1) } };
    rig.ok(join.clone());
    assert_eq!(rig.last_event(), Event::AgentJoined { host: host(1) });
    assert_eq!(rig.refused(join), Rejected::HostTaken(host(1)));
}

#[test]
fn the_devices_of_a_host_belong_to_the_machine_that_its_agent_saw() {
    let mut rig = Rig::green();
    let machine = |rig: &Rig| rig.state.machine(rig.state.host(&host(1)).unwrap());
    assert_eq!(machine(&rig), None, "its agent could not read it");
    let report = crate::AgentReport {
        boot: boot(1),
        system_uuid: Some(SystemUuid([1; 16])),
        memory_mib: 1024,
        instances: Vec::new(),
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    rig.ok(Change::AgentReport { host: host(1), report });
    assert_eq!(machine(&rig), Some(SystemUuid([1; 16])));
    rig.fence(1);
    assert_eq!(machine(&rig), None, "a fenced host may return as another one");
}
