//! What becomes of the frames of one direction between two ports: decided from chance, weather and time alone.

use std::ops::Add;
use std::time::Duration;

use super::Port;
use crate::chance::Chance;

/// As many frames as a device's own queue takes.
const WAITING_MAX: usize = 1000;
/// How long a frame is held that others overtake, and a double that comes late.
const HELD_MAX: Duration = Duration::from_millis(10);

/// What the network does to frames on lines that are not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Of a hundred frames, how many are lost.
    pub loss_percent: u8,
    /// Of a hundred frames, how many arrive twice.
    pub duplicate_percent: u8,
    /// Of a hundred frames, how many are held for up to 10 ms while others pass.
    pub reorder_percent: u8,
    /// Of a hundred frames, how many have one bit flipped behind their Ethernet header.
    pub corrupt_percent: u8,
    /// The shortest time on the way.
    pub delay: Duration,
    /// What chance adds to it, at most. It does not reorder frames.
    pub jitter_max: Duration,
    /// How much a line carries; without a limit when absent.
    pub bytes_per_second_max: Option<u64>,
}

impl Weather {
    /// Everything arrives, at once and as it was sent.
    pub const FAIR: Self = Self {
        loss_percent: 0,
        duplicate_percent: 0,
        reorder_percent: 0,
        corrupt_percent: 0,
        delay: Duration::ZERO,
        jitter_max: Duration::ZERO,
        bytes_per_second_max: None,
    };
}

/// What happened to frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Offered to the line.
    pub sent: u64,
    /// Given to the device at its end, doubles included.
    pub delivered: u64,
    /// Lost to the weather.
    pub lost: u64,
    /// Sent a second time.
    pub duplicated: u64,
    /// Held while others passed.
    pub held: u64,
    /// Sent on with a flipped bit.
    pub corrupted: u64,
    /// Lost to a cut, when they left or when they arrived.
    pub cut: u64,
    /// Lost because too many were waiting already, or because the device at the end took no more.
    pub overflowed: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            held: self.held + other.held,
            corrupted: self.corrupted + other.corrupted,
            cut: self.cut + other.cut,
            overflowed: self.overflowed + other.overflowed,
        }
    }
}

/// One direction between two ports.
pub(super) struct Line {
    chance: Chance,
    /// When the last frame in order arrives. Times count from the switch's start.
    last_arrival: Duration,
    /// When the last frame has left, where a limit holds it up.
    free_at: Duration,
    waiting: usize,
    pub(super) counts: Counts,
}

/// One copy of a frame on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) arrival: Duration,
    /// Which bit is flipped; the number wraps around at the frame's end.
    pub(super) flip: Option<u64>,
}

impl Line {
    pub(super) fn new(seed: u64, from: Port, to: Port) -> Self {
        Self {
            chance: Chance::new(seed, &format!("frames from {} to {}", from.0, to.0)),
            last_arrival: Duration::ZERO,
            free_at: Duration::ZERO,
            waiting: 0,
            counts: Counts::default(),
        }
    }

    /// Lets a frame leave. Every copy that is returned MUST be ended with [`Self::arrive`].
    ///
    /// Each frame draws the same number of times, so the weather of one does not change the chance of the next.
    pub(super) fn depart(&mut self, weather: &Weather, now: Duration, length: usize) -> Vec<Passage> {
        let mut happens = |percent: u8| self.chance.percent(u64::from(percent));
        let is_lost = happens(weather.loss_percent);
        let is_doubled = happens(weather.duplicate_percent);
        let is_held = happens(weather.reorder_percent);
        let is_corrupted = happens(weather.corrupt_percent);
        let jitter = draw(&mut self.chance, weather.jitter_max);
        let held = draw(&mut self.chance, HELD_MAX);
        let doubled = draw(&mut self.chance, HELD_MAX);
        let bit = self.chance.draw();

        self.counts.sent += 1;
        if is_lost {
            self.counts.lost += 1;
            return Vec::new();
        }
        if self.waiting >= WAITING_MAX {
            self.counts.overflowed += 1;
            return Vec::new();
        }
        let left = self.leave(weather, now, length);
        let in_order = self.last_arrival.max(left + weather.delay + jitter);
        let arrival = if is_held {
            self.counts.held += 1;
            in_order + held
        } else {
            self.last_arrival = in_order;
            in_order
        };
        self.counts.corrupted += u64::from(is_corrupted);
        let mut passages = vec![Passage { arrival, flip: is_corrupted.then_some(bit) }];
        if is_doubled {
            self.counts.duplicated += 1;
            passages.push(Passage { arrival: arrival + doubled, flip: None });
        }
        self.waiting += passages.len();
        passages
    }

