//! The thread that takes frames from devices and gives them to others when their time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Port, Shared, kernel, lock};

/// The largest frame: a jumbo of 9000 bytes, with its header and a tag.
const FRAME_BYTES_MAX: usize = 9018;
/// So that a port that talks without end does not silence the others.
const FRAMES_IN_A_ROW_MAX: usize = 64;
/// The bytes of an Ethernet header. A flipped bit there would only send a frame elsewhere.
const HEADER_BYTES: usize = 14;

/// A copy of a frame that is under way. Ordered by time, then by the order in which they left.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    arrival: Duration,
    number: u64,
    from: Port,
    to: Port,
    frame: Arc<[u8]>,
}

struct Forwarder<'a> {
    shared: &'a Mutex<Shared>,
    started: Instant,
    waiting: BinaryHeap<Reverse<Waiting>>,
    numbered: u64,
}

/// Forwards until the other end of the pipe is closed. A byte from it says that ports have changed.
pub(super) fn run(shared: &Mutex<Shared>, mut woken: PipeReader) {
    let mut forwarder = Forwarder { shared, started: now(), waiting: BinaryHeap::new(), numbered: 0 };
    let mut taps = forwarder.taps();
    loop {
        let next = forwarder.waiting.peek().map(|Reverse(next)| next.arrival.saturating_sub(forwarder.time()));
        let files: Vec<_> = std::iter::once(woken.as_fd()).chain(taps.iter().map(|(_, tap)| tap.as_fd())).collect();
        let ready = kernel::wait_readable(&files, next).expect("the kernel lets us wait for files that are open");
        for ((port, tap), _) in taps.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            forwarder.take_in(*port, tap);
        }
        forwarder.give_out();
        if ready[0] {
            match woken.read(&mut [0; 64]) {
                Ok(0) => return,
                Ok(_) => taps = forwarder.taps(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted, "a pipe can be read: {error}"),
            }
        }
        taps.retain(|(port, _)| lock(shared).taps[port.0].is_some());
    }
}

impl Forwarder<'_> {
    fn time(&self) -> Duration {
        now() - self.started
    }

    fn taps(&self) -> Vec<(Port, Arc<File>)> {
        let shared = lock(self.shared);
        let taps = shared.taps.iter().enumerate();
        taps.filter_map(|(number, tap)| Some((Port(number), Arc::clone(tap.as_ref()?)))).collect()
    }

    fn take_in(&mut self, from: Port, mut tap: &File) {
        let mut buffer = [0; FRAME_BYTES_MAX];
        for _ in 0..FRAMES_IN_A_ROW_MAX {
            match tap.read(&mut buffer) {
                Ok(length) => self.send(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // Somebody has removed the device from its namespace.
                    lock(self.shared).unplug(from);
                    return;
                }
            }
        }
    }

    fn send(&mut self, from: Port, frame: &[u8]) {
        let time = self.time();
        let mut shared = lock(self.shared);
        let whole: Arc<[u8]> = frame.into();
        for to in shared.route(from, frame) {
            let (weather, is_cut) = (shared.weather_of(from, to), shared.is_cut(from, to));
            let line = shared.line(from, to);
            if is_cut {
                line.counts.sent += 1;
                line.counts.cut += 1;
                continue;
            }
            for passage in line.depart(&weather, time, frame.len()) {
                let frame = passage.flip.map_or_else(|| Arc::clone(&whole), |bit| with_flipped(frame, bit));
                self.numbered += 1;
                let waiting = Waiting { arrival: passage.arrival, number: self.numbered, from, to, frame };
                self.waiting.push(Reverse(waiting));
            }
        }
    }

    fn give_out(&mut self) {
        let time = self.time();
        while let Some(Reverse(next)) = self.waiting.peek()
            && next.arrival <= time
        {
            let Some(Reverse(Waiting { from, to, frame, .. })) = self.waiting.pop() else { return };
            let mut shared = lock(self.shared);
            let is_cut = shared.is_cut(from, to);
            let tap = shared.taps[to.0].clone();
            let line = shared.line(from, to);
            line.arrive();
            match tap {
                Some(mut tap) if !is_cut => match tap.write(&frame) {
                    Ok(_) => line.counts.delivered += 1,
                    // The device is down, or its queue is full.
                    Err(_) => line.counts.overflowed += 1,
                },
                Some(_) | None => line.counts.cut += 1,
            }
        }
    }
}

fn with_flipped(frame: &[u8], bit: u64) -> Arc<[u8]> {
    let mut frame = frame.to_vec();
    let body = frame.get_mut(HEADER_BYTES..).unwrap_or_default();
    let bits = u64::try_from(body.len() * 8).unwrap_or(u64::MAX);
    if let Some(bit) = bit.checked_rem(bits).and_then(|bit| usize::try_from(bit).ok()) {
        body[bit / 8] ^= 1 << (bit % 8);
    }
    frame.into()
}

#[expect(clippy::disallowed_methods, reason = "real frames between real processes take real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}
