//! Looking at hosts over the network.
//!
//! Only an answer is evidence. Every failure, also one of this machine, is `Unknown`: it must not look like silence.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use quorumfence_machine::{Doubt, Outcome};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::environment::Probes;

/// As much of an HTTP answer as says that it is one.
const ANSWER_BYTES: usize = 7;

/// What an echo request carries, so that its answer is known again.
const PAYLOAD: [u8; 16] = *b"quorumfence ping";

/// Pings and health endpoints of the real network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkProbes;

impl Probes for NetworkProbes {
    async fn ping(&self, address: &str, deadline: Duration) -> Outcome<bool> {
        match timeout(deadline, ping(address, deadline)).await {
            Ok(Ok(())) => Outcome::Observed(true),
            Ok(Err(error)) => unanswered("ping", address, &error),
            Err(_) => Outcome::Unknown(Doubt::Timeout),
        }
    }

    async fn health(&self, endpoint: &str, deadline: Duration) -> Outcome<bool> {
        match timeout(deadline, ask(endpoint)).await {
            Ok(Ok(())) => Outcome::Observed(true),
            Ok(Err(error)) => unanswered("health", endpoint, &error),
            Err(_) => Outcome::Unknown(Doubt::Timeout),
        }
    }
}

fn unanswered(probe: &str, target: &str, error: &io::Error) -> Outcome<bool> {
    tracing::debug!(probe, target, %error, "no answer");
    Outcome::Unknown(Doubt::Unreachable)
}

async fn ping(address: &str, deadline: Duration) -> io::Result<()> {
    let target = tokio::net::lookup_host((address, 0)).await?.next();
    let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    match echo_socket(target.ip()) {
        Ok(socket) => echo(socket, target).await,
        // The kernel lets only some groups send echo requests (net.ipv4.ping_group_range); the program may.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => ping_program(target.ip(), deadline).await,
        Err(error) => Err(error),
    }
}

fn echo_socket(address: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
    // An echo socket is a datagram socket like UDP's: the kernel writes the checksum and passes only our answers.
    Ok(UdpSocket::from(socket))
}

async fn echo(socket: UdpSocket, target: SocketAddr) -> io::Result<()> {
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let (request, answer) = if target.is_ipv4() { (8, 0) } else { (128, 129) };
    let header = [request, 0, 0, 0, 0, 0, 0, 1];
    socket.send_to(&[&header[..], &PAYLOAD].concat(), target).await?;
    let mut received = [0; 64];
    loop {
        let (length, from) = socket.recv_from(&mut received).await?;
        let message = &received[..length];
        if from.ip() == target.ip() && message.first() == Some(&answer) && message.ends_with(&PAYLOAD) {
            return Ok(());
        }
    }
}

async fn ping_program(address: IpAddr, deadline: Duration) -> io::Result<()> {
    let seconds = deadline.as_secs_f64().max(0.1).to_string();
    let status = tokio::process::Command::new("ping")
        .args(["-n", "-q", "-c", "1", "-W", &seconds, &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await?;
    if status.success() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::TimedOut, "no echo")) }
}

/// Any HTTP answer counts, also one that tells of trouble: the question is whether the host lives.
async fn ask(endpoint: &str) -> io::Result<()> {
    let malformed =
        || io::Error::new(io::ErrorKind::InvalidInput, "an endpoint is http://host:port/path or tcp://host:port");
    if let Some(address) = endpoint.strip_prefix("tcp://") {
        return TcpStream::connect(address).await.map(|_| ());
    }
    let rest = endpoint.strip_prefix("http://").ok_or_else(malformed)?;
    let (address, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let target = if address.contains(':') { address.to_string() } else { format!("{address}:80") };
    let mut connection = TcpStream::connect(target).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut beginning = [0; ANSWER_BYTES];
    connection.read_exact(&mut beginning).await?;
    if beginning.starts_with(b"HTTP/1.") {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn answering(answer: &'static [u8]) -> (Outcome<bool>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}/healthz", listener.local_addr().expect("an address"));
        let serve = async {
            let (mut connection, _) = listener.accept().await.expect("the probe connects");
            let mut request = [0; 256];
            let length = connection.read(&mut request).await.expect("the probe asks");
            connection.write_all(answer).await.expect("the probe listens");
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        tokio::join!(NetworkProbes.health(&endpoint, PATIENCE), serve)
    }

    #[tokio::test]
    async fn any_http_answer_is_a_sign_of_life() {
        for answer in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"HTTP/1.0 503 Service Unavailable\r\n\r\n"] {
            let (outcome, request) = answering(answer).await;
            assert_eq!(outcome, Outcome::Observed(true));
            assert!(request.starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        }
    }

    #[tokio::test]
    async fn what_is_not_http_is_no_answer() {
        let (outcome, _) = answering(b"SSH-2.0-x\r\n").await;
        assert_eq!(outcome, Outcome::Unknown(Doubt::Unreachable));
    }

    #[tokio::test]
    async fn a_closed_port_and_a_wrong_endpoint_are_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        assert_eq!(NetworkProbes.health(&format!("tcp://{address}"), PATIENCE).await, Outcome::Observed(true));
        drop(listener);
        for endpoint in [format!("tcp://{address}"), format!("http://{address}/"), "ftp://x".into()] {
            let outcome = NetworkProbes.health(&endpoint, PATIENCE).await;
            assert_eq!(outcome, Outcome::Unknown(Doubt::Unreachable), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_health_endpoint_that_says_nothing_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let outcome = NetworkProbes.health(&endpoint, Duration::from_millis(50)).await;
        assert_eq!(outcome, Outcome::Unknown(Doubt::Timeout));
    }

    #[tokio::test]
    async fn this_machine_answers_a_ping() {
        assert_eq!(NetworkProbes.ping("127.0.0.1", PATIENCE).await, Outcome::Observed(true));
    }
}
