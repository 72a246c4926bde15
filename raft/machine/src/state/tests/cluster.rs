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
    assert_eq!((second.reply, second.events), (first.reply, Vec::new()));
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
