//! The off sequence: the only way to a proof that a host's power is off.
//!
//! ```text
//! session 1   identity ─ power ─ Off ────────────────────────────┐
//!                          └──── On ─ permit? ─ power off ─ poll ┤ Off, first time
//! session 2   identity ─ power ─ Off, second time ───────────────┴─▶ OffProof
//! ```
//!
//! A second session, because a session can be stuck with an old answer and a slot can be somebody else's. The identity is
//! compared in both, because an address can move to another machine between them.
//!
//! One lost answer does not use up the attempt: a request that stays unanswered ends its session, and the sequence begins
//! again at the top, as long as there is time. So off is sent again only after On was read again, and under a permit that
//! is asked for again. A driver repeats its datagrams within a request. Everything else ends the attempt: further retries,
//! levels and back-off are policy. Time is tokio's, so that a simulated run has simulated time.

use std::time::Duration;

use quorumfence_machine::{Doubt, Outcome, Power, Refusal, SystemUuid};
use tokio::time::{Instant, sleep_until, timeout};

use super::identity::same_machine;
use crate::order::{FenceDevice, FenceSession};

/// First pause between two readings while the power goes down. Hard off takes a few milliseconds to seconds.
const POLL_FIRST: Duration = Duration::from_millis(25);

/// Longest pause between two readings. Each pause is half as long again as the one before.
const POLL_MAX: Duration = Duration::from_millis(500);

/// How often the sequence begins within one attempt. As many answers as a whole sequence takes may be late by their whole
/// time, and a BMC that always says at once that it timed out is not flooded.
const TRIES_MAX: u32 = 4;

/// What is to be off, and how long proving it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffOrder {
    /// The machine that is meant.
    pub expected: Expected,
    /// Time for the whole sequence. MUST NOT be longer than what is left of the permit.
    pub deadline: Duration,
    /// Time for one answer, after which [`ensure_off`] begins again. Opening a session, which takes several answers, has
    /// half of what is left if that is more.
    pub answer: Duration,
}

/// The machine that is meant, as its own firmware names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nobody knows: there is nothing to compare with.
    Unknown,
    /// The agent read it from SMBIOS; the device has never named one and need not.
    IfNamed(SystemUuid),
    /// The device named it at enrolment. A device that names none is another device, and refused.
    Named(SystemUuid),
    /// The device named one machine at enrolment and the agent runs on another. Every device is refused: the enrolled
    /// one switches the machine that the host has left.
    Contradiction,
}

impl Expected {
    /// Returns what to expect of a device that named `enrolled` at enrolment, of a host whose agent reports `reported`.
    ///
    /// What was enrolled is a fact of that day. A disk that was put into another chassis takes its host along, and from
    /// then on the old chassis' device proves nothing about it.
    pub fn of(enrolled: Option<SystemUuid>, reported: Option<SystemUuid>) -> Self {
        match (enrolled, reported) {
            (Some(enrolled), Some(reported)) if !same_machine(enrolled, reported) => Self::Contradiction,
            (Some(machine), Some(_) | None) => Self::Named(machine),
            (None, Some(machine)) => Self::IfNamed(machine),
            (None, None) => Self::Unknown,
        }
    }

    /// Compares what a device names with what is expected.
    ///
    /// # Errors
    ///
    /// [`Refusal::WrongMachine`] when the device names another machine, or none where one is due, or whatever it names
    /// where nobody can say which machine is meant.
    pub fn compare(self, named: Option<SystemUuid>) -> Result<IdentityCheck, Refusal> {
        match (self, named) {
            (Self::Unknown, _) => Ok(IdentityCheck::NotAsked),
            (Self::IfNamed(_), None) => Ok(IdentityCheck::NotOffered),
            (Self::IfNamed(machine) | Self::Named(machine), Some(named)) if same_machine(named, machine) => {
                Ok(IdentityCheck::Matched)
            }
            (Self::Named(_), None) | (Self::IfNamed(_) | Self::Named(_), Some(_)) | (Self::Contradiction, _) => {
                Err(Refusal::WrongMachine)
            }
        }
    }
}

/// A host's power was read Off twice, in two sessions, and if it had been on, it was ordered off in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffProof {
    /// Whether off had to be ordered; false when the host was found off.
    pub ordered: bool,
    /// Whether the device was seen to belong to the right machine.
    pub identity: IdentityCheck,
    /// From the start of the sequence until off was ordered, where it was.
    pub order_sent_after: Option<Duration>,
    /// From the start until Off was read the first time.
    pub first_off_after: Duration,
    /// From the start until Off was read in the second session.
    pub confirmed_after: Duration,
}

