//! One connection to libvirt, and the place where the current one is kept.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use quorumfence_machine::{Doubt, Outcome, Refusal};
use tokio::sync::Notify;
use tokio::time::Instant;
use virt::connect::Connect;
use virt::error::{ErrorDomain, ErrorNumber};

use super::Failure;
use super::events::{self, Watched};

/// libvirt is asked for a sign of life after so many silent seconds.
const KEEPALIVE_SECONDS: i32 = 5;

/// So many unanswered signs close the connection: a hung call ends by itself after about 20 s.
const KEEPALIVE_COUNT: u32 = 3;

/// The current connection, opened when it is needed.
#[derive(Debug)]
pub(super) struct Link {
    uri: String,
    change: Arc<Notify>,
    current: Mutex<Option<Arc<Watched>>>,
}

/// One order's view of the connection.
#[derive(Debug)]
pub(super) struct Session {
    connection: Arc<Watched>,
    until: Instant,
}

impl Session {
    /// Returns the connection for a call that changes nothing.
    pub(super) fn connect(&self) -> &Connect {
        self.connection.connect()
    }

    /// Returns the connection for a call that changes the world, unless the order was given up already.
    ///
    /// A thread can hang while it connects, long before it sends anything. Its caller has said `Unknown` by then and
    /// another host may have been chosen: what was not sent yet must not be sent.
    pub(super) fn still_wanted(&self) -> Result<&Connect, Failure> {
        if Instant::now() < self.until { Ok(self.connect()) } else { Err(Failure::Late) }
    }
}

impl Link {
    pub(super) fn new(uri: &str, change: Arc<Notify>) -> Self {
        Self { uri: uri.into(), change, current: Mutex::new(None) }
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Connects if need be and carries out one order. Blocks as long as libvirt does.
    pub(super) fn carry_out<T>(
        &self,
        until: Instant,
        order: impl FnOnce(&Session) -> Result<T, Failure>,
    ) -> Outcome<T> {
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(uri = self.uri, %error, "cannot connect to libvirt");
                let sorted = doubt_or_refusal(&error);
                let unsorted = matches!(sorted, Outcome::Unknown(Doubt::Internal));
                return if unsorted { Outcome::Unknown(Doubt::Unreachable) } else { sorted };
            }
        };
        let session = Session { connection, until };
        match order(&session) {
            Ok(seen) => Outcome::Observed(seen),
            Err(Failure::Refused) => Outcome::Refused(Refusal::Hypervisor),
            Err(Failure::Ambiguous) => Outcome::Unknown(Doubt::Ambiguous),
            Err(Failure::Late) => Outcome::Unknown(Doubt::Timeout),
            Err(Failure::Libvirt(error)) => {
                let alive = session.connect().is_alive().unwrap_or(false);
                tracing::warn!(uri = self.uri, alive, %error, "a libvirt call failed");
                if alive {
                    return doubt_or_refusal(&error);
                }
                self.discard();
                Outcome::Unknown(Doubt::Unreachable)
            }
        }
    }

    /// Gives the current connection up; the next order opens another.
    ///
    /// Closing a connection is a call of its own and can hang, so it happens on a thread that nobody waits for. It ends
    /// at the latest when the keepalive does.
    pub(super) fn discard(&self) {
        let Some(connection) = self.lock().take() else { return };
        if let Err(error) = thread::Builder::new().name("libvirt-close".into()).spawn(move || drop(connection)) {
            tracing::error!(uri = self.uri, %error, "no thread to close a libvirt connection");
        }
    }

    fn connection(&self) -> Result<Arc<Watched>, virt::error::Error> {
        let found = self.lock().clone();
        if let Some(connection) = found {
            if connection.connect().is_alive().unwrap_or(false) {
                return Ok(connection);
            }
            self.discard();
        }
        let opened = Arc::new(open(&self.uri, &self.change)?);
        let replaced = self.lock().replace(Arc::clone(&opened));
        drop(replaced);
        Ok(opened)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Watched>>> {
        self.current.lock().expect("nobody panics while holding the connection")
    }
}

fn open(uri: &str, change: &Arc<Notify>) -> Result<Watched, virt::error::Error> {
    events::run_loop()?;
    let connect = Connect::open(Some(uri))?;
    match connect.set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT) {
        // A driver inside this process has no peer to lose.
        Err(error) if error.code() != ErrorNumber::NoSupport.into() => return Err(error),
        Ok(()) | Err(_) => {}
    }
    Watched::register(connect, change)
}

/// Sorts an error by whether libvirt said no or nobody knows.
fn doubt_or_refusal<T>(error: &virt::error::Error) -> Outcome<T> {
    let code = error.code();
    let is = |numbers: &[ErrorNumber]| numbers.iter().any(|number| code == (*number).into());
    if is(&[ErrorNumber::AuthFailed, ErrorNumber::AuthCancelled, ErrorNumber::AuthUnavailable]) {
        Outcome::Refused(Refusal::Credentials)
    } else if is(&[ErrorNumber::AccessDenied, ErrorNumber::OperationDenied]) {
        Outcome::Refused(Refusal::Privilege)
    } else if is(&[ErrorNumber::OperationTimeout]) {
        Outcome::Unknown(Doubt::Timeout)
    } else if is(&[ErrorNumber::NoConnect, ErrorNumber::Rpc, ErrorNumber::SystemError])
        || error.domain() == ErrorDomain::Rpc.into()
    {
        Outcome::Unknown(Doubt::Unreachable)
    } else {
        Outcome::Unknown(Doubt::Internal)
    }
}
