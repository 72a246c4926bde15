//! What every fencing driver must do, as functions that a driver's tests call. They panic where the driver does not.
//!
//! They switch the machine of the [`Bench`] on and off: it must be a test bed. [`all`] needs the bench alone;
//! [`all_in_bad_weather`] needs a network that can be spoilt.

use std::time::Duration;

use quorumfence_machine::{Doubt, Outcome, Power, Refusal, SystemUuid};
use tokio::time::{Instant, sleep};

use super::sequence::{Expected, IdentityCheck, Moment, OffOrder, OffProof, ensure_off, read_off_twice};
use crate::order::{FenceDevice, FenceSession};

/// Time for an order on a healthy network.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for an order in bad weather, when most datagrams go twice.
const PATIENCE_IN_BAD_WEATHER: Duration = Duration::from_secs(40);

/// Time for an order that cannot succeed.
const IMPATIENCE: Duration = Duration::from_millis(1500);

/// By how much a driver may miss a deadline: scheduling on a busy machine.
const SLACK: Duration = Duration::from_millis(500);

/// More sessions than any device has slots for.
const SESSIONS: usize = 100;

/// A device, the machine behind it, and the truth about both.
pub trait Bench: Send + Sync {
    /// The driver under test.
    type Device: FenceDevice;

    /// Returns the device, with credentials that are right.
    fn device(&self) -> Self::Device;

    /// Returns the device with a wrong password; `None` if it knows no passwords.
    fn device_with_wrong_password(&self) -> Option<Self::Device>;

    /// Returns the machine behind the device, as its firmware names it; `None` if the device names none.
    fn machine(&self) -> Option<SystemUuid>;

    /// Switches the machine behind the device's back.
    fn switch(&self, power: Power);

    /// Returns the machine's power, by looking at the machine.
    fn truth(&self) -> Power;

    /// Decides whether the machine follows the device's orders.
    fn obedience(&self, obedience: Obedience);

    /// Returns what the device ordered the machine to do, since the bench was set up.
    fn orders(&self) -> Vec<Order>;
}

/// A bench whose network can be spoilt.
pub trait StormyBench: Bench {
    /// Changes what the network does to datagrams from then on.
    fn weather(&self, weather: Weather);

    /// Returns how many times somebody tried to log in to the device, since the bench was set up.
    fn logins(&self) -> usize;
}

/// Whether the machine follows the device's orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obedience {
    /// Off makes it off.
    Follows,
    /// Off is accepted and nothing happens.
    Ignores,
}

/// What a device did to its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Hard off, the only one that a driver may give.
    Off,
    /// On, cycle, reset, soft off or any other.
    Other,
}

/// What the network does to the device's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They arrive.
    Clear,
    /// They do not arrive.
    Silent,
    /// They arrive this much later.
    Late(Duration),
    /// They arrive twice.
    Doubled,
    /// Two of each seven are lost, one after the other.
    Lossy,
    /// Every second arrives after the one that follows it.
    Shuffled,
}

/// Runs what needs no spoilt network.
pub async fn all<B: Bench>(bench: &B) {
    readings_are_the_truth(bench).await;
    a_running_machine_is_switched_off_and_proven_off(bench).await;
    a_machine_that_is_off_gets_no_order(bench).await;
    another_machine_is_refused_and_gets_no_order(bench).await;
    an_ended_permit_orders_nothing(bench).await;
    an_accepted_order_is_no_proof(bench).await;
    evidence_reads_and_orders_nothing(bench).await;
    closed_sessions_free_their_slots(bench).await;
}

/// Runs everything.
pub async fn all_in_bad_weather<B: StormyBench>(bench: &B) {
    all(bench).await;
    silence_is_unknown_within_the_deadline(bench).await;
    silence_after_the_first_reading_is_unknown(bench).await;
    a_wrong_password_is_tried_once(bench).await;
    a_late_answer_is_not_taken_for_a_fresh_one(bench).await;
    for weather in [Weather::Doubled, Weather::Late(Duration::from_millis(600)), Weather::Lossy, Weather::Shuffled] {
        bad_weather_changes_no_answer(bench, weather).await;
    }
}

/// Each new session reads the machine's power and identity as they are.
pub async fn readings_are_the_truth<B: Bench>(bench: &B) {
    for power in [Power::On, Power::Off, Power::On] {
        bench.switch(power);
        assert_eq!(read(bench, PATIENCE).await, Outcome::Observed(power));
        assert_eq!(bench.truth(), power, "reading changes nothing");
    }
    let mut session = open(bench).await;
    let named = session.identity(PATIENCE).await;
    session.close().await;
    let Outcome::Observed(named) = named else { panic!("the identity could not be read: {named:?}") };
    let agree = match (named, bench.machine()) {
        (Some(named), Some(machine)) => super::identity::same_machine(named, machine),
        (named, machine) => named == machine,
    };
    assert!(agree, "the device names {named:?}, the machine is {:?}", bench.machine());
}

