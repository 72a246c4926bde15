//! A host's hypervisor over a Unix socket: how an agent in a process of its own reaches the laboratory.
//!
//! A connection carries one question and its answer, a line of JSON each. The one that watches carries a line for each
//! change instead. Without a laboratory at the other end nothing is known: no answer is made up here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorumfence_machine::{Doubt, HostId, InstanceId, InstanceState, Outcome, Token};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Laboratory;
use crate::order::{Domain, Hypervisor, StartOrder};

/// No question and no answer is longer: a definition has some kilobytes, and a host some dozens of instances.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Questions about one host that are answered at once; an agent asks a few.
const CONNECTIONS_MAX: usize = 64;

/// Before a laboratory that went away is looked for again.
const AGAIN: Duration = Duration::from_millis(100);

/// The laboratory's hypervisor of one host, from outside the laboratory's process.
#[derive(Debug, Clone)]
pub struct RemoteHypervisor {
    socket: PathBuf,
    changes: Arc<Mutex<Option<BufReader<UnixStream>>>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Inventory { deadline_ms: u64 },
    Start { instance: InstanceId, definition: String, token: Token, deadline_ms: u64 },
    Stop { instance: InstanceId, deadline_ms: u64 },
    Watch,
}

/// [`Domain`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    instance: InstanceId,
    name: String,
    state: InstanceState,
    definition: String,
    ha_enabled: bool,
    priority: u16,
    memory_mib: u64,
}

impl RemoteHypervisor {
    /// Takes the place of the laboratory's socket.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn open(socket: &Path) -> io::Result<Self> {
        drop(std::os::unix::net::UnixStream::connect(socket)?);
        Ok(Self { socket: socket.into(), changes: Arc::default() })
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&self, question: &Question, deadline: Duration) -> Outcome<T> {
        let answered = async {
            let mut connection = self.send(question).await?;
            read_line::<Outcome<T>>(&mut connection).await
        };
        match timeout(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                tracing::warn!(socket = %self.socket.display(), %error, "the laboratory's hypervisor did not answer");
                Outcome::Unknown(Doubt::Unreachable)
            }
            Err(_) => Outcome::Unknown(Doubt::Timeout),
        }
    }

    async fn send(&self, question: &Question) -> io::Result<BufReader<UnixStream>> {
        let mut connection = UnixStream::connect(&self.socket).await?;
        write_line(&mut connection, question).await?;
        Ok(BufReader::new(connection))
    }
}

impl Hypervisor for RemoteHypervisor {
    async fn inventory(&self, deadline: Duration) -> Outcome<Vec<Domain>> {
        let rows = self.ask::<Vec<Row>>(&Question::Inventory { deadline_ms: millis(deadline) }, deadline).await;
        rows.map(|rows| rows.into_iter().map(Domain::from).collect())
    }

    async fn start(&self, order: StartOrder, deadline: Duration) -> Outcome<InstanceState> {
        let StartOrder { instance, definition, token } = order;
        let question = Question::Start { instance, definition, token, deadline_ms: millis(deadline) };
        self.ask(&question, deadline).await
    }

    async fn stop(&self, instance: InstanceId, deadline: Duration) -> Outcome<InstanceState> {
        self.ask(&Question::Stop { instance, deadline_ms: millis(deadline) }, deadline).await
    }

    async fn changed(&self) {
        let mut changes = self.changes.lock().await;
        loop {
            let Some(connection) = changes.as_mut() else {
                match self.send(&Question::Watch).await {
                    Ok(connection) => *changes = Some(connection),
                    Err(_) => sleep(AGAIN).await,
                }
                continue;
            };
            match read_line::<()>(connection).await {
                Ok(()) => return,
                Err(_) => *changes = None,
            }
        }
    }
}

/// Answers for the hypervisor of a host until dropped.
///
/// # Errors
///
/// The socket fails.
pub async fn serve(laboratory: Laboratory, host: HostId, socket: UnixListener) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = socket.accept().await?;
        while connections.len() >= CONNECTIONS_MAX {
            drop(connections.join_next().await);
        }
        while connections.try_join_next().is_some() {}
        let (laboratory, host) = (laboratory.clone(), host.clone());
        connections.spawn(async move {
            // An agent that went away needs no answer; what it ordered happens all the same.
            if let Err(error) = answer(&laboratory, &host, connection).await {
                tracing::debug!(%host, %error, "an agent left before its answer");
            }
        });
    }
}

async fn answer(laboratory: &Laboratory, host: &HostId, connection: UnixStream) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let question = read_line(&mut connection).await?;
    let mut connection = connection.into_inner();
    let hypervisor = laboratory.hypervisor(host);
    match question {
        Question::Inventory { deadline_ms } => {
            let domains = hypervisor.inventory(Duration::from_millis(deadline_ms)).await;
            let rows = domains.map(|domains| domains.into_iter().map(Row::from).collect::<Vec<_>>());
            write_line(&mut connection, &rows).await
        }
        Question::Start { instance, definition, token, deadline_ms } => {
            let order = StartOrder { instance, definition, token };
            let started = hypervisor.start(order, Duration::from_millis(deadline_ms)).await;
            write_line(&mut connection, &started).await
        }
        Question::Stop { instance, deadline_ms } => {
            let stopped = hypervisor.stop(instance, Duration::from_millis(deadline_ms)).await;
            write_line(&mut connection, &stopped).await
        }
        Question::Watch => loop {
            hypervisor.changed().await;
            write_line(&mut connection, &()).await?;
        },
    }
}

async fn read_line<T: for<'a> Deserialize<'a>>(connection: &mut BufReader<UnixStream>) -> io::Result<T> {
    let mut line = String::new();
    if connection.take(LINE_BYTES_MAX).read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&line).map_err(io::Error::other)
}

async fn write_line(connection: &mut UnixStream, said: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(said).map_err(io::Error::other)?;
    line.push(b'\n');
    connection.write_all(&line).await
}

fn millis(duration: Duration) -> u64 {
    super::millis(duration).0
}

impl From<Row> for Domain {
    fn from(row: Row) -> Self {
        let Row { instance, name, state, definition, ha_enabled, priority, memory_mib } = row;
        Self { instance, name, state, definition, ha_enabled, priority, memory_mib }
    }
}

impl From<Domain> for Row {
    fn from(domain: Domain) -> Self {
        let Domain { instance, name, state, definition, ha_enabled, priority, memory_mib } = domain;
        Self { instance, name, state, definition, ha_enabled, priority, memory_mib }
    }
}

#[cfg(test)]
mod tests;
