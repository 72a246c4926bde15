//! What may be set, and what a change of settings leaves as it was.

use std::collections::BTreeSet;

use super::rig::{Rig, boot, host};
use crate::{Change, Event, Millis, ProofClass, Reason, Rejected, STORM_WINDOW_MAX, Settings, Verdict};

fn set(rig: &mut Rig, settings: Settings) {
    rig.ok(Change::SettingsSet { settings });
}

/// A setting's place.
type Place<T> = fn(&mut Settings) -> &mut T;

/// Checks settings that are the default but for one.
fn checked<T>(place: Place<T>, value: T) -> Result<(), Rejected> {
    let mut settings = Settings::default();
    *place(&mut settings) = value;
    settings.check()
}

#[test]
fn limits_that_switch_a_brake_or_fencing_off_are_refused() {
    let times: [(Place<Millis>, u64, u64, &str); 7] = [
        (|settings| &mut settings.heartbeat_interval, 50, 2499, "heartbeat_interval"),
        (|settings| &mut settings.suspect_after, 1001, 600_000, "suspect_after"),
        (|settings| &mut settings.permit_life, 8000, 600_000, "permit_life"),
        (|settings| &mut settings.device_deadline, 100, 5000, "device_deadline"),
        (|settings| &mut settings.human_retry_pause, 1000, 86_400_000, "human_retry_pause"),
        (|settings| &mut settings.late_delivery, 1000, 3_600_000, "late_delivery"),
        (|settings| &mut settings.storm_window, 60_000, STORM_WINDOW_MAX.0, "storm_window"),
    ];
    for (place, least, most, name) in times {
        assert_eq!((checked(place, Millis(least)), checked(place, Millis(most))), (Ok(()), Ok(())), "{name}");
        for beyond in [least - 1, most + 1] {
            let Err(Rejected::Invalid(why)) = checked(place, Millis(beyond)) else { panic!("{name} = {beyond}") };
            assert!(why.contains(name), "{why}");
        }
    }
    let counts: [(Place<u32>, u32, &str); 4] = [
        (|settings| &mut settings.attempts_per_level, 20, "attempts_per_level"),
        (|settings| &mut settings.fences_in_flight_max, u32::MAX, "fences_in_flight_max"),
        (|settings| &mut settings.storm_fences_max, 1000, "storm_fences_max"),
        (|settings| &mut settings.starts_per_host_max, u32::MAX, "starts_per_host_max"),
    ];
    for (place, most, name) in counts {
        assert_eq!((checked(place, 1), checked(place, most)), (Ok(()), Ok(())), "{name}");
        for beyond in [Some(0), most.checked_add(1)].into_iter().flatten() {
            let Err(Rejected::Invalid(why)) = checked(place, beyond) else { panic!("{name} = {beyond}") };
            assert!(why.contains(name), "{why}");
        }
    }
    assert_eq!(checked(|settings| &mut settings.retry_pause, Millis(60_000)), Ok(()));
    assert!(checked(|settings| &mut settings.retry_pause, Millis(60_001)).is_err());
    let rare = |interval| Settings {
        heartbeat_interval: Millis(interval),
        suspect_after: Millis(interval + 1),
        ..Settings::default()
    };
    assert!(rare(60_000).check().is_ok() && rare(60_001).check().is_err());
    let proofs = |proofs: &[ProofClass]| {
        Settings { proofs: proofs.iter().copied().collect(), ..Settings::default() }.check().is_ok()
    };
    let alone = [ProofClass::PowerOffVerified, ProofClass::Human, ProofClass::NewBootId].map(|proof| proofs(&[proof]));
    assert_eq!((alone, proofs(&[])), ([true, true, false], false));
    let slow = |deadline, life| {
        let settings = Settings { device_deadline: Millis(deadline), permit_life: Millis(life), ..Settings::default() };
        settings.check().is_ok()
    };
    assert_eq!([slow(60_000, 240_000), slow(60_000, 239_999), slow(60_001, 600_000)], [true, false, false]);
}