/// What comparing identities showed. A difference never gets this far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityCheck {
    /// The device named the expected machine.
    Matched,
    /// The device names none.
    NotOffered,
    /// Nothing was expected.
    NotAsked,
}

/// What just happened in a sequence, for the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "timelines and logs show them by these names")]
pub enum Moment {
    /// Off is being sent; from here on the host may go off.
    OffSent,
    /// The device accepted the order, which is not off.
    OffAccepted,
    /// Off was read the first time.
    OffRead,
    /// Off was read in a second session.
    OffConfirmed,
}

/// Makes sure that a host is off, and proves it.
///
/// `permit` is asked right before each irreversible call, and MUST NOT wait after it has looked. `progress` hears each
/// moment and its time since the start.
pub async fn ensure_off<D: FenceDevice, P: Future<Output = bool> + Send>(
    device: &D,
    order: OffOrder,
    mut permit: impl FnMut() -> P + Send,
    mut progress: impl FnMut(Moment, Duration) + Send,
) -> Outcome<OffProof> {
    let run = Run::start(order);
    let mut sent_after = None;
    for _ in 1..TRIES_MAX {
        match prove_off(device, &run, &mut permit, &mut sent_after, &mut progress).await {
            Ok(proof) => return Outcome::Observed(proof),
            Err(Stop::Silent) if !run.left().is_zero() => {}
            Err(stop) => return stop.into(),
        }
    }
    match prove_off(device, &run, &mut permit, &mut sent_after, &mut progress).await {
        Ok(proof) => Outcome::Observed(proof),
        Err(stop) => stop.into(),
    }
}

/// Reads the power for evidence, and orders nothing: Off only if two sessions in a row read it.
pub async fn read_off_twice<D: FenceDevice>(device: &D, order: OffOrder) -> Outcome<Power> {
    match read_twice(device, Run::start(order)).await {
        Ok(power) => Outcome::Observed(power),
        Err(stop) => stop.into(),
    }
}

/// What one session showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The machine that the device names, also where it is the wrong one.
    pub named: Option<SystemUuid>,
    /// The power, once the machine was compared.
    pub power: Outcome<Power>,
}

/// Reads identity and power in one session, for people. Proves nothing and orders nothing.
pub async fn read_once<D: FenceDevice>(device: &D, order: OffOrder) -> Reading {
    let mut named = None;
    let power = match read_named(device, Run::start(order), &mut named).await {
        Ok(power) => Outcome::Observed(power),
        Err(stop) => stop.into(),
    };
    Reading { named, power }
}

/// `sent_after` is when off was sent last, by this try or an earlier one.
async fn prove_off<D: FenceDevice, P: Future<Output = bool> + Send>(
    device: &D,
    run: &Run,
    permit: &mut (impl FnMut() -> P + Send),
    sent_after: &mut Option<Duration>,
    progress: &mut (impl FnMut(Moment, Duration) + Send),
) -> Result<OffProof, Stop> {
    let (mut session, _) = open_checked(device, run).await?;
    let switched = switch_off(&mut session, run, permit, sent_after, progress).await;
    session.close().await;
    switched?;
    let order_sent_after = *sent_after;
    let first_off_after = run.elapsed();
    progress(Moment::OffRead, first_off_after);
    let (power, identity) = read_anew(device, run).await?;
    match power {
        Power::Off => {}
        // Somebody switched it on again, or the first reading was wrong. Either way nothing is proven.
        Power::On => return Err(Stop::Unknown(Doubt::Ambiguous)),
    }
    let confirmed_after = run.elapsed();
    progress(Moment::OffConfirmed, confirmed_after);
    Ok(OffProof { ordered: order_sent_after.is_some(), identity, order_sent_after, first_off_after, confirmed_after })
}

async fn read_twice<D: FenceDevice>(device: &D, run: Run) -> Result<Power, Stop> {
    let (first, _) = read_anew(device, &run).await?;
    match first {
        Power::On => Ok(Power::On),
        Power::Off => Ok(read_anew(device, &run).await?.0),
    }
}

async fn read_named<D: FenceDevice>(device: &D, run: Run, named: &mut Option<SystemUuid>) -> Result<Power, Stop> {
    let mut session = run.within(run.opening(), device.open(run.opening())).await?;
    let read = async {
        *named = run.within(run.answer(), session.identity(run.answer())).await?;
        run.order.expected.compare(*named).map_err(Stop::Refused)?;
        run.within(run.answer(), session.power(run.answer())).await
    };
    let read = read.await;
    session.close().await;
    read
}

