//! One file's changes that the platter does not have, with what they covered.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A file with unsynced changes. The file itself is what readers see.
pub(super) struct Pages {
    file: File,
    /// Oldest first.
    changes: VecDeque<Change>,
    /// The number of the newest change.
    numbered: u64,
    /// What the changes take of the memory, about.
    bytes: usize,
    /// Set when a sync failed: how the platter differs from the file below its unsynced changes.
    lost: Option<Lost>,
}

/// A write, or a change of length.
struct Change {
    number: u64,
    at: u64,
    /// How many bytes it wrote.
    written: u64,
    /// What was at that place, as far as the file reached.
    covered: Vec<u8>,
    length_before: u64,
    length_after: u64,
}

impl Change {
    fn size(&self) -> usize {
        size_of::<Self>() + self.covered.len()
    }
}

struct Lost {
    /// The length of the file on the platter.
    length: u64,
    /// Where its bytes differ, and what they are.
    bytes: Extents,
}

impl Pages {
    /// Takes a file, open for reading and writing, that the platter has as it is. Numbers begin after `numbered`.
    pub(super) fn new(file: File, numbered: u64) -> Self {
        Self { file, changes: VecDeque::new(), numbered, bytes: 0, lost: None }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.changes.is_empty() && self.lost.is_none()
    }

    pub(super) fn has_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Returns how many changes wait.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns the number of the newest change.
    pub(super) fn newest(&self) -> u64 {
        self.numbered
    }

    /// Returns the number of the oldest change that waits.
    pub(super) fn oldest(&self) -> u64 {
        self.changes.front().map_or(self.numbered, |change| change.number)
    }

    /// Returns how much memory the changes take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns how many bytes the nth change that waits has written.
    pub(super) fn written(&self, nth: usize) -> usize {
        self.changes.get(nth).map_or(0, |change| usize::try_from(change.written).unwrap_or(usize::MAX))
    }

    pub(super) fn write(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        let length_before = self.file.metadata()?.len();
        let end = at + u64::try_from(data.len()).unwrap_or(u64::MAX);
        // A write behind the end fills the gap with zeros, which goes with it.
        let from = at.min(length_before);
        let covered = self.read(from, end.min(length_before))?;
        self.file.write_all_at(data, at)?;
        self.push(from, end - from, covered, length_before, end.max(length_before));
        Ok(())
    }

    pub(super) fn set_length(&mut self, length: u64) -> io::Result<()> {
        let length_before = self.file.metadata()?.len();
        let covered = self.read(length.min(length_before), length_before)?;
        self.file.set_len(length)?;
        if length != length_before {
            let written = length.saturating_sub(length_before);
            self.push(length.min(length_before), written, covered, length_before, length);
        }
        Ok(())
    }

    fn push(&mut self, at: u64, written: u64, covered: Vec<u8>, length_before: u64, length_after: u64) {
        self.numbered += 1;
        let change = Change { number: self.numbered, at, written, covered, length_before, length_after };
        self.bytes += change.size();
        self.changes.push_back(change);
    }

    /// Makes the changes up to this number durable.
    pub(super) fn commit(&mut self, upto: u64) {
        while self.changes.front().is_some_and(|change| change.number <= upto) {
            let Some(change) = self.changes.pop_front() else { return };
            self.bytes -= change.size();
            if let Some(lost) = &mut self.lost {
                lost.write(&change);
            }
        }
    }

    /// Takes all changes for clean that were never written: the sync failed.
    pub(super) fn lose(&mut self) {
        let Some(oldest) = self.changes.front() else { return };
        let length_before = oldest.length_before;
        self.bytes = 0;
        let mut bytes = Extents::default();
        for change in self.changes.drain(..).rev() {
            bytes.put(change.at, change.covered);
        }
        let earlier = self.lost.take().unwrap_or(Lost { length: length_before, bytes: Extents::default() });
        for (at, known) in earlier.bytes.0 {
            bytes.put(at, known);
        }
        bytes.remove(earlier.length, u64::MAX);
        self.lost = Some(Lost { length: earlier.length, bytes });
    }

    /// Leaves in the file what the platter has: `kept` changes that wait, and of the next one so many bytes.
    pub(super) fn cut(&mut self, kept: usize, torn: usize) -> io::Result<()> {
        if let Some(last) = kept.checked_sub(1).and_then(|last| self.changes.get(last)) {
            self.commit(last.number);
        }
        while self.changes.len() > 1 {
            self.undo_newest()?;
        }
        if let Some(next) = self.changes.front() {
            let (at, number) = (next.at, next.number);
            let end = at + u64::try_from(torn).unwrap_or(u64::MAX).min(next.written);
            let survived = self.read(at, end)?;
            self.undo_newest()?;
            if !survived.is_empty() {
                self.write(at, &survived)?;
                self.commit(self.numbered.max(number));
            }
        }
        if let Some(lost) = self.lost.take() {
            self.file.set_len(lost.length)?;
            for (at, bytes) in lost.bytes.0 {
                self.file.write_all_at(&bytes, at)?;
            }
        }
        Ok(())
    }

    fn undo_newest(&mut self) -> io::Result<()> {
        let Some(change) = self.changes.pop_back() else { return Ok(()) };
        self.bytes -= change.size();
        self.file.set_len(change.length_before)?;
        self.file.write_all_at(&change.covered, change.at)
    }

    fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let length = to.saturating_sub(from);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}

impl Lost {
    /// Lets a later change of the file reach the platter.
    fn write(&mut self, change: &Change) {
        if change.length_after < change.length_before {
            self.bytes.remove(change.length_after, u64::MAX);
            self.length = self.length.min(change.length_after);
            return;
        }
        let end = change.at + change.written;
        self.bytes.remove(change.at, end);
        if let Some(gap) = change.at.checked_sub(self.length) {
            // What should have been between is not there, and reads as zeros.
            self.bytes.put(self.length, vec![0; usize::try_from(gap).unwrap_or(0)]);
        }
        self.length = self.length.max(end);
    }
}

/// Bytes at places that do not overlap.
#[derive(Default)]
struct Extents(BTreeMap<u64, Vec<u8>>);

impl Extents {
    fn put(&mut self, at: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.remove(at, at + length(&bytes));
            self.0.insert(at, bytes);
        }
    }

    fn remove(&mut self, from: u64, to: u64) {
        let before = self.0.range(..from).next_back().map(|(at, _)| *at);
        let first = before.unwrap_or(from);
        let touched: Vec<u64> = self.0.range(first..to.max(first)).map(|(at, _)| *at).collect();
        for at in touched {
            let Some(mut bytes) = self.0.remove(&at) else { continue };
            let end = at + length(&bytes);
            if end > to {
                let keep = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX);
                self.0.insert(at.max(to), bytes.split_off(keep.min(bytes.len())));
            }
            bytes.truncate(usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX));
            if at < from && !bytes.is_empty() {
                self.0.insert(at, bytes);
            }
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
