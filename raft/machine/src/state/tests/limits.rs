//! Everything that is remembered has an end, and the oldest goes first.

use super::rig::{Rig, boot, host, operator};
use crate::state::{EVENTS_MAX, REQUESTS_MAX};
use crate::{
    AgentReport, BootId, Change, ClusterTime, Command, ControllerId, HostState, JoinTokenId, LogIndex, Millis,
    Rejected, Reply, RequestId, Role, Token, Verdict, WallMillis,
};

fn arm() -> Change {
    Change::Arm { reason: "again".into() }
}

#[test]
fn the_newest_events_are_kept_and_their_numbers_go_on() {
    let mut rig = Rig::green();
    let told = |rig: &Rig| {
        let numbers: Vec<u64> = rig.state.events_from(0).map(|row| row.sequence).collect();
        (numbers.len() as u64, numbers[0], numbers[numbers.len() - 1])
    };
    let (before, ..) = told(&rig);
    for _ in before..EVENTS_MAX {
        rig.ok(arm());
    }
    assert_eq!(told(&rig), (EVENTS_MAX, 1, EVENTS_MAX));
    rig.ok(arm());
    assert_eq!(told(&rig), (EVENTS_MAX, 2, EVENTS_MAX + 1));
    assert_eq!(rig.state.events_from(EVENTS_MAX).count(), 2);
}

fn request(number: usize) -> RequestId {
    let mut bytes = [0; 16];
    // The order of the ids is not the order of the requests.
    bytes[8..].copy_from_slice(&u64::MAX.wrapping_sub(number as u64).to_be_bytes());
    RequestId(bytes)
}

#[test]
fn the_newest_requests_are_remembered_and_an_older_one_is_done_again() {
    let mut rig = Rig::green();
    let mut send = |index: usize, number: usize| {
        let command = Command {
            by: operator(),
            wall: WallMillis(0),
            clock: ClusterTime(0),
            request: Some(request(number)),
            change: arm(),
        };
        rig.state.apply(LogIndex(1000 + index as u64), &command).events.len()
    };
    for number in 0..REQUESTS_MAX {
        assert_eq!(send(number, number), 1);
    }
    assert_eq!(send(REQUESTS_MAX, 0), 0, "the oldest is still remembered");
    assert_eq!(send(REQUESTS_MAX, REQUESTS_MAX), 1);
    assert_eq!(send(REQUESTS_MAX + 1, 1), 0, "the second is remembered");
    assert_eq!(send(REQUESTS_MAX + 1, 0), 1, "the first is forgotten");
}

fn create(number: usize, uses: u32, life: u64) -> Change {
    let id: JoinTokenId = format!("t{number}").parse().unwrap();
    Change::JoinTokenCreate { id, secret_hash: [1; 32], role: Role::Controller, life: Millis(life), uses }
}

#[test]
fn join_tokens_that_ended_or_are_used_up_make_room_for_others() {
    let mut rig = Rig::empty();
    rig.ok(Change::ClusterCreate {
        cluster: crate::ClusterId([9; 16]),
        name: "test".into(),
        address: "127.0.0.1:1".into(),
        settings: crate::Settings::default(),
    });
    rig.ok(create(0, 1, 1000));
    for number in 1..1024 {
        rig.ok(create(number, 1, 2000));
    }
    let one_more = create(1024, 1, 2000);
    assert!(matches!(rig.refused(one_more.clone()), Rejected::Invalid(_)));
    rig.clock += 999;
    assert!(matches!(rig.refused(one_more.clone()), Rejected::Invalid(_)));
    rig.clock += 1;
    rig.ok(one_more);
    let kept: Vec<String> = rig.state.join_tokens().map(|row| row.id.to_string()).collect();
    assert_eq!((kept.len(), kept.contains(&"t0".into())), (1024, false));
    let joiner = crate::Joiner::Controller { address: "127.0.0.1:2".into() };
    rig.ok(Change::Join { id: "t5".parse().unwrap(), secret_hash: [1; 32], joiner });
    rig.ok(create(5, 0, 1));
    rig.ok(create(6000, 1, 1));
    assert!(!rig.state.join_tokens().any(|row| row.id.as_str() == "t5"), "it was created without a use");
}

#[test]
fn the_newest_permits_of_a_fence_are_remembered() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    let given: Vec<LogIndex> = (0..65).map(|_| rig.permit(token)).collect();
    let kept: Vec<LogIndex> = rig.state.fence(&token).unwrap().permits.iter().map(|permit| permit.at).collect();
    assert_eq!(kept, given[1..]);
}

