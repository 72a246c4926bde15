//! Consensus: openraft behind a facade, its network, and the replica around the machine.
//!
//! ```text
//!   propose, read, linearizable          Request from a peer
//!              |                                 |  Receiver (gRPC) or a simulation
//!          Replica ------------------------> handle
//!              |                                 |
//!           openraft  ---> Connections ---> Transport (Grpc or a simulation)
//!            |     |
//!      LogStore   StateMachine ---> machine::State in memory, its rows in Records, Snapshots
//! ```
//!
//! No other crate but the storage may name openraft. Nothing here may act on "I am the leader" alone: what counts is a
//! committed entry or a read index. Start at [`Replica`].

mod clock;
mod codec;
mod environment;
mod error;
mod membership;
mod network;
mod options;
mod point;
mod replica;
mod types;
mod wire;

pub use clock::{Clock, SystemClock};
pub use codec::CodecError;
pub use environment::Environment;
pub use error::{CallError, HandleError, InitializeError, MembershipError, OpenError, ProposeError, ReadError};
pub use network::{
    Credentials, CredentialsError, Grpc, Lane, Receiver, Request, Response, SNAPSHOT_BYTES_MAX, SnapshotTransfer,
    Transport, controller_in_certificate, raft_service,
};
pub use openraft_rt::AsyncRuntime as Runtime;
pub use openraft_rt_tokio::TokioRuntime;
pub use options::Options;
pub use point::{Point, UnknownPoint};
pub use quorumfence_storage::{Expect, Fatal, Folder, Identity, Kv, Rocks, SnapshotFiles};
pub use replica::{Follower, Leadership, Members, Passage, Replica, Said, Setup, Status, Witness};
pub use types::{Peer, Term};