/// On, one hard off, and Off in two sessions.
pub async fn a_running_machine_is_switched_off_and_proven_off<B: Bench>(bench: &B) {
    bench.switch(Power::On);
    let before = bench.orders().len();
    let mut moments = Vec::new();
    let outcome = ensure_off(&bench.device(), order(bench), || async { true }, |moment, _| moments.push(moment)).await;
    let proof = proof(outcome, "a running machine");
    assert_eq!((proof.ordered, proof.identity), (true, expected_check(bench)));
    let sent_after = proof.order_sent_after.expect("an order was sent");
    assert!(sent_after <= proof.first_off_after && proof.first_off_after <= proof.confirmed_after, "{proof:?}");
    assert_eq!(moments, [Moment::OffSent, Moment::OffAccepted, Moment::OffRead, Moment::OffConfirmed]);
    assert_eq!(bench.truth(), Power::Off);
    assert_eq!(bench.orders()[before..], [Order::Off]);
}

/// Found off is a proof too, and no order is given.
pub async fn a_machine_that_is_off_gets_no_order<B: Bench>(bench: &B) {
    bench.switch(Power::Off);
    let before = bench.orders();
    let proof =
        proof(ensure_off(&bench.device(), order(bench), || async { true }, |_, _| {}).await, "a machine that is off");
    assert_eq!((proof.ordered, proof.order_sent_after, proof.identity), (false, None, expected_check(bench)));
    assert_eq!(bench.orders(), before);
}

/// The wrong machine is never switched, not even if it is off already.
pub async fn another_machine_is_refused_and_gets_no_order<B: Bench>(bench: &B) {
    let Some(mut other) = bench.machine() else { return };
    other.0[9] ^= 0x01;
    let before = bench.orders();
    for power in [Power::On, Power::Off] {
        bench.switch(power);
        let order = OffOrder { expected: Expected::IfNamed(other), ..order(bench) };
        let outcome = ensure_off(&bench.device(), order, || async { true }, |_, _| {}).await;
        assert_eq!(outcome, Outcome::Refused(Refusal::WrongMachine));
        assert_eq!(read_off_twice(&bench.device(), order).await, Outcome::Refused(Refusal::WrongMachine));
        assert_eq!(bench.truth(), power);
    }
    assert_eq!(bench.orders(), before);
}

/// Without a permit nothing is ordered.
pub async fn an_ended_permit_orders_nothing<B: Bench>(bench: &B) {
    bench.switch(Power::On);
    let before = bench.orders();
    let outcome = ensure_off(&bench.device(), order(bench), || async { false }, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::PermitEnded));
    assert_eq!(bench.orders(), before);
    assert_eq!(bench.truth(), Power::On);
}

/// A machine that stays on is not proven off, however politely the device answered.
pub async fn an_accepted_order_is_no_proof<B: Bench>(bench: &B) {
    bench.switch(Power::On);
    bench.obedience(Obedience::Ignores);
    let order = OffOrder { deadline: IMPATIENCE, ..order(bench) };
    let outcome = ensure_off(&bench.device(), order, || async { true }, |_, _| {}).await;
    bench.obedience(Obedience::Follows);
    assert_eq!(outcome, Outcome::Unknown(Doubt::Timeout));
    assert_eq!(bench.truth(), Power::On);
}

/// Evidence is what is read, and looking for it changes nothing.
pub async fn evidence_reads_and_orders_nothing<B: Bench>(bench: &B) {
    let before = bench.orders();
    for power in [Power::On, Power::Off] {
        bench.switch(power);
        assert_eq!(read_off_twice(&bench.device(), order(bench)).await, Outcome::Observed(power));
    }
    assert_eq!(bench.orders(), before);
}

/// A session that was closed, or dropped, takes no slot.
pub async fn closed_sessions_free_their_slots<B: Bench>(bench: &B) {
    bench.switch(Power::On);
    for number in 0..SESSIONS {
        let session = open(bench).await;
        if number % 2 == 0 {
            session.close().await;
        }
    }
    assert_eq!(read(bench, PATIENCE).await, Outcome::Observed(Power::On));
}

/// A device that says nothing is neither off nor on, and nobody waits longer for it than was said.
pub async fn silence_is_unknown_within_the_deadline<B: StormyBench>(bench: &B) {
    bench.switch(Power::Off);
    bench.weather(Weather::Silent);
    let started = Instant::now();
    let order = OffOrder { deadline: IMPATIENCE, ..order(bench) };
    let outcome = ensure_off(&bench.device(), order, || async { true }, |_, _| {}).await;
    let took = started.elapsed();
    bench.weather(Weather::Clear);
    assert_eq!(outcome, Outcome::Unknown(Doubt::Timeout));
    assert!(took <= IMPATIENCE + SLACK, "took {took:?}");
}