/// Host 2 reboots by itself into boot number `life`, is fenced by that, and admitted. Returns the fence.
fn reboot(rig: &mut Rig, life: u16) -> Token {
    let mut bytes = [0xff; 16];
    bytes[..2].copy_from_slice(&life.to_be_bytes());
    let boot = BootId(bytes);
    let report = AgentReport {
        boot,
        system_uuid: None,
        memory_mib: 1024,
        instances: Vec::new(),
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    };
    rig.ok(Change::AgentReport { host: host(2), report });
    let lost_at = LogIndex(rig.index);
    let Reply::Fence(token) = rig.ok(Change::FenceDecide { host: host(2), lost_at }) else { unreachable!() };
    rig.ok(Change::FenceNewBoot { token, boot });
    rig.vote(1, 2, Verdict::Alive { boot });
    rig.vote(2, 2, Verdict::Alive { boot });
    rig.ok(Change::HostAdmit { host: host(2), boot });
    token
}

#[test]
fn the_newest_fences_are_remembered_and_those_that_something_rests_on() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    let in_use = rig.fence(1);
    let state = rig.state.host(&host(1)).unwrap().state;
    assert_eq!(state, HostState::Fenced { token: in_use });
    let fences: Vec<Token> = (1..1000).map(|life| reboot(&mut rig, life)).collect();
    let kept = |rig: &Rig| rig.state.fences().map(|fence| fence.token).collect::<Vec<_>>();
    let all: Vec<Token> = std::iter::once(in_use).chain(fences.clone()).collect();
    assert_eq!(kept(&rig), all);
    let newest = reboot(&mut rig, 1000);
    let expect: Vec<Token> = std::iter::once(in_use).chain(fences[1..].iter().copied()).chain([newest]).collect();
    assert_eq!(kept(&rig), expect, "host 1 is still fenced by the oldest");
}

#[test]
fn a_pause_between_attempts_doubles_and_has_an_end() {
    let mut rig = Rig::green();
    let settings = crate::Settings { attempts_per_level: 20, retry_pause: Millis(10), ..crate::Settings::default() };
    rig.ok(Change::SettingsSet { settings });
    let token = rig.decide(2);
    let mut pauses = Vec::new();
    for _ in 0..13 {
        let permit = rig.permit(token);
        let outcomes = vec![crate::Outcome::Unknown(crate::Doubt::Timeout)];
        rig.ok(Change::FenceResult { token, permit, outcomes });
        pauses.push(rig.state.fence(&token).unwrap().not_before.0 - rig.clock);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 10_240, 10_240]);
}

#[test]
fn voters_may_be_so_many_that_a_vote_count_is_cut() {
    let mut rig = Rig::green();
    rig.index += 1;
    rig.state.apply_voters(LogIndex(rig.index), &(1..=300).map(ControllerId).collect());
    let votes = |number: u64| {
        let vote = crate::Vote { host: host(2), verdict: Verdict::Unreachable, evidence: crate::Evidence::default() };
        Change::Votes { controller: ControllerId(number), votes: vec![vote] }
    };
    for number in 1..151 {
        rig.ok(votes(number));
    }
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Up { boot: boot(2) });
    rig.ok(votes(151));
    assert_eq!(rig.last_event(), crate::Event::HostLost { host: host(2), votes: 151, voters: 255 });
}

#[test]
fn a_host_has_so_many_levels_and_a_level_so_many_devices() {
    let mut rig = Rig::green();
    let enrolment = |rig: &Rig, levels: u8, devices: u8| {
        let Change::HostEnrol { host, mut enrolment } = rig.enrolment(2, levels) else { unreachable!() };
        let Some(last) = enrolment.levels.last_mut() else { unreachable!() };
        let device = last.devices.remove(0);
        let numbered = |number| crate::Device { address: format!("127.0.2.{levels}:{number}"), ..device.clone() };
        last.devices = (0..devices).map(numbered).collect();
        Change::HostEnrol { host, enrolment }
    };
    for (levels, devices, fits) in
        [(8, 1, true), (9, 1, false), (1, 8, true), (1, 9, false), (1, 0, false), (2, 0, false)]
    {
        let applied = rig.apply(enrolment(&rig, levels, devices));
        let expect = if fits {
            Ok(Reply::Done)
        } else {
            Err(Rejected::Invalid("a host has at most 8 levels of 1 to 8 devices".into()))
        };
        assert_eq!(applied.reply, expect, "{levels} levels, {devices} devices in the last");
    }
}
