//! Questions and answers over UDP: send, wait, send again, until the answer or the deadline comes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::error::Error;

/// Longer than any RMCP+ packet of ours; what is longer is cut, and then its code does not fit.
const DATAGRAM_BYTES_MAX: usize = 1024;

/// Longest pause between two sendings of one question.
const RESEND_MAX: Duration = Duration::from_secs(4);

/// A socket that hears one BMC and nobody else.
#[derive(Debug)]
pub(super) struct Wire {
    socket: UdpSocket,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Error> {
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).await.map_err(Error::Network)?;
        socket.connect(address).await.map_err(Error::Network)?;
        Ok(Self { socket })
    }

    /// Asks until `read` finds the answer. Each sending is written anew, because each carries a sequence number of its
    /// own; the first pause is `resend_after`, and each further one is twice as long.
    pub(super) async fn ask<T>(
        &self,
        resend_after: Duration,
        until: Instant,
        mut write: impl FnMut() -> Vec<u8>,
        mut read: impl FnMut(&[u8]) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let mut pause = resend_after;
        while Instant::now() < until {
            self.socket.send(&write()).await.map_err(Error::Network)?;
            let resend_at = until.min(Instant::now() + pause);
            if let Some(answer) = self.hear(resend_at, &mut read).await? {
                return Ok(answer);
            }
            pause = RESEND_MAX.min(pause * 2);
        }
        Err(Error::Timeout)
    }

    /// Sends once, without waiting, and does not care whether it arrives.
    pub(super) fn tell(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.try_send(datagram)
    }

    /// The clock is read before each datagram, so a flood of them does not outlast the deadline.
    async fn hear<T>(
        &self,
        until: Instant,
        read: &mut impl FnMut(&[u8]) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        while Instant::now() < until {
            let Ok(received) = timeout_at(until, self.socket.recv(&mut buffer)).await else { break };
            let length = received.map_err(Error::Network)?;
            if let Some(answer) = read(&buffer[..length])? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }
}
