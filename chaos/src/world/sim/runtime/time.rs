//! Time as a node measures it: its clock runs a little faster or slower than the world's.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use openraft_rt::Instant;

use super::Node;

const MILLION: u128 = 1_000_000;

/// How fast a clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    parts_per_million: i32,
}

impl Rate {
    /// A clock that is right.
    pub const TRUE: Self = Self { parts_per_million: 0 };

    /// The fastest clock, and the slowest one below zero. No crystal is that bad; a machine whose clock source broke, or
    /// whose hypervisor takes its time away, is.
    pub const PARTS_PER_MILLION_MAX: i32 = 600_000;

    /// Returns the rate of a clock that gains so much; one that loses has a negative rate.
    pub fn new(parts_per_million: i32) -> Self {
        let is_possible = parts_per_million.unsigned_abs() <= Self::PARTS_PER_MILLION_MAX.unsigned_abs();
        assert!(is_possible, "no clock is {parts_per_million} parts per million wrong");
        Self { parts_per_million }
    }

    /// Returns what the clock measures while `world` passes.
    pub fn local(self, world: Duration) -> Duration {
        nanos(world.as_nanos() * self.per_million() / MILLION)
    }

    /// Returns what passes in the world until the clock has measured `local`, no less.
    pub fn world(self, local: Duration) -> Duration {
        nanos((local.as_nanos() * MILLION).div_ceil(self.per_million()))
    }

    fn per_million(self) -> u128 {
        MILLION.saturating_add_signed(self.parts_per_million.into())
    }
}

/// Saturates after more than five hundred years.
fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A moment on the clock of a node. Moments of two nodes have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimInstant(Duration);

/// What a clock shows when its node is made, so that there are moments before that.
const BIRTH: Duration = Duration::from_secs(365 * 24 * 3600);

impl SimInstant {
    /// Returns when the current node's clock shows this moment.
    pub(super) fn in_the_world(self) -> tokio::time::Instant {
        let node = Node::current().expect("every timer in the simulation belongs to a node");
        node.born + node.rate.world(self.0.saturating_sub(BIRTH))
    }
}

impl Instant for SimInstant {
    fn now() -> Self {
        let node = Node::current().expect("every clock in the simulation belongs to a node");
        Self(BIRTH + node.rate.local(node.born.elapsed()))
    }
}

impl Add<Duration> for SimInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for SimInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
