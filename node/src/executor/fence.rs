//! One attempt at one fence: permit, off at every device of the level, result.
//!
//! ```text
//! not_before ─▶ t0 ─▶ PermitGrant (committed) ─▶ ensure_off on all devices ─▶ FenceResult
//!               └── the permit lives from here ──── last order ──── margin ──┤
//! ```
//!
//! The permit's life is measured from before it was asked for, so it ends here before the cluster's clock says so. A leader
//! also stops when it leads no more; a deputy stops when its turn is over, as far as it knows, and with its permit.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorumfence_drivers::fencing::sequence::{self, Expected, OffOrder, ensure_off};
use quorumfence_machine::{
    Actor, Change, Device, Event, FenceWork, LogIndex, Millis, OffSeen, Outcome, Refusal, Reply, Settings,
};
use quorumfence_raft::{Clock, Point};

use super::turn::{self, Post};
use crate::controller::{Kind, Shared};
use crate::environment::{Devices, Environment};
use crate::leader;

/// Answers of a device that the whole sequence may take: identity and power, off, and both again in the second session.
const ANSWERS_MAX: u32 = 4;

/// Leave to act, on this controller's own clock.
#[derive(Debug, Clone, Copy)]
struct Permit {
    at: LogIndex,
    until: Millis,
}

/// Carries out one attempt. Ends early, and changes nothing, when the permit is not granted.
pub(crate) async fn run<E: Environment>(shared: Arc<Shared<E>>, post: Post, work: FenceWork) {
    turn::wait(&shared, post, &work).await;
    let settings = shared.replica.read(|state| state.settings());
    E::pass(Point::FenceBeforePermit).await;
    let Some(permit) = ask_permit(&shared, &work, &settings).await else { return };
    E::pass(Point::FenceAfterPermit).await;
    let outcomes =
        join_all(work.devices.iter().map(|device| switch_off(&shared, post, &work, device, permit, &settings)));
    let outcomes = outcomes.await;
    tracing::info!(host = %work.host, token = %work.token, level = work.level, attempt = work.attempt, ?outcomes, "fencing devices answered");
    E::pass(Point::FenceBeforeResult).await;
    let result = Change::FenceResult { token: work.token, permit: permit.at, outcomes };
    leader::report_result(&shared, result).await;
}

async fn ask_permit<E: Environment>(shared: &Shared<E>, work: &FenceWork, settings: &Settings) -> Option<Permit> {
    let executor = shared.replica.id();
    let asked = shared.clock.now();
    let life = settings.permit_life;
    let grant = Change::PermitGrant { token: work.token, executor, level: work.level, life };
    match shared.replica.propose(Actor::Controller(executor), None, grant).await {
        // An order at the last moment still has its answer's deadline inside the permit.
        Ok((_, Reply::Permit(at))) => Some(Permit { at, until: asked + (life - settings.device_deadline) }),
        Ok((at, reply @ (Reply::Done | Reply::Controller(_) | Reply::Fence(_)))) => {
            tracing::error!(host = %work.host, token = %work.token, %at, ?reply, "a permit was answered by something else");
            None
        }
        Err(error) => {
            tracing::warn!(host = %work.host, token = %work.token, %error, "no permit");
            None
        }
    }
}

async fn switch_off<E: Environment>(
    shared: &Shared<E>,
    post: Post,
    work: &FenceWork,
    device: &Device,
    permit: Permit,
    settings: &Settings,
) -> Outcome<OffSeen> {
    let driver = match shared.devices.device(&work.host, device) {
        Outcome::Observed(driver) => driver,
        Outcome::Refused(refusal) => return Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => return Outcome::Unknown(doubt),
    };
    let left: Duration = (permit.until - shared.clock.now()).into();
    let deadline = left.min(Duration::from(settings.device_deadline) * ANSWERS_MAX);
    if deadline.is_zero() {
        return Outcome::Refused(Refusal::PermitEnded);
    }
    let leadership = shared.replica.leadership();
    let holds_post = || match post {
        Post::Leader(term) => leadership.borrow().lead_term == Some(term),
        Post::Deputy { .. } => true,
    };
    let is_permitted = || async {
        E::pass(Point::FenceBeforePermitCheck).await;
        holds_post() && shared.clock.now() < permit.until
    };
    let answer = settings.device_deadline.into();
    let order = OffOrder { expected: Expected::of(device.identity, work.identity), deadline, answer };
    let progress = |moment, _| shared.note(&work.host, Some(work.token), kind(shared, work, device, moment));
    let seen = ensure_off(&driver, order, is_permitted, progress).await;
    // The sequence returns a proof only after off was read in each of two sessions.
    seen.map(|proof| OffSeen { reads: 2, sessions: 2, ordered: proof.ordered })
}

fn kind<E: Environment>(shared: &Shared<E>, work: &FenceWork, device: &Device, moment: sequence::Moment) -> Kind {
    let device = device.address.clone();
    match moment {
        sequence::Moment::OffSent => {
            let lost = shared.moments.committed_at(&work.host, |event| matches!(event, Event::HostLost { .. }));
            let since_lost = lost.map(|lost| shared.clock.now() - lost);
            Kind::OffSent { device, since_lost }
        }
        sequence::Moment::OffAccepted => Kind::OffAccepted { device },
        sequence::Moment::OffRead => Kind::OffRead { device },
        sequence::Moment::OffConfirmed => Kind::OffConfirmed { device },
    }
}