/// One reading of Off is not two.
pub async fn silence_after_the_first_reading_is_unknown<B: StormyBench>(bench: &B) {
    bench.switch(Power::On);
    let order = OffOrder { deadline: IMPATIENCE, ..order(bench) };
    let outcome = ensure_off(
        &bench.device(),
        order,
        || async { true },
        |moment, _| match moment {
            Moment::OffRead => bench.weather(Weather::Silent),
            Moment::OffSent | Moment::OffAccepted | Moment::OffConfirmed => {}
        },
    )
    .await;
    bench.weather(Weather::Clear);
    assert_eq!(outcome, Outcome::Unknown(Doubt::Timeout));
}

/// Devices lock accounts, so a refused password is not tried again.
pub async fn a_wrong_password_is_tried_once<B: StormyBench>(bench: &B) {
    let Some(device) = bench.device_with_wrong_password() else { return };
    let before = bench.logins();
    let outcome = ensure_off(&device, order(bench), || async { true }, |_, _| {}).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::Credentials));
    assert_eq!(bench.logins(), before + 1);
}

/// The machine was off, the answer was delayed, the machine is on: nobody may hear Off any more.
pub async fn a_late_answer_is_not_taken_for_a_fresh_one<B: StormyBench>(bench: &B) {
    let late = Duration::from_millis(900);
    bench.switch(Power::Off);
    let mut session = open(bench).await;
    bench.weather(Weather::Late(late));
    assert_eq!(session.power(late / 3).await, Outcome::Unknown(Doubt::Timeout));
    bench.switch(Power::On);
    bench.weather(Weather::Clear);
    let arrived = Instant::now() + late * 2;
    while Instant::now() < arrived {
        assert_ne!(session.power(PATIENCE).await, Outcome::Observed(Power::Off));
        sleep(late / 30).await;
    }
    session.close().await;
    assert_eq!(read(bench, PATIENCE).await, Outcome::Observed(Power::On));
}

/// Late, doubled, lost and shuffled datagrams cost time and change nothing, neither in one session nor over several.
pub async fn bad_weather_changes_no_answer<B: StormyBench>(bench: &B, weather: Weather) {
    bench.switch(Power::On);
    let before = bench.orders().len();
    let mut session = open(bench).await;
    bench.weather(weather);
    for power in [Power::Off, Power::On, Power::Off, Power::On] {
        bench.switch(power);
        assert_eq!(session.power(PATIENCE_IN_BAD_WEATHER).await, Outcome::Observed(power), "{weather:?}");
    }
    session.close().await;
    let order = OffOrder { deadline: PATIENCE_IN_BAD_WEATHER, ..order(bench) };
    let outcome = ensure_off(&bench.device(), order, || async { true }, |_, _| {}).await;
    bench.weather(Weather::Clear);
    assert!(proof(outcome, &format!("a machine in {weather:?}")).ordered);
    assert_eq!(bench.truth(), Power::Off);
    // A request whose answer was lost is sent again, and off may reach the machine twice. It never reaches it as more.
    let orders = &bench.orders()[before..];
    assert!(!orders.is_empty() && orders.iter().all(|order| *order == Order::Off), "{weather:?}: {orders:?}");
}

fn order<B: Bench>(bench: &B) -> OffOrder {
    OffOrder { expected: Expected::of(bench.machine(), None), deadline: PATIENCE, answer: PATIENCE }
}

fn expected_check<B: Bench>(bench: &B) -> IdentityCheck {
    if bench.machine().is_some() { IdentityCheck::Matched } else { IdentityCheck::NotAsked }
}

fn proof(outcome: Outcome<OffProof>, of: &str) -> OffProof {
    let Outcome::Observed(proof) = outcome else { panic!("no proof of {of}, but {outcome:?}") };
    proof
}

async fn open<B: Bench>(bench: &B) -> <B::Device as FenceDevice>::Session {
    match bench.device().open(PATIENCE).await {
        Outcome::Observed(session) => session,
        Outcome::Refused(refusal) => panic!("no session: {refusal}"),
        Outcome::Unknown(doubt) => panic!("no session: {doubt}"),
    }
}

async fn read<B: Bench>(bench: &B, deadline: Duration) -> Outcome<Power> {
    match bench.device().open(deadline).await {
        Outcome::Observed(mut session) => {
            let power = session.power(deadline).await;
            session.close().await;
            power
        }
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => Outcome::Unknown(doubt),
    }
}
