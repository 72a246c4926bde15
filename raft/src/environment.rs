//! What a replica runs on: production wires the system, a simulation wires a seed.

use std::fmt::Debug;

use quorumfence_storage::{Kv, SnapshotFiles};

use crate::{Clock, Point, Runtime, Transport};

/// The outside of a replica. A marker type: nobody makes a value of it.
pub trait Environment: Debug + Send + Sync + 'static {
    /// Spawns tasks, sleeps and limits time.
    type Runtime: Runtime;
    /// The database.
    type Kv: Kv;
    /// The folder of snapshots.
    type Files: SnapshotFiles;
    /// Calls other replicas.
    type Transport: Transport;
    /// Tells the time.
    type Clock: Clock;

    /// Is passed at a stall point, and returns when whoever came by may go on: at once, unless a world holds it.
    fn pass(_point: Point) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}
