//! Hears the witnesses of all controllers.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorumfence_node::wiring::testimony::Line;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::record::Record;

/// Everybody who listens to controllers.
#[derive(Debug)]
pub(super) struct Ears {
    _accepting: JoinSet<()>,
    /// Connections that are open.
    open: Arc<AtomicU64>,
}

impl Ears {
    /// Whether every controller that ever spoke is dead and heard to its end.
    pub(super) fn heard_all(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }
}

/// Listens at a socket until dropped.
pub(super) fn listen(socket: &Path, record: &Record) -> io::Result<Ears> {
    let listener = UnixListener::bind(socket)?;
    let open = Arc::new(AtomicU64::new(0));
    let (record, count) = (record.clone(), Arc::clone(&open));
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    count.fetch_add(1, Ordering::SeqCst);
                    let (record, count) = (record.clone(), Arc::clone(&count));
                    connections.spawn(async move {
                        if let Err(error) = hear(connection, &record).await {
                            record.lose(format!("a line of a witness: {error}"));
                        }
                        count.fetch_sub(1, Ordering::SeqCst);
                    });
                }
                Err(error) => record.lose(format!("the connection of a witness: {error}")),
            }
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(Ears { _accepting: accepting, open })
}

async fn hear(connection: UnixStream, record: &Record) -> io::Result<()> {
    let mut lines = BufReader::new(connection);
    loop {
        let mut text = String::new();
        if lines.read_line(&mut text).await? == 0 {
            return Ok(());
        }
        // Killed in the middle of a line: whatever it was about, nobody can have seen an effect of it.
        let Some(line) = text.strip_suffix('\n') else { return Ok(()) };
        record.hear(serde_json::from_str::<Line>(line).map_err(io::Error::other)?);
    }
}
