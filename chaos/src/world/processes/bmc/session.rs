//! The BMC's session slots, and which sequence numbers each session has seen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use quorumfence_machine::HostId;
use tokio::time::Instant;

use super::keys::{Handshake, Keys, Suite};

/// Slots of a BMC: four, the least that IPMI 2.0 allows in section 6.9.
pub const SLOTS: usize = 4;

/// A session that nobody used this long is forgotten (section 6.12.15).
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// A handshake that is not finished this long after its last step is forgotten.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How far a sequence number may be ahead of or behind the highest (section 6.12.13).
const WINDOW: u32 = 16;

/// One slot.
#[derive(Debug)]
pub(super) struct Session {
    /// Whose BMC it was when the session began.
    pub(super) host: HostId,
    pub(super) peer: SocketAddr,
    pub(super) tag: u8,
    pub(super) suite: Suite,
    /// The session as the console names it.
    pub(super) console: u32,
    /// Level asked for in Open Session.
    pub(super) level_asked: u8,
    pub(super) stage: Stage,
    pub(super) used_at: Instant,
}

/// How far a session has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Open Session was answered.
    Opened,
    /// RAKP 2 was sent.
    Challenged(Handshake),
    /// RAKP 4 was sent.
    Active(Box<Active>),
}

/// A session in use.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) keys: Keys,
    pub(super) level: u8,
    pub(super) level_max: u8,
    /// The BMC names another machine in this session.
    pub(super) is_of_another: bool,
    window: Window,
    /// Last sequence number of the BMC's.
    sent: u32,
}

impl Active {
    pub(super) fn new(keys: Keys, level_max: u8, is_of_another: bool) -> Self {
        let level = super::message::USER.min(level_max);
        Self { keys, level, level_max, is_of_another, window: Window::default(), sent: 0 }
    }

    /// Returns whether the console's number is fresh, and remembers it.
    pub(super) fn admit(&mut self, sequence: u32) -> bool {
        self.window.admit(sequence)
    }

    pub(super) fn next_sequence(&mut self) -> u32 {
        self.sent += 1;
        self.sent
    }
}

/// Which numbers were seen: the highest, and below it one bit each.
#[derive(Debug, Default)]
struct Window {
    highest: u32,
    seen: u32,
}

impl Window {
    fn admit(&mut self, sequence: u32) -> bool {
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            let admitted = ahead <= WINDOW;
            if admitted {
                self.seen = self.seen << ahead | 1;
                self.highest = sequence;
            }
            return admitted;
        }
        let behind = self.highest - sequence;
        let fresh = sequence > 0 && behind < WINDOW && self.seen & 1 << behind == 0;
        if fresh {
            self.seen |= 1 << behind;
        }
        fresh
    }
}

/// All slots, by the name that the BMC gave the session.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<u32, Session>);

impl Slots {
    /// Takes a slot; false when all are taken.
    pub(super) fn take(&mut self, id: u32, session: Session) -> bool {
        self.expire(session.used_at);
        let free = self.0.len() < SLOTS;
        if free {
            self.0.insert(id, session);
        }
        free
    }

    /// Returns the slot that this very Open Session was given before.
    pub(super) fn given_to(&self, peer: SocketAddr, tag: u8, console: u32) -> Option<u32> {
        let same = |session: &Session| {
            (session.peer, session.tag, session.console) == (peer, tag, console)
                && matches!(session.stage, Stage::Opened)
        };
        self.0.iter().find(|(_, session)| same(session)).map(|(id, _)| *id)
    }

    pub(super) fn get(&mut self, id: u32, now: Instant) -> Option<&mut Session> {
        self.expire(now);
        let session = self.0.get_mut(&id)?;
        session.used_at = now;
        Some(session)
    }

    pub(super) fn free(&mut self, id: u32) -> bool {
        self.0.remove(&id).is_some()
    }

    pub(super) fn free_all(&mut self) {
        self.0.clear();
    }

    pub(super) fn taken(&self) -> usize {
        self.0.len()
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, session| {
            let limit = match session.stage {
                Stage::Opened | Stage::Challenged(_) => HANDSHAKE_MAX,
                Stage::Active(_) => IDLE_MAX,
            };
            now.saturating_duration_since(session.used_at) < limit
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn a_number_is_taken_once_and_only_near_the_highest() {
        let mut window = Window::default();
        for (sequence, fresh) in [
            (0, false),
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (19, true),
            (36, false),
            (35, true),
            (20, true),
            (20, false),
            (19, false),
        ] {
            assert_eq!(window.admit(sequence), fresh, "{sequence}");
        }
    }
}
