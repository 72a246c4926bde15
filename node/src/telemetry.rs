//! Logs: one line per state change on standard error, in operators' words.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that asks for more or fewer lines, such as `quorumfence_drivers=debug`.
const FILTER_VARIABLE: &str = "QUORUMFENCE_LOG";

/// The libraries below tell their own inner life; an operator needs only what goes wrong there. Consensus warns at every
/// heartbeat that a stopped peer misses, which the loops here tell once.
const FILTER_DEFAULT: &str = "info,openraft=error,h2=warn,hyper=warn,tonic=warn,rustls=warn,tower=warn";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// For machines: one JSON object per line.
    Json,
}

/// Begins to write logs to standard error; a second call changes nothing.
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs were started before");
    }
}

/// Begins to write logs to a file; a second call changes nothing.
pub fn start_in(file: std::fs::File) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    if lines.with_writer(std::sync::Mutex::new(file)).try_init().is_err() {
        tracing::debug!("logs were started before");
    }
}
