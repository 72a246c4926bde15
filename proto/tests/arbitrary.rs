//! Bytes from a damaged disk or a hostile peer are refused or understood; they never end the process.

use quorumfence_proto::convert::{decode_command, decode_record, encode_command, encode_record};

use crate::samples;

/// Damaged copies of each sample.
const DAMAGES: u64 = 200;

/// Strings of bytes that were never a message.
const STRINGS: u64 = 20_000;

/// A repeatable stream of numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Reads bytes both ways; what is understood must be read again from its own bytes.
fn feed(bytes: &[u8]) {
    if let Ok(command) = decode_command(bytes) {
        assert_eq!(decode_command(&encode_command(&command)), Ok(command));
    }
    if let Ok(record) = decode_record(bytes) {
        assert_eq!(decode_record(&encode_record(&record)), Ok(record));
    }
}

#[test]
fn damaged_messages_never_panic() {
    let mut numbers = Numbers(1);
    let commands = samples::commands().into_iter().map(|(_, command)| encode_command(&command));
    let records = samples::records().into_iter().map(|(_, record)| encode_record(&record));
    for bytes in commands.chain(records) {
        for length in 0..bytes.len() {
            feed(&bytes[..length]);
        }
        for _ in 0..DAMAGES {
            let mut damaged = bytes.clone();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(damaged.len());
                damaged[at] = numbers.byte();
            }
            feed(&damaged);
        }
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut numbers = Numbers(2);
    for _ in 0..STRINGS {
        let length = numbers.below(64);
        let bytes: Vec<u8> = (0..length).map(|_| numbers.byte()).collect();
        feed(&bytes);
    }
}
