//! The two clocks of a machine.

use quorumfence_machine::{Millis, WallMillis};

/// What time it is here.
///
/// `now` MUST never go back and MUST count while the machine is suspended: a permit that was granted before a
/// suspension must not look fresh after it. `wall` is for display; nothing may be decided by it.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Returns the moment on this machine's monotonic clock.
    fn now(&self) -> Millis;

    /// Returns the wall clock.
    fn wall(&self) -> WallMillis;
}

/// The kernel's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        Millis(millis(rustix::time::ClockId::Boottime))
    }

    fn wall(&self) -> WallMillis {
        WallMillis(millis(rustix::time::ClockId::Realtime))
    }
}

fn millis(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1000 + nanos / 1_000_000
}