    /// Ends the passage of one copy.
    pub(super) fn arrive(&mut self) {
        self.waiting -= 1;
    }

    /// Returns when a frame has left, behind those that the limit holds up.
    fn leave(&mut self, weather: &Weather, now: Duration, length: usize) -> Duration {
        let Some(rate) = weather.bytes_per_second_max else { return now };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let nanos = length.saturating_mul(1_000_000_000) / rate.max(1);
        self.free_at = self.free_at.max(now) + Duration::from_nanos(nanos);
        self.free_at
    }
}

/// Returns a time up to `most`, and not zero when `most` is not.
fn draw(chance: &mut Chance, most: Duration) -> Duration {
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    let drawn = chance.draw();
    Duration::from_nanos(drawn.checked_rem(most).map_or(0, |nanos| nanos + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends so many frames of 1000 bytes, one each millisecond, and returns what became of each.
    fn passages(seed: u64, weather: &Weather, frames: u32) -> (Vec<Vec<Passage>>, Counts) {
        let mut line = Line::new(seed, Port(0), Port(1));
        let passages = (0..frames).map(|number| {
            let passages = line.depart(weather, number * MS, 1000);
            for _ in &passages {
                line.arrive();
            }
            passages
        });
        (passages.collect(), line.counts)
    }

    #[test]
    fn fair_weather_changes_nothing() {
        let (passages, counts) = passages(1, &Weather::FAIR, 3);
        let straight = |number| vec![Passage { arrival: number * MS, flip: None }];
        assert_eq!(passages, [straight(0), straight(1), straight(2)]);
        assert_eq!(counts, Counts { sent: 3, ..Counts::default() });
    }

    #[test]
    fn a_seed_decides_the_fate_of_every_frame() {
        let foul = Weather {
            loss_percent: 20,
            duplicate_percent: 20,
            reorder_percent: 20,
            corrupt_percent: 20,
            jitter_max: 5 * MS,
            ..Weather::FAIR
        };
        assert_eq!(passages(1, &foul, 200), passages(1, &foul, 200));
        assert_ne!(passages(1, &foul, 200), passages(2, &foul, 200));
        let drier = Weather { loss_percent: 0, ..foul };
        let (foul, drier) = (passages(1, &foul, 200).0, passages(1, &drier, 200).0);
        let flips = |frame: &[Passage]| frame.first().and_then(|passage| passage.flip);
        for (frame, same) in foul.iter().zip(&drier).filter(|(frame, _)| !frame.is_empty()) {
            assert_eq!((frame.len(), flips(frame)), (same.len(), flips(same)), "no other frame's fate has changed");
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_its_bounds() {
        let weather = Weather { delay: 50 * MS, jitter_max: 20 * MS, ..Weather::FAIR };
        let (passages, _) = passages(1, &weather, 500);
        let arrivals: Vec<Duration> = passages.iter().flatten().map(|passage| passage.arrival).collect();
        assert!(arrivals.is_sorted());
        for (arrival, number) in arrivals.iter().zip(0..) {
            let took = *arrival - number * MS;
            assert!(took > 50 * MS && took <= 70 * MS, "frame {number} took {took:?}");
        }
    }

    #[test]
    fn held_frames_are_overtaken() {
        let weather = Weather { reorder_percent: 10, ..Weather::FAIR };
        let (passages, counts) = passages(1, &weather, 1000);
        let arrivals: Vec<Duration> = passages.iter().flatten().map(|passage| passage.arrival).collect();
        let overtaken = arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((60..140).contains(&counts.held), "{counts:?}");
        assert!(overtaken > 40, "{overtaken} of {counts:?}");
    }

    #[test]
    fn a_limit_lets_frames_leave_one_after_another_and_a_full_queue_loses_the_rest() {
        let weather = Weather { bytes_per_second_max: Some(1_000_000), ..Weather::FAIR };
        let mut line = Line::new(1, Port(0), Port(1));
        let arrivals: Vec<Duration> = (0..1200)
            .flat_map(|_| line.depart(&weather, Duration::ZERO, 1000))
            .map(|passage| passage.arrival)
            .collect();
        let expect: Vec<Duration> = (1..=1000).map(|number| number * MS).collect();
        assert_eq!(arrivals, expect);
        assert_eq!(line.counts, Counts { sent: 1200, overflowed: 200, ..Counts::default() });
    }
}
