//! What becomes of a BMC's answers on their way, beyond what its mode says.

use std::collections::VecDeque;
use std::time::Duration;

use quorumfence_machine::Millis;

use crate::chance::Chance;

/// Answers that may come again.
const PAST: usize = 64;

/// Misbehaviour of one BMC's wire and firmware. The numbers are percents of the answers, unless said otherwise. The
/// default is a wire that behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wire {
    /// Decides everything below.
    pub seed: u64,
    /// Lost.
    pub drop: u8,
    /// Sent twice.
    pub duplicate: u8,
    /// Kept until the next answer was sent.
    pub reorder: u8,
    /// Cut short.
    pub truncate: u8,
    /// With one bit turned.
    pub garble: u8,
    /// Preceded by a datagram of noise.
    pub noise: u8,
    /// Preceded by an older answer, as it was then.
    pub replay: u8,
    /// Late by at least this.
    pub delay_min: Millis,
    /// Late by at most this.
    pub delay_max: Millis,
    /// Percent of the sessions in which the BMC names another machine.
    pub wrong_guid: u8,
    /// Percent of the commands that are answered "node busy" and not carried out.
    pub node_busy: u8,
    /// Percent of the commands at which the BMC forgets the session instead of answering.
    pub forget: u8,
}

/// The state of a wire.
#[derive(Debug)]
pub(super) struct Weather {
    wire: Wire,
    chance: Chance,
    kept: Option<Vec<u8>>,
    past: VecDeque<Vec<u8>>,
}

/// A datagram to be sent after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) after: Duration,
    pub(super) bytes: Vec<u8>,
}

impl Weather {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, chance: Chance::new(wire.seed, "wire of a BMC"), kept: None, past: VecDeque::new() }
    }

    pub(super) fn forgets(&mut self) -> bool {
        self.chance.percent(self.wire.forget.into())
    }

    pub(super) fn is_busy(&mut self) -> bool {
        self.chance.percent(self.wire.node_busy.into())
    }

    pub(super) fn names_another(&mut self) -> bool {
        self.chance.percent(self.wire.wrong_guid.into())
    }

    /// Returns what is sent in place of an answer.
    pub(super) fn spoil(&mut self, answer: Vec<u8>) -> Vec<Sending> {
        let mut sent = Vec::new();
        if self.happens(self.wire.noise) {
            sent.push(self.noise());
        }
        if self.happens(self.wire.replay) {
            sent.extend(self.chance.pick(self.past.make_contiguous()).cloned());
        }
        self.past.push_back(answer.clone());
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        if !self.happens(self.wire.drop) {
            let copies = if self.happens(self.wire.duplicate) { 2 } else { 1 };
            let answer = self.damage(answer);
            if self.kept.is_none() && self.happens(self.wire.reorder) {
                self.kept = Some(answer);
            } else {
                sent.extend(std::iter::repeat_n(answer, copies));
                sent.extend(self.kept.take());
            }
        }
        sent.into_iter().map(|bytes| Sending { after: self.delay(), bytes }).collect()
    }

    fn happens(&mut self, percent: u8) -> bool {
        self.chance.percent(percent.into())
    }

    fn damage(&mut self, mut answer: Vec<u8>) -> Vec<u8> {
        if self.happens(self.wire.truncate) {
            let length = self.place_in(&answer);
            answer.truncate(length);
        }
        if self.happens(self.wire.garble) && !answer.is_empty() {
            let place = self.place_in(&answer);
            answer[place] ^= 1 << self.chance.below(8);
        }
        answer
    }

    fn noise(&mut self) -> Vec<u8> {
        let words = self.chance.between(1, 12);
        (0..words).flat_map(|_| self.chance.draw().to_le_bytes()).collect()
    }

    fn place_in(&mut self, bytes: &[u8]) -> usize {
        let length = u64::try_from(bytes.len()).expect("a datagram is short");
        usize::try_from(self.chance.below(length.max(1))).expect("it is below a length")
    }

    fn delay(&mut self) -> Duration {
        let Wire { delay_min, delay_max, .. } = self.wire;
        self.chance.time(delay_min, delay_max.max(delay_min)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(wire: Wire, answers: u8) -> Vec<Vec<u8>> {
        let mut weather = Weather::new(wire);
        (0..answers).flat_map(|answer| weather.spoil(vec![answer; 4])).map(|sending| sending.bytes).collect()
    }

    #[test]
    fn each_kind_of_weather_does_what_it_says() {
        let four = |number: u8| vec![number; 4];
        assert_eq!(sent(Wire::default(), 2), [four(0), four(1)]);
        assert!(sent(Wire { drop: 100, ..Wire::default() }, 2).is_empty());
        assert_eq!(sent(Wire { duplicate: 100, ..Wire::default() }, 2), [four(0), four(0), four(1), four(1)]);
        assert_eq!(sent(Wire { reorder: 100, ..Wire::default() }, 4), [four(1), four(0), four(3), four(2)]);
        assert_eq!(sent(Wire { replay: 100, ..Wire::default() }, 2), [four(0), four(0), four(1)]);
        let short = sent(Wire { truncate: 100, ..Wire::default() }, 20);
        assert!(short.iter().all(|bytes| bytes.len() < 4));
        let garbled = sent(Wire { garble: 100, ..Wire::default() }, 20);
        assert!((0..20).zip(&garbled).all(|(answer, bytes)| bytes.len() == 4 && *bytes != four(answer)));
        assert_eq!(sent(Wire { noise: 100, ..Wire::default() }, 3).len(), 6);
    }

    #[test]
    fn a_seed_decides_the_weather() {
        let wire = Wire { seed: 1, drop: 30, duplicate: 30, reorder: 30, garble: 10, ..Wire::default() };
        assert_eq!(sent(wire, 40), sent(wire, 40));
        assert_ne!(sent(wire, 40), sent(Wire { seed: 2, ..wire }, 40));
        let late = Wire { delay_min: Millis(5), delay_max: Millis(9), ..Wire::default() };
        let after = Weather::new(late).spoil(vec![1])[0].after;
        assert!((5..=9).contains(&after.as_millis()), "{after:?}");
    }
}
