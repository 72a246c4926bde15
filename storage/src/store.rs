//! The opened database behind its failure latch.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::kv::{Batch, Column, Kv, Pair, Range};

/// A handle to the opened database; clones share one failure latch.
///
/// The first failed write or sync stops it for good: a disk that failed once may have dropped what was promised, so
/// nothing is retried and nothing more is promised.
#[derive(Debug, Clone)]
pub struct Store<K> {
    kv: K,
    latch: Arc<Latch>,
}

#[derive(Debug)]
struct Latch {
    failed: OnceLock<String>,
    fatal: Fatal,
}

impl<K: Kv> Store<K> {
    pub(crate) fn new(kv: K, fatal: Fatal) -> Store<K> {
        Store { kv, latch: Arc::new(Latch { failed: OnceLock::new(), fatal }) }
    }

    pub(crate) fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.kv.get(column, key)
    }

    pub(crate) fn scan(&self, column: Column, range: &Range) -> Result<Vec<Pair>, Error> {
        self.kv.scan(column, range)
    }

    pub(crate) fn write(&self, batch: Batch) -> Result<(), Error> {
        self.refuse_if_stopped()?;
        self.kv.write(batch).map_err(|error| self.stop(error))
    }

    pub(crate) async fn sync(&self) -> Result<(), Error> {
        self.refuse_if_stopped()?;
        self.kv.sync().await.map_err(|error| self.stop(error))?;
        // Another sync may have failed while this one ran; what it lost may be ours.
        self.refuse_if_stopped()
    }

    fn refuse_if_stopped(&self) -> Result<(), Error> {
        match self.latch.failed.get() {
            Some(reason) => Err(Error::Stopped { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn stop(&self, error: Error) -> Error {
        let first = self.latch.failed.set(chain(&error)).is_ok();
        if first {
            (self.latch.fatal.0)(&error);
        }
        error
    }
}

/// What to do when the disk fails: production stops the process, tests and the simulator observe it.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&Error) + Send + Sync>);

impl Fatal {
    /// Returns a hook that is called once, with the first failure.
    pub fn new(hook: impl Fn(&Error) + Send + Sync + 'static) -> Fatal {
        Fatal(Arc::new(hook))
    }

    /// Returns the hook of production: it says why and aborts the process.
    ///
    /// Only a restart reads again what the disk really holds.
    pub fn abort() -> Fatal {
        Fatal::new(|error| {
            tracing::error!(
                reason = chain(error),
                "The disk failed. This replica cannot keep its promises, so the process stops. Check the disk, then \
                 start it again."
            );
            std::process::abort();
        })
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}

/// Returns the error and its causes as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