#[test]
fn the_storm_brake_counts_reboots_that_prove_nothing() {
    let proofs = BTreeSet::from([ProofClass::PowerOffVerified]);
    let one = Settings { storm_fences_max: 1, fences_in_flight_max: 9, ..Settings::default() };
    for (proofs, is_counted) in [(proofs, true), (one.proofs.clone(), false)] {
        let mut rig = Rig::green();
        set(&mut rig, Settings { proofs, ..one.clone() });
        rig.lose(1);
        rig.report(1, 11, &[]);
        let lost_at = rig.state.lost_at(rig.state.host(&host(1)).unwrap()).unwrap();
        rig.ok(Change::FenceDecide { host: host(1), lost_at });
        let lost_at = rig.lose(2);
        let closed = vec![Event::StormBrakeClosed { host: host(2) }];
        let next = rig.apply(Change::FenceDecide { host: host(2), lost_at });
        assert_eq!(next.events == closed, is_counted, "{next:?}");
    }
}

#[test]
fn a_storm_window_that_is_shortened_for_a_moment_forgets_no_fence() {
    let mut rig = Rig::green();
    let settings = |window| Settings { storm_window: Millis(window), storm_fences_max: 2, ..Settings::default() };
    set(&mut rig, settings(600_000));
    rig.fence(1);
    rig.clock += 61_000;
    set(&mut rig, settings(60_000));
    rig.fence(2);
    set(&mut rig, settings(600_000));
    let lost_at = rig.lose(3);
    let events = rig.apply(Change::FenceDecide { host: host(3), lost_at }).events;
    assert_eq!(events, vec![Event::StormBrakeClosed { host: host(3) }]);
}

/// Host 2 was fenced and is back; only late orders keep it out.
fn returned() -> Rig {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.report(2, 12, &[]);
    rig
}

#[test]
fn a_permit_that_is_not_remembered_any_more_is_waited_for_all_the_same() {
    let mut rig = Rig::green();
    let settings = |late| Settings {
        late_delivery: Millis(late),
        retry_pause: Millis(0),
        human_retry_pause: Millis(1000),
        ..Settings::default()
    };
    rig.report(2, 2, &[]);
    set(&mut rig, settings(3_600_000));
    let token = rig.decide(2);
    rig.permit(token);
    set(&mut rig, settings(1000));
    for _ in 0..100 {
        rig.clock += 25_000;
        let permit = rig.permit(token);
        let outcomes = vec![crate::Outcome::Unknown(crate::Doubt::Timeout)];
        rig.ok(Change::FenceResult { token, permit, outcomes });
    }
    let permit = rig.permit(token);
    rig.ok(Change::FenceResult { token, permit, outcomes: vec![super::rig::OFF] });
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.report(2, 12, &[]);
    let admit = Change::HostAdmit { host: host(2), boot: boot(12) };
    rig.clock += 60_000;
    assert_eq!(rig.refused(admit.clone()), Rejected::Held(Reason::WaitsForPermits));
    rig.clock += 3_600_000 - 101 * 25_000;
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    rig.ok(admit);
}

#[test]
fn a_late_order_is_waited_for_as_long_as_was_said_when_its_permit_was_given() {
    let mut rig = returned();
    let admit = Change::HostAdmit { host: host(2), boot: boot(12) };
    set(&mut rig, Settings { late_delivery: Millis(1000), ..Settings::default() });
    rig.clock += 2000;
    assert_eq!(rig.refused(admit.clone()), Rejected::Held(Reason::WaitsForPermits));
    rig.clock += Settings::default().late_delivery.0;
    rig.ok(admit.clone());

    let mut rig = returned();
    set(&mut rig, Settings { late_delivery: Millis(60_000), ..Settings::default() });
    rig.clock += 59_000;
    assert_eq!(rig.refused(admit.clone()), Rejected::Held(Reason::WaitsForPermits), "longer is believed at once");
    rig.clock += 2000;
    rig.ok(admit);
}
