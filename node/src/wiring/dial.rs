//! Opening a connection to a controller.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// A connection that is silent for this long is asked whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// A connection that does not answer in this time is given up.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// No connection was made: nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotConnected(Box<dyn std::error::Error + Send + Sync>);

/// Opens a connection to `host:port` within `limit`.
///
/// A failure is `Unavailable` with [`NotConnected`] as its source.
pub async fn connect(address: &str, tls: ClientTlsConfig, limit: Duration) -> Result<Channel, Status> {
    let endpoint = Endpoint::from_shared(format!("https://{address}"))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(unreachable)?
        .connect_timeout(limit)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match timeout(limit, endpoint.connect()).await {
        Ok(connected) => connected.map_err(unreachable),
        Err(_) => Err(unreachable(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time"))),
    }
}

pub(crate) fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> Status {
    let mut status = Status::unavailable("it cannot be reached");
    status.set_source(Arc::new(NotConnected(Box::new(error))));
    status
}
