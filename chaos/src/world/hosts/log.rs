//! The log of a guest: what it wrote to the storage that all hosts share, and what that proves.
//!
//! Each run of a guest draws a name at its boot and writes numbered records, each behind the last one that it finds:
//!
//! ```text
//!   A0 A1 A2 B0 B1 B2 ...      B began after A had ended
//!   A0 A1 A2 B0 A3 ...         A wrote after B: two at once
//!   A0 A1 B0 A3 ...            the same, and B took the place of A2
//! ```
//!
//! Nothing else is evidence here: no clock, no host's word, no line of a log file.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use quorumfence_machine::InstanceId;

/// A record is one sector, so that it is written as a whole or not at all.
pub const RECORD: usize = 512;

/// What one run of the guest wrote at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name that the run drew at its boot.
    pub run: String,
    /// Which record of that run it is, from 0.
    pub number: u64,
}

/// Why a log proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The place holds something else than a record.
    #[error("place {place} holds no record")]
    Garbage {
        /// Which place, from 0.
        place: usize,
    },
    /// The place holds a record of another guest.
    #[error("place {place} holds a record of {instance}")]
    Foreign {
        /// Which place, from 0.
        place: usize,
        /// Whose it is.
        instance: InstanceId,
    },
    /// Records lie behind an empty place, and every run writes right behind what it finds.
    #[error("place {place} is empty, and there are records behind it")]
    Gap {
        /// Which place, from 0.
        place: usize,
    },
    /// The log has no empty place left, so what was written last is not in it.
    #[error("all {places} places are taken")]
    Full {
        /// How many there are.
        places: usize,
    },
}

/// Two runs of one guest that wrote at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoWriters {
    /// The run that was writing.
    pub one: String,
    /// The run that wrote in between; none when it left nothing but a lost record.
    pub other: Option<String>,
    /// Where it shows.
    pub place: usize,
    /// What was expected there of the first run.
    pub number: u64,
}

/// Returns the records of the guest's log.
///
/// # Errors
/// Says what makes the log useless as evidence.
pub fn read(bytes: &[u8], instance: InstanceId) -> Result<Vec<Record>, Damage> {
    let mut records = Vec::new();
    let mut places = bytes.chunks(RECORD).enumerate();
    for (place, sector) in places.by_ref() {
        if is_empty(sector) {
            return match places.find(|(_, sector)| !is_empty(sector)) {
                Some(_) => Err(Damage::Gap { place }),
                None => Ok(records),
            };
        }
        let (of, record) = parse(sector).ok_or(Damage::Garbage { place })?;
        if of != instance {
            return Err(Damage::Foreign { place, instance: of });
        }
        records.push(record);
    }
    Err(Damage::Full { places: records.len() })
}

/// Returns the first sign that two runs wrote at the same time.
///
/// A run that ended writes no more, so a record behind another run's shows that both were alive. A run counts only what
/// it wrote, so a number that is skipped was overwritten by somebody who found the same place empty at the same time.
/// A clean hand-over shows neither, wherever the first run was cut.
pub fn two_writers(records: &[Record]) -> Option<TwoWriters> {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    let mut before: Option<&Record> = None;
    for (place, record) in records.iter().enumerate() {
        let expected = next.get(record.run.as_str()).copied();
        let other = before.filter(|before| before.run != record.run).map(|before| before.run.clone());
        let is_back = expected.is_some() && other.is_some();
        let number = expected.unwrap_or(0);
        if is_back || record.number > number {
            return Some(TwoWriters { one: record.run.clone(), other, place, number });
        }
        next.insert(&record.run, record.number + 1);
        before = Some(record);
    }
    None
}

/// Returns the runs in the order of their first records, with how many each wrote.
pub fn runs(records: &[Record]) -> Vec<(String, usize)> {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for record in records {
        match runs.iter_mut().find(|(run, _)| *run == record.run) {
            Some((_, count)) => *count += 1,
            None => runs.push((record.run.clone(), 1)),
        }
    }
    runs
}

fn is_empty(sector: &[u8]) -> bool {
    sector.iter().all(|byte| *byte == 0)
}

fn parse(sector: &[u8]) -> Option<(InstanceId, Record)> {
    let text = std::str::from_utf8(sector).ok().filter(|text| text.len() == RECORD)?;
    let line = text.strip_suffix('\n').filter(|line| !line.contains(['\n', '\0']))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["quorumfence-log", instance, run, number] = words.as_slice() else { return None };
    Some((instance.parse().ok()?, Record { run: (*run).into(), number: number.parse().ok()? }))
}

impl fmt::Display for TwoWriters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { one, other, place, number } = self;
        match other {
            Some(other) => {
                write!(f, "run {one} writes at place {place}, behind run {other}, its record {number} or later")
            }
            None => write!(f, "record {number} of run {one} is gone before place {place}: somebody wrote over it"),
        }
    }
}
