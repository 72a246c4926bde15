//! The sequence against a device that follows a script, in simulated time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorumfence_machine::{Doubt, Outcome, Power, Refusal, SystemUuid};
use tokio::time::sleep;

use super::{Expected, IdentityCheck, Moment, OffOrder, OffProof, Reading, ensure_off, read_off_twice, read_once};
use crate::order::{FenceDevice, FenceSession};

const MACHINE: SystemUuid = SystemUuid([0x5a; 16]);
const OTHER: SystemUuid = SystemUuid([0xa5; 16]);

/// Each call takes one second and answers with the next line of the script.
const CALL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Open,
    NoSlot,
    Names(Option<SystemUuid>),
    Reads(Power),
    Garbles,
    TakesOff,
    RefusesOff,
    Hangs,
    Closes,
}

#[derive(Clone)]
struct Scripted(Arc<Mutex<VecDeque<Line>>>);

impl Scripted {
    fn new(script: &[Line]) -> Self {
        Self(Arc::new(Mutex::new(script.iter().cloned().collect())))
    }

    async fn next(&self) -> Line {
        let line = self.0.lock().expect("no test panics with it").pop_front();
        match line {
            None => panic!("the script has ended"),
            Some(Line::Hangs) => std::future::pending().await,
            Some(Line::Closes) => Line::Closes,
            Some(line) => {
                sleep(CALL).await;
                line
            }
        }
    }

