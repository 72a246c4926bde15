//! What a controller tells the laboratory's witness: every entry that it applies and every off order that it sends.
//!
//! Only for a controller that a court watches. Each line is handed to the kernel while the entry is being applied, so a
//! process that is killed right after has told all that it did, and nobody can have seen an effect of what was not told.
//! A line that cannot be told ends the process: a history with holes proves nothing.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumfence_machine::{ControllerId, Event, HostId, LogIndex, Millis, State};
use quorumfence_raft::{Passage, Witness};
use serde::{Deserialize, Serialize};

use crate::controller::{Controller, Kind, Moment};
use crate::environment::Environment;

/// The state is fingerprinted after every so many entries.
const DIGEST_EVERY: u64 = 16;

/// What the kernel may hold until the laboratory reads it; it gives as much of it as the machine allows.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// How long a full queue may stay full before the history has a hole.
const PATIENCE: Duration = Duration::from_secs(5);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in nanoseconds since this machine booted: one clock for all processes of a machine.
    pub at_ns: u64,
    /// Whose controller it is.
    pub controller: ControllerId,
    /// What it says.
    pub said: Said,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// The controller runs, with this much applied.
    Runs { applied: LogIndex },
    /// It applied an entry.
    Applied {
        index: LogIndex,
        /// A hash of the term and of what the entry says.
        content: u64,
        /// What it changed.
        events: Vec<Event>,
        /// A fingerprint of the whole state behind it, for some of the entries.
        digest: Option<String>,
    },
    /// A snapshot that ends at this entry replaced its state.
    Installed { index: LogIndex },
    /// It sends an off order. Told just after: an order whose sender dies in that moment is seen by its BMC only.
    OffSent { host: HostId },
}

/// A controller's line to the laboratory.
pub struct Testimony {
    controller: ControllerId,
    socket: PathBuf,
    voice: Mutex<Voice>,
}

struct Voice {
    stream: UnixStream,
    /// Whether the witness knows where this process went on.
    is_placed: bool,
}

impl Testimony {
    /// Connects to the laboratory.
    pub(super) fn open(controller: ControllerId, socket: &Path) -> io::Result<Arc<Self>> {
        let stream = UnixStream::connect(socket)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        rustix::net::sockopt::set_socket_send_buffer_size(&stream, QUEUE_BYTES)?;
        let voice = Mutex::new(Voice { stream, is_placed: false });
        Ok(Arc::new(Self { controller, socket: socket.into(), voice }))
    }

    /// Says that the controller runs, unless it has said since that it applied something.
    pub(super) fn runs(&self, applied: LogIndex) {
        let mut voice = self.voice();
        if !voice.is_placed {
            self.say(&mut voice, now(), Said::Runs { applied });
        }
    }

    /// Tells of off orders until dropped.
    pub(super) async fn follow_orders<E: Environment>(self: Arc<Self>, controller: Controller<E>) {
        let mut newest = controller.moments();
        let mut next = 1;
        loop {
            for Moment { sequence, at, host, kind, .. } in controller.moments_from(next) {
                next = sequence + 1;
                if is_off_order(&kind) {
                    self.say(&mut self.voice(), nanos(at), Said::OffSent { host });
                }
            }
            if newest.wait_for(|newest| *newest >= next).await.is_err() {
                return;
            }
        }
    }

    fn say(&self, voice: &mut Voice, at_ns: u64, said: Said) {
        voice.is_placed = true;
        let line = Line { at_ns, controller: self.controller, said };
        if let Err(error) = tell(&voice.stream, &line) {
            tracing::error!(
                socket = %self.socket.display(),
                %error,
                "The laboratory's witness cannot be told what this controller does. A history with holes proves nothing, \
                 so the process stops. Start the laboratory, then this controller."
            );
            std::process::abort();
        }
    }

    fn voice(&self) -> MutexGuard<'_, Voice> {
        self.voice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Testimony {
    fn applied(&self, passage: &Passage<'_>) {
        let Passage { at, term, entry, events, state } = passage;
        let mut voice = self.voice();
        if !voice.is_placed {
            self.say(&mut voice, now(), Said::Runs { applied: LogIndex(at.0.saturating_sub(1)) });
        }
        let said = Said::Applied {
            index: *at,
            content: hash(&format!("{term} {entry:?}")),
            events: events.to_vec(),
            digest: (at.0 % DIGEST_EVERY == 0).then(|| state.digest().to_string()),
        };
        self.say(&mut voice, now(), said);
    }

    fn installed(&self, at: LogIndex, _state: &State) {
        self.say(&mut self.voice(), now(), Said::Installed { index: at });
    }
}

impl fmt::Debug for Testimony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Testimony").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Returns at once while the kernel has room.
fn tell(mut stream: &UnixStream, line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    stream.write_all(&text)
}

fn is_off_order(kind: &Kind) -> bool {
    match kind {
        Kind::OffSent { .. } => true,
        Kind::LastHeartbeat
        | Kind::BmcAsked
        | Kind::BmcRead(_)
        | Kind::Voted(_)
        | Kind::Committed { .. }
        | Kind::OffAccepted { .. }
        | Kind::OffRead { .. }
        | Kind::OffConfirmed { .. }
        | Kind::StartOrdered { .. }
        | Kind::StartAnswered { .. } => false,
    }
}

/// Returns the moment on the clock that all lines carry.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// A controller's moments are on the same clock.
fn nanos(at: Millis) -> u64 {
    at.0 * 1_000_000
}

/// FNV-1a: the same in every process.
fn hash(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn where_a_controller_goes_on_is_told_once_and_before_what_it_applies() {
        let place = tempfile::tempdir().expect("a directory");
        let socket = place.path().join("witness");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let testimony = Testimony::open(ControllerId(2), &socket).expect("somebody listens");
        let mut lines = BufReader::new(listener.accept().expect("a connection").0).lines();
        let mut heard = || -> Line {
            let line = lines.next().expect("a line").expect("it can be read");
            serde_json::from_str(&line).expect("it is a line")
        };
        let state = State::default();
        let entry = quorumfence_raft::Said::Blank;
        let term = quorumfence_raft::Term(3);
        testimony.applied(&Passage { at: LogIndex(8), term, entry, events: &[], state: &state });
        testimony.runs(LogIndex(1));
        testimony.applied(&Passage { at: LogIndex(9), term, entry, events: &[], state: &state });
        let first = heard();
        assert_eq!((first.controller, first.said), (ControllerId(2), Said::Runs { applied: LogIndex(7) }));
        let content = hash("3 Blank");
        for index in [8, 9] {
            let said = Said::Applied { index: LogIndex(index), content, events: Vec::new(), digest: None };
            assert_eq!(heard().said, said);
        }
    }

    #[test]
    fn a_witness_that_does_not_listen_is_an_error() {
        let place = tempfile::tempdir().expect("a directory");
        let error = Testimony::open(ControllerId(1), &place.path().join("nosuch")).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
