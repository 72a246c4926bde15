//! A BMC over UDP in front of a host of the laboratory: IPMI 2.0, RMCP+, cipher suites 3 and 17.
//!
//! ```text
//! datagram ─▶ desk: hear ─▶ the laboratory's BMC ─▶ desk: answer ─▶ wire ─▶ datagrams
//! ```
//!
//! How the BMC behaves is the host's [`BmcMode`](quorumfence_drivers::lab::BmcMode): each answer waits for the
//! laboratory's own simulated BMC, so orders become facts there and the modes have one meaning in every world. On the
//! wire they are what firmware does:
//!
//! | mode | on the wire |
//! | --- | --- |
//! | `Silent` | nothing is answered, not even a ping |
//! | `RefusesLogin` | RAKP 2 or RAKP 4 with status 0x0d; sessions go on |
//! | `Busy` | Open Session, RAKP 2 or RAKP 4 with status 0x01; sessions go on |
//! | `Ignores`, `Late`, `Stale`, `PowersBackOn` | polite answers |
//! | `LosesAnswer` | no answer to power off |
//!
//! What goes wrong between the BMC and its clients is a [`Wire`]. Power on is obeyed whenever the BMC answers.

mod desk;
mod keys;
mod message;
mod packet;
mod session;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use desk::{Account, Level};
use desk::{Ask, Desk, Question, Said};
use quorumfence_drivers::lab::{Laboratory, LaboratoryBmc};
use quorumfence_drivers::order::{FenceDevice, FenceSession};
use quorumfence_machine::{Doubt, HostId, Outcome};
pub use session::{IDLE_MAX, SLOTS};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use wire::Sending;
pub use wire::Wire;

/// The laboratory's simulated BMC answers within this, or never.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Questions that wait for their answers, and answers that wait for their moment. What comes beyond is lost.
const WAITING_MAX: usize = 256;

/// Longer than any packet that a BMC is sent.
const DATAGRAM_BYTES_MAX: usize = 1024;

/// A BMC that answers until it is dropped.
#[derive(Debug)]
pub struct BmcServer {
    desk: Arc<Mutex<Desk>>,
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl BmcServer {
    /// Serves the BMC of a host at a bound socket, in a task of the present runtime.
    ///
    /// # Errors
    ///
    /// When the socket has no address.
    pub fn serve(laboratory: Laboratory, host: HostId, socket: UdpSocket, account: Account) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let desk = Arc::new(Mutex::new(Desk::new(host, account)));
        let mut task = JoinSet::new();
        task.spawn(answer_all(laboratory, Arc::new(socket), desk.clone()));
        Ok(Self { desk, address, _task: task })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what becomes of the answers from then on.
    pub fn set_wire(&self, wire: Wire) {
        at(&self.desk).set_wire(wire);
    }

    /// Forgets all sessions, as a BMC does that starts anew.
    pub fn forget_sessions(&self) {
        at(&self.desk).slots.free_all();
    }

    /// Is another host's BMC from then on, as after two were plugged into each other's ports. It knows no session of
    /// before.
    pub fn move_to(&self, host: HostId) {
        let mut desk = at(&self.desk);
        desk.host = host;
        desk.slots.free_all();
    }

    /// Returns how many session slots are taken, of [`SLOTS`].
    pub fn sessions(&self) -> usize {
        at(&self.desk).slots.taken()
    }

    /// Returns how many times somebody named a user to log in.
    pub fn logins(&self) -> usize {
        at(&self.desk).logins
    }

    /// Returns how many orders came for anything but off; the laboratory has the others.
    pub fn other_orders(&self) -> usize {
        at(&self.desk).other_orders
    }
}

/// Nothing can be broken half-way by a panic, so a poisoned lock is taken all the same.
fn at(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer_all(laboratory: Laboratory, socket: Arc<UdpSocket>, desk: Arc<Mutex<Desk>>) {
    let mut asked: JoinSet<(Question, Option<Said>)> = JoinSet::new();
    let mut late: JoinSet<()> = JoinSet::new();
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error is about an answer that somebody did not want; the next datagram may come from anybody.
                let Ok((length, peer)) = received else { continue };
                let heard = at(&desk).hear(Instant::now(), peer, &buffer[..length]);
                if let Some(question) = heard.filter(|_| asked.len() < WAITING_MAX) {
                    let bmc = laboratory.bmc(&question.host);
                    let laboratory = laboratory.clone();
                    asked.spawn(async move {
                        let said = say(&laboratory, bmc, &question).await;
                        (question, said)
                    });
                }
            }
            Some(done) = asked.join_next() => {
                let (question, said) = done.expect("a question ends by itself");
                let peer = question.peer;
                let sendings = said.map(|said| sendings(&desk, question, said)).unwrap_or_default();
                for sending in sendings {
                    if sending.after.is_zero() {
                        send(&socket, &sending.bytes, peer).await;
                        continue;
                    }
                    if late.len() >= WAITING_MAX {
                        continue;
                    }
                    let socket = socket.clone();
                    late.spawn(async move {
                        sleep(sending.after).await;
                        send(&socket, &sending.bytes, peer).await;
                    });
                }
            }
            Some(_) = late.join_next() => {}
        }
    }
}

fn sendings(desk: &Mutex<Desk>, question: Question, said: Said) -> Vec<Sending> {
    let mut desk = at(desk);
    let answer = desk.answer(Instant::now(), question, said);
    answer.map(|answer| desk.spoil(answer)).unwrap_or_default()
}

/// Whoever asked may be gone, and a datagram may be lost anyway.
async fn send(socket: &UdpSocket, bytes: &[u8], peer: SocketAddr) {
    drop(socket.send_to(bytes, peer).await);
}

async fn say(laboratory: &Laboratory, mut bmc: LaboratoryBmc, question: &Question) -> Option<Said> {
    match question.ask {
        Ask::Identity => named(&mut bmc).await,
        Ask::Login => match bmc.open(ANSWER_MAX).await {
            Outcome::Observed(mut session) => named(&mut session).await,
            Outcome::Refused(_) => Some(Said::Refused),
            Outcome::Unknown(Doubt::Busy) => Some(Said::Busy),
            Outcome::Unknown(_) => None,
        },
        Ask::Power => observed(bmc.power(ANSWER_MAX).await).map(Said::Power),
        Ask::Off => observed(bmc.power_off(ANSWER_MAX).await).map(|()| Said::Accepted),
        Ask::On(boot) => {
            named(&mut bmc).await?;
            laboratory.restore_power(&question.host, boot);
            Some(Said::Accepted)
        }
    }
}

async fn named(bmc: &mut LaboratoryBmc) -> Option<Said> {
    observed(bmc.identity(ANSWER_MAX).await).map(Said::Named)
}

fn observed<T>(outcome: Outcome<T>) -> Option<T> {
    match outcome {
        Outcome::Observed(seen) => Some(seen),
        Outcome::Refused(_) | Outcome::Unknown(_) => None,
    }
}