    fn left(&self) -> Vec<Line> {
        self.0.lock().expect("no test panics with it").iter().cloned().collect()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other lines mean one thing: the script was not followed")]
impl FenceDevice for Scripted {
    type Session = Self;

    async fn open(&self, _: Duration) -> Outcome<Self> {
        match self.next().await {
            Line::Open => Outcome::Observed(self.clone()),
            Line::NoSlot => Outcome::Unknown(Doubt::Busy),
            line => panic!("opened where the script has {line:?}"),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other lines mean one thing: the script was not followed")]
impl FenceSession for Scripted {
    async fn identity(&mut self, _: Duration) -> Outcome<Option<SystemUuid>> {
        match self.next().await {
            Line::Names(identity) => Outcome::Observed(identity),
            line => panic!("asked for the identity where the script has {line:?}"),
        }
    }

    async fn power(&mut self, _: Duration) -> Outcome<Power> {
        match self.next().await {
            Line::Reads(power) => Outcome::Observed(power),
            Line::Garbles => Outcome::Unknown(Doubt::Garbled),
            line => panic!("read the power where the script has {line:?}"),
        }
    }

    async fn power_off(&mut self, _: Duration) -> Outcome<()> {
        match self.next().await {
            Line::TakesOff => Outcome::Observed(()),
            Line::RefusesOff => Outcome::Refused(Refusal::Privilege),
            line => panic!("ordered off where the script has {line:?}"),
        }
    }

    async fn close(self) {
        assert_eq!(self.next().await, Line::Closes);
    }
}

fn order() -> OffOrder {
    let deadline = Duration::from_secs(60);
    OffOrder { expected: Expected::IfNamed(MACHINE), deadline, answer: deadline }
}

/// Runs the whole script, and returns the outcome and the moments.
async fn run(script: &[Line], permit: bool) -> (Outcome<OffProof>, Vec<(Moment, Duration)>) {
    let device = Scripted::new(script);
    let mut moments = Vec::new();
    let outcome =
        ensure_off(&device, order(), || async move { permit }, |moment, after| moments.push((moment, after))).await;
    assert_eq!(device.left(), [], "the whole script was played");
    (outcome, moments)
}

#[tokio::test(start_paused = true)]
async fn a_running_host_is_ordered_off_polled_and_confirmed_in_a_second_session() {
    use Line::{Closes, Names, Open, Reads, TakesOff};
    let (outcome, moments) = run(
        &[
            Open,
            Names(Some(MACHINE)),
            Reads(Power::On),
            TakesOff,
            Reads(Power::On),
            Reads(Power::On),
            Reads(Power::Off),
            Closes,
            Open,
            Names(Some(MACHINE)),
            Reads(Power::Off),
            Closes,
        ],
        true,
    )
    .await;
    // Two pauses between the polls: 25 ms, then half as long again.
    let [sent, accepted, first, confirmed] = [3000, 4000, 7062, 10062].map(Duration::from_millis);
    let proof = OffProof {
        ordered: true,
        identity: IdentityCheck::Matched,
        order_sent_after: Some(sent),
        first_off_after: moments[2].1,
        confirmed_after: moments[3].1,
    };
    assert_eq!(outcome, Outcome::Observed(proof));
    let rounded: Vec<_> = moments.iter().map(|(moment, after)| (*moment, after.as_millis())).collect();
    let expected = [
        (Moment::OffSent, sent),
        (Moment::OffAccepted, accepted),
        (Moment::OffRead, first),
        (Moment::OffConfirmed, confirmed),
    ];
    for ((moment, after), (expected_moment, expected_after)) in rounded.into_iter().zip(expected) {
        assert_eq!(moment, expected_moment);
        // The timer has a grain of one millisecond.
        assert!(after.abs_diff(expected_after.as_millis()) <= 4, "{moment:?} after {after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_found_off_is_proven_without_an_order_or_a_permit() {
    use Line::{Closes, Names, Open, Reads};
    let half = [Open, Names(None), Reads(Power::Off), Closes];
    let (outcome, moments) = run(&[half.clone(), half].concat(), false).await;
    let proof = OffProof {
        ordered: false,
        identity: IdentityCheck::NotOffered,
        order_sent_after: None,
        first_off_after: CALL * 3,
        confirmed_after: CALL * 6,
    };
    assert_eq!(outcome, Outcome::Observed(proof));
    assert_eq!(moments, [(Moment::OffRead, CALL * 3), (Moment::OffConfirmed, CALL * 6)]);
}

#[tokio::test(start_paused = true)]
async fn another_machine_is_refused_before_its_power_is_read() {
    use Line::{Closes, Names, Open};
    let (outcome, moments) = run(&[Open, Names(Some(OTHER)), Closes], true).await;
    assert_eq!((outcome, moments), (Outcome::Refused(Refusal::WrongMachine), vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_moved_to_another_machine_proves_nothing() {
    use Line::{Closes, Names, Open, Reads};
    let (outcome, _) =
        run(&[Open, Names(Some(MACHINE)), Reads(Power::Off), Closes, Open, Names(Some(OTHER)), Closes], true).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::WrongMachine));
}

#[tokio::test(start_paused = true)]
async fn without_a_permit_nothing_is_ordered() {
    use Line::{Closes, Names, Open, Reads};
    let (outcome, moments) = run(&[Open, Names(Some(MACHINE)), Reads(Power::On), Closes], false).await;
    assert_eq!((outcome, moments), (Outcome::Refused(Refusal::PermitEnded), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_on_again_in_the_second_session_is_ambiguous() {
    use Line::{Closes, Names, Open, Reads};
    let (outcome, _) = run(
        &[Open, Names(Some(MACHINE)), Reads(Power::Off), Closes, Open, Names(Some(MACHINE)), Reads(Power::On), Closes],
        true,
    )
    .await;
    assert_eq!(outcome, Outcome::Unknown(Doubt::Ambiguous));
}

#[tokio::test(start_paused = true)]
async fn refusals_and_doubts_end_the_sequence_and_close_the_session() {
    use Line::{Closes, Garbles, Names, NoSlot, Open, Reads, RefusesOff, TakesOff};
    let begun = [Open, Names(Some(MACHINE))];
    let cases = [
        (vec![NoSlot], Outcome::Unknown(Doubt::Busy)),
        ([&begun[..], &[Garbles, Closes]].concat(), Outcome::Unknown(Doubt::Garbled)),
        ([&begun[..], &[Reads(Power::On), RefusesOff, Closes]].concat(), Outcome::Refused(Refusal::Privilege)),
        ([&begun[..], &[Reads(Power::On), TakesOff, Garbles, Closes]].concat(), Outcome::Unknown(Doubt::Garbled)),
        ([&begun[..], &[Reads(Power::Off), Closes, NoSlot]].concat(), Outcome::Unknown(Doubt::Busy)),
    ];
    for (script, expected) in cases {
        assert_eq!(run(&script, true).await.0, expected, "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_overruns_is_held_to_the_deadline() {
    use Line::{Closes, Hangs, Names, Open, Reads};
    for script in [
        vec![Hangs],
        vec![Open, Hangs, Closes],
        vec![Open, Names(Some(MACHINE)), Hangs, Closes],
        vec![Open, Names(Some(MACHINE)), Reads(Power::On), Hangs, Closes],
    ] {
        let started = tokio::time::Instant::now();
        assert_eq!(run(&script, true).await.0, Outcome::Unknown(Doubt::Timeout), "{script:?}");
        assert_eq!(started.elapsed(), order().deadline, "{script:?}");
    }
}

/// Runs the whole script with ten seconds for an answer; `permits` are the answers when leave is asked for.
async fn run_with_silence(script: &[Line], permits: &[bool]) -> (Outcome<OffProof>, Vec<(Moment, u64)>) {
    let device = Scripted::new(script);
    let (mut moments, mut permits) = (Vec::new(), permits.iter().copied());
    let order = OffOrder { answer: CALL * 10, ..order() };
    let permit = || {
        let next = permits.next().expect("leave is asked for once per order");
        async move { next }
    };
    let outcome = ensure_off(&device, order, permit, |moment, after| moments.push((moment, after.as_secs()))).await;
    assert_eq!(device.left(), [], "the whole script was played");
    assert_eq!(permits.next(), None, "leave was asked for before each order");
    (outcome, moments)
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_order_costs_one_answers_time_and_no_second_order() {
    use Line::{Closes, Hangs, Names, Open, Reads};
    let off = [Open, Names(Some(MACHINE)), Reads(Power::Off), Closes];
    let script = [&[Open, Names(Some(MACHINE)), Reads(Power::On), Hangs, Closes][..], &off, &off].concat();
    let proof = OffProof {
        ordered: true,
        identity: IdentityCheck::Matched,
        order_sent_after: Some(CALL * 3),
        first_off_after: CALL * 16,
        confirmed_after: CALL * 19,
    };
    let moments = vec![(Moment::OffSent, 3), (Moment::OffRead, 16), (Moment::OffConfirmed, 19)];
    assert_eq!(run_with_silence(&script, &[true]).await, (Outcome::Observed(proof), moments));
}

#[tokio::test(start_paused = true)]
async fn off_is_sent_again_only_after_on_was_read_again_and_under_a_permit_that_still_lives() {
    use Line::{Closes, Hangs, Names, Open, Reads, TakesOff};
    let silent = [Open, Names(Some(MACHINE)), Reads(Power::On), Hangs, Closes];
    let taken = [Open, Names(Some(MACHINE)), Reads(Power::On), TakesOff, Reads(Power::Off), Closes];
    let off = [Open, Names(Some(MACHINE)), Reads(Power::Off), Closes];
    let (outcome, moments) = run_with_silence(&[&silent[..], &taken, &off].concat(), &[true, true]).await;
    assert!(matches!(outcome, Outcome::Observed(OffProof { ordered: true, .. })), "{outcome:?}");
    let sent: Vec<u64> = moments.iter().filter(|(moment, _)| *moment == Moment::OffSent).map(|(_, at)| *at).collect();
    assert_eq!(sent, [3, 16]);

    let on = [Open, Names(Some(MACHINE)), Reads(Power::On), Closes];
    let (outcome, moments) = run_with_silence(&[&silent[..], &on].concat(), &[true, false]).await;
    assert_eq!((outcome, moments), (Outcome::Refused(Refusal::PermitEnded), vec![(Moment::OffSent, 3)]));
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_again_a_few_times_and_not_beyond_the_deadline() {
    use Line::Hangs;
    let started = tokio::time::Instant::now();
    // Half of what is left each time, at least ten seconds, and at last the rest: 30, 15, 10 and 5.
    assert_eq!(run_with_silence(&vec![Hangs; 4], &[]).await, (Outcome::Unknown(Doubt::Timeout), Vec::new()));
    assert_eq!(started.elapsed(), order().deadline);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_never_goes_off_is_polled_until_the_deadline() {
    use Line::{Closes, Names, Open, Reads, TakesOff};
    let opening = [Open, Names(Some(MACHINE)), Reads(Power::On), TakesOff];
    let device = Scripted::new(&[&opening[..], &vec![Reads(Power::On); 40], &[Closes]].concat());
    let outcome = ensure_off(&device, order(), || async { true }, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Unknown(Doubt::Timeout));
    // A poll takes a second and the pauses are 25 ms growing to 500 ms: 39 fit in the 56 seconds, the fortieth is cut off.
    assert_eq!(device.left(), []);
}

#[tokio::test(start_paused = true)]
async fn evidence_of_off_needs_two_sessions_and_evidence_of_on_one() {
    use Line::{Closes, Names, Open, Reads};
    let off = [Open, Names(Some(MACHINE)), Reads(Power::Off), Closes];
    let on = [Open, Names(Some(MACHINE)), Reads(Power::On), Closes];
    for (script, expected) in [
        ([off.clone(), off.clone()].concat(), Outcome::Observed(Power::Off)),
        (on.to_vec(), Outcome::Observed(Power::On)),
        ([off.clone(), on].concat(), Outcome::Observed(Power::On)),
        ([&off[..], &[Line::NoSlot]].concat(), Outcome::Unknown(Doubt::Busy)),
    ] {
        let device = Scripted::new(&script);
        assert_eq!(read_off_twice(&device, order()).await, expected, "{script:?}");
        assert_eq!(device.left(), [], "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_names_no_machine_any_more_is_another_device() {
    use Line::{Closes, Names, Open};
    let device = Scripted::new(&[Open, Names(None), Closes]);
    let order = OffOrder { expected: Expected::of(Some(MACHINE), None), ..order() };
    let outcome = ensure_off(&device, order, || async { true }, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::WrongMachine));
    assert_eq!(device.left(), []);
}

#[test]
fn a_device_is_expected_to_name_what_was_enrolled_as_long_as_the_agent_reports_no_other() {
    // One machine in the orders of RFC 4122, SMBIOS and IPMI; see `identity`.
    let orders @ [printed, smbios, ipmi] =
        ["33221100554477668899aabbccddeeff", "00112233445566778899aabbccddeeff", "ffeeddccbbaa99886677445500112233"]
            .map(|text| text.parse().expect("a UUID"));
    let mut cases = vec![
        (None, None, Expected::Unknown),
        (None, Some(printed), Expected::IfNamed(printed)),
        (Some(printed), None, Expected::Named(printed)),
        (Some(smbios), Some(printed), Expected::Named(smbios)),
        (Some(printed), Some(smbios), Expected::Named(printed)),
        (Some(ipmi), Some(printed), Expected::Named(ipmi)),
        (Some(printed), Some(ipmi), Expected::Named(printed)),
    ];
    for same in orders {
        cases.push((Some(same), Some(same), Expected::Named(same)));
        cases.push((Some(same), Some(OTHER), Expected::Contradiction));
        cases.push((Some(OTHER), Some(same), Expected::Contradiction));
    }
    for (enrolled, reported, expected) in cases {
        assert_eq!(Expected::of(enrolled, reported), expected, "{enrolled:?} and {reported:?}");
    }
}

#[test]
fn a_contradiction_refuses_whatever_a_device_names() {
    for named in [None, Some(MACHINE), Some(OTHER)] {
        assert_eq!(Expected::Contradiction.compare(named), Err(Refusal::WrongMachine), "{named:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_in_another_chassis_than_enrolled_is_neither_switched_nor_read_by_the_old_one() {
    let order = OffOrder { expected: Expected::of(Some(MACHINE), Some(OTHER)), ..order() };
    // Not even a session: the script is empty.
    let device = Scripted::new(&[]);
    let refused = Outcome::Refused(Refusal::WrongMachine);
    assert_eq!(ensure_off(&device, order, || async { true }, |_, _| {}).await, refused);
    assert_eq!(read_off_twice(&device, order).await, Outcome::Refused(Refusal::WrongMachine));
}

#[tokio::test(start_paused = true)]
async fn one_reading_shows_the_name_also_of_the_wrong_machine() {
    use Line::{Closes, Names, NoSlot, Open, Reads};
    let contradiction = Expected::of(Some(MACHINE), Some(OTHER));
    let refused = Outcome::Refused(Refusal::WrongMachine);
    for (expected, script, named, power) in [
        (
            Expected::Named(MACHINE),
            vec![Open, Names(Some(MACHINE)), Reads(Power::On), Closes],
            Some(MACHINE),
            Outcome::Observed(Power::On),
        ),
        (Expected::Unknown, vec![Open, Names(None), Reads(Power::Off), Closes], None, Outcome::Observed(Power::Off)),
        (Expected::Named(MACHINE), vec![Open, Names(Some(OTHER)), Closes], Some(OTHER), refused.clone()),
        (contradiction, vec![Open, Names(Some(MACHINE)), Closes], Some(MACHINE), refused.clone()),
        (contradiction, vec![Open, Names(None), Closes], None, refused),
        (Expected::Unknown, vec![NoSlot], None, Outcome::Unknown(Doubt::Busy)),
    ] {
        let device = Scripted::new(&script);
        let reading = read_once(&device, OffOrder { expected, ..order() }).await;
        assert_eq!(reading, Reading { named, power }, "{script:?}");
        assert_eq!(device.left(), [], "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_reading_has_one_deadline_for_the_whole_conversation() {
    use Line::{Closes, Names, Open, Reads};
    let timeout = Outcome::Unknown(Doubt::Timeout);
    // Each line takes a second: no call is late by itself, and the third ends after three.
    for (deadline, script, named, power) in [
        (CALL / 2, vec![Open], None, timeout.clone()),
        (CALL * 3 / 2, vec![Open, Names(Some(MACHINE)), Closes], None, timeout.clone()),
        (CALL * 5 / 2, vec![Open, Names(Some(MACHINE)), Reads(Power::On), Closes], Some(MACHINE), timeout),
        (
            CALL * 7 / 2,
            vec![Open, Names(Some(MACHINE)), Reads(Power::On), Closes],
            Some(MACHINE),
            Outcome::Observed(Power::On),
        ),
    ] {
        let device = Scripted::new(&script);
        let reading = read_once(&device, OffOrder { deadline, ..order() }).await;
        assert_eq!(reading, Reading { named, power }, "{deadline:?}");
        assert_eq!(device.left(), [], "{deadline:?}");
    }
}
