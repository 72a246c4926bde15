//! One connection to libvirt, and the place where the current one is kept.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use quorumfence_machine::{Doubt, Outcome, Refusal};
use tokio::time::Instant;
use virt::connect::Connect;
use virt::error::{ErrorDomain, ErrorDomainEnum, ErrorNumber, ErrorNumberEnum};

use super::Failure;
use super::events::{self, News, Watched};

/// libvirt is asked for a sign of life after so many silent seconds.
const KEEPALIVE_SECONDS: i32 = 5;

/// So many unanswered signs close the connection: a hung call ends by itself after about 20 s.
const KEEPALIVE_COUNT: u32 = 3;

/// What a call is for, which decides what its failure may be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// It reads. A refusal tells people why nothing was seen, and nothing is built on it.
    Read,
    /// It starts or stops an instance. A refusal would say that the instance does not run here.
    Change,
}

/// What a libvirt error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// libvirt did not accept the one who asks.
    Login,
    /// libvirt does not let the one who asks do this.
    Permission,
    /// libvirt did not get to it in time.
    Late,
    /// There is no way to libvirt, or it broke.
    Connection,
    /// libvirt took the call up, and this is its answer.
    Answer,
}

/// The current connection, opened when it is needed.
#[derive(Debug)]
pub(super) struct Link {
    uri: String,
    news: Arc<News>,
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
    pub(super) fn new(uri: &str, news: Arc<News>) -> Self {
        Self { uri: uri.into(), news, current: Mutex::new(None) }
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Connects if need be and carries out one order. Blocks as long as libvirt does.
    pub(super) fn carry_out<T>(
        &self,
        call: Call,
        until: Instant,
        order: impl FnOnce(&Session) -> Result<T, Failure>,
    ) -> Outcome<T> {
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(uri = self.uri, %error, "cannot connect to libvirt");
                return match Fault::of(&error) {
                    Fault::Answer => outcome(call, Fault::Connection),
                    fault @ (Fault::Login | Fault::Permission | Fault::Late | Fault::Connection) => {
                        outcome(call, fault)
                    }
                };
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
                    return outcome(call, Fault::of(&error));
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
        let opened = Arc::new(open(&self.uri, &self.news)?);
        let replaced = self.lock().replace(Arc::clone(&opened));
        drop(replaced);
        Ok(opened)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Watched>>> {
        self.current.lock().expect("nobody panics while holding the connection")
    }
}

fn open(uri: &str, news: &Arc<News>) -> Result<Watched, virt::error::Error> {
    events::run_loop()?;
    let connect = Connect::open(Some(uri))?;
    match connect.set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT) {
        // A driver inside this process has no peer to lose.
        Err(error) if error.code() != ErrorNumber::NoSupport.into() => return Err(error),
        Ok(()) | Err(_) => {}
    }
    Watched::register(connect, news)
}

impl Fault {
    pub(super) fn of(error: &virt::error::Error) -> Self {
        Self::sort(error.code(), error.domain())
    }

    fn sort(code: ErrorNumberEnum, domain: ErrorDomainEnum) -> Self {
        let is = |numbers: &[ErrorNumber]| numbers.iter().any(|number| code == (*number).into());
        let is_from = |domains: &[ErrorDomain]| domains.iter().any(|from| domain == (*from).into());
        if is(&[ErrorNumber::AuthFailed, ErrorNumber::AuthCancelled, ErrorNumber::AuthUnavailable]) {
            Self::Login
        } else if is(&[ErrorNumber::AccessDenied, ErrorNumber::OperationDenied]) {
            Self::Permission
        } else if is(&[ErrorNumber::OperationTimeout]) {
            Self::Late
        } else if is(&[ErrorNumber::NoConnect, ErrorNumber::InvalidConn, ErrorNumber::Rpc])
            // A failed system call is about the way to libvirt only if the transport made it: elsewhere it is a disk that
            // is not there.
            || is_from(&[ErrorDomain::Rpc, ErrorDomain::Remote])
        {
            Self::Connection
        } else {
            Self::Answer
        }
    }
}

/// Returns what a failed call means.
///
/// Who is not let in or not allowed knows nothing of the instance, and an earlier order whose answer was lost may have
/// taken effect. A call that changes something is therefore never refused here: only [`super::calls::start`] refuses,
/// after it saw that the instance is not there.
fn outcome<T>(call: Call, fault: Fault) -> Outcome<T> {
    match (call, fault) {
        (Call::Read, Fault::Login) => Outcome::Refused(Refusal::Credentials),
        (Call::Read, Fault::Permission) => Outcome::Refused(Refusal::Privilege),
        (Call::Read | Call::Change, Fault::Late) => Outcome::Unknown(Doubt::Timeout),
        (Call::Change, Fault::Login) | (Call::Read | Call::Change, Fault::Connection) => {
            Outcome::Unknown(Doubt::Unreachable)
        }
        (Call::Change, Fault::Permission) | (Call::Read | Call::Change, Fault::Answer) => {
            Outcome::Unknown(Doubt::Internal)
        }
    }
}

#[cfg(test)]
mod tests {
    use quorumfence_machine::{Doubt, Outcome, Refusal};
    use virt::error::{ErrorDomain, ErrorNumber};