/// Returns once Off was read; `sent_after` says when it was ordered, if it had to be.
async fn switch_off<S: FenceSession, P: Future<Output = bool> + Send>(
    session: &mut S,
    run: &Run,
    permit: &mut (impl FnMut() -> P + Send),
    sent_after: &mut Option<Duration>,
    progress: &mut (impl FnMut(Moment, Duration) + Send),
) -> Result<(), Stop> {
    match run.within(run.answer(), session.power(run.answer())).await? {
        Power::Off => return Ok(()),
        Power::On => {}
    }
    if !permit().await {
        return Err(Stop::Refused(Refusal::PermitEnded));
    }
    progress(Moment::OffSent, *sent_after.insert(run.elapsed()));
    run.within(run.answer(), session.power_off(run.answer())).await?;
    progress(Moment::OffAccepted, run.elapsed());
    let mut pause = POLL_FIRST;
    loop {
        match run.within(run.answer(), session.power(run.answer())).await? {
            Power::Off => return Ok(()),
            Power::On => {}
        }
        run.pause(pause).await?;
        pause = POLL_MAX.min(pause * 3 / 2);
    }
}

async fn read_anew<D: FenceDevice>(device: &D, run: &Run) -> Result<(Power, IdentityCheck), Stop> {
    let (mut session, identity) = open_checked(device, run).await?;
    let power = run.within(run.answer(), session.power(run.answer())).await;
    session.close().await;
    Ok((power?, identity))
}

async fn open_checked<D: FenceDevice>(device: &D, run: &Run) -> Result<(D::Session, IdentityCheck), Stop> {
    if run.order.expected == Expected::Contradiction {
        // Nothing that the device could say would help, and its silence must not turn a refusal into a doubt.
        return Err(Stop::Refused(Refusal::WrongMachine));
    }
    let mut session = run.within(run.opening(), device.open(run.opening())).await?;
    if run.order.expected == Expected::Unknown {
        return Ok((session, IdentityCheck::NotAsked));
    }
    let named = run.within(run.answer(), session.identity(run.answer())).await;
    match named.and_then(|named| run.order.expected.compare(named).map_err(Stop::Refused)) {
        Ok(identity) => Ok((session, identity)),
        Err(stop) => {
            session.close().await;
            Err(stop)
        }
    }
}

/// One sequence and its clock.
struct Run {
    order: OffOrder,
    started: Instant,
}

impl Run {
    fn start(order: OffOrder) -> Self {
        Self { order, started: Instant::now() }
    }

    fn until(&self) -> Instant {
        self.started + self.order.deadline
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn left(&self) -> Duration {
        self.until().saturating_duration_since(Instant::now())
    }

    /// Returns how long one answer may take.
    fn answer(&self) -> Duration {
        self.left().min(self.order.answer)
    }

    /// Returns how long opening a session may take.
    fn opening(&self) -> Duration {
        self.left().min(self.order.answer.max(self.left() / 2))
    }

    /// Holds a driver to the deadline that it was given, should it overrun.
    async fn within<T>(&self, limit: Duration, call: impl Future<Output = Outcome<T>> + Send) -> Result<T, Stop> {
        match timeout(limit, call).await {
            Ok(Outcome::Observed(seen)) => Ok(seen),
            Ok(Outcome::Refused(refusal)) => Err(Stop::Refused(refusal)),
            Err(_) | Ok(Outcome::Unknown(Doubt::Timeout)) => Err(Stop::Silent),
            Ok(Outcome::Unknown(doubt)) => Err(Stop::Unknown(doubt)),
        }
    }

    async fn pause(&self, pause: Duration) -> Result<(), Stop> {
        let end = Instant::now() + pause;
        if end >= self.until() {
            return Err(Stop::Unknown(Doubt::Timeout));
        }
        sleep_until(end).await;
        Ok(())
    }
}

/// Why a sequence ended without what it was for.
enum Stop {
    Refused(Refusal),
    Unknown(Doubt),
    /// A request stayed unanswered.
    Silent,
}

impl<T> From<Stop> for Outcome<T> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(refusal) => Self::Refused(refusal),
            Stop::Unknown(doubt) => Self::Unknown(doubt),
            Stop::Silent => Self::Unknown(Doubt::Timeout),
        }
    }
}

#[cfg(test)]
mod tests;