    use super::{Call, Fault, outcome};

    #[test]
    fn an_error_is_sorted_by_its_number_and_its_origin() {
        for (number, domain, fault) in [
            (ErrorNumber::AuthFailed, ErrorDomain::Rpc, Fault::Login),
            (ErrorNumber::AuthCancelled, ErrorDomain::Auth, Fault::Login),
            (ErrorNumber::AuthUnavailable, ErrorDomain::Polkit, Fault::Login),
            (ErrorNumber::AccessDenied, ErrorDomain::Access, Fault::Permission),
            (ErrorNumber::OperationDenied, ErrorDomain::Domain, Fault::Permission),
            (ErrorNumber::OperationDenied, ErrorDomain::Rpc, Fault::Permission),
            (ErrorNumber::OperationTimeout, ErrorDomain::Qemu, Fault::Late),
            (ErrorNumber::NoConnect, ErrorDomain::None, Fault::Connection),
            (ErrorNumber::InvalidConn, ErrorDomain::None, Fault::Connection),
            (ErrorNumber::Rpc, ErrorDomain::Remote, Fault::Connection),
            (ErrorNumber::SystemError, ErrorDomain::Rpc, Fault::Connection),
            (ErrorNumber::InternalError, ErrorDomain::Rpc, Fault::Connection),
            (ErrorNumber::InternalError, ErrorDomain::Remote, Fault::Connection),
            (ErrorNumber::SystemError, ErrorDomain::Storage, Fault::Answer),
            (ErrorNumber::InternalError, ErrorDomain::Qemu, Fault::Answer),
            (ErrorNumber::OperationFailed, ErrorDomain::Qemu, Fault::Answer),
            (ErrorNumber::ConfigUnsupported, ErrorDomain::Qemu, Fault::Answer),
            (ErrorNumber::XmlError, ErrorDomain::Domain, Fault::Answer),
            (ErrorNumber::NoMemory, ErrorDomain::None, Fault::Answer),
        ] {
            assert_eq!(Fault::sort(number.into(), domain.into()), fault, "{number:?} of {domain:?}");
        }
    }

    #[test]
    fn a_failed_look_may_be_refused_and_a_failed_order_is_never_known() {
        let refused = |refusal| Outcome::<()>::Refused(refusal);
        let unknown = |doubt| Outcome::<()>::Unknown(doubt);
        for (fault, look, order) in [
            (Fault::Login, refused(Refusal::Credentials), unknown(Doubt::Unreachable)),
            (Fault::Permission, refused(Refusal::Privilege), unknown(Doubt::Internal)),
            (Fault::Late, unknown(Doubt::Timeout), unknown(Doubt::Timeout)),
            (Fault::Connection, unknown(Doubt::Unreachable), unknown(Doubt::Unreachable)),
            (Fault::Answer, unknown(Doubt::Internal), unknown(Doubt::Internal)),
        ] {
            assert_eq!((outcome(Call::Read, fault), outcome(Call::Change, fault)), (look, order), "{fault:?}");
        }
    }
}
