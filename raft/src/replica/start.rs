//! Opening a replica, and founding a group.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use openraft::errors::{InitializeError as Refused, RaftError};
use openraft::impls::BasicNode;
use quorumfence_machine::ControllerId;
use quorumfence_storage::{LogStore, Records, Snapshots};
use tokio::sync::watch;

use super::leadership::{ClusterClock, Leadership, Publisher};
use super::state_machine::StateMachine;
use super::{Inner, Replica, Setup};
use crate::codec::Codec;
use crate::network::Connections;
use crate::types::TypeConfig;
use crate::{Environment, InitializeError, OpenError, Runtime};

pub(super) async fn open<E: Environment>(setup: Setup<E>) -> Result<Replica<E>, OpenError> {
    let Setup { identity, expect, options, kv, files, transport, clock, fatal, witness } = setup;
    let config = Arc::new(options.config(&identity.cluster)?);
    let options = Arc::new(options);
    let store = quorumfence_storage::open(kv, &identity, expect, fatal).await?;
    let log = LogStore::<TypeConfig<E::Runtime>, E::Kv, Codec>::open(store.clone())?;
    let durable = log.durable();
    let machine = StateMachine::<E>::open(Records::new(store), Snapshots::new(files), witness).await?;
    let shared = machine.shared();
    let connections = Connections::<E> { transport: transport.clone(), options: Arc::clone(&options) };
    let raft = super::Raft::<E>::new(identity.node, config, connections, log, machine)
        .await
        .map_err(|error| OpenError::Start(error.to_string()))?;
    let cluster_clock = Arc::new(ClusterClock::new(clock.clone()));
    let (leadership, leadership_seen) = watch::channel(Leadership::default());
    let (ended, ended_seen) = watch::channel(None);
    let publisher = Publisher::<E::Runtime, E::Clock> {
        me: identity.node,
        metrics: raft.metrics(),
        options: Arc::clone(&options),
        shared: Arc::clone(&shared),
        cluster_clock: Arc::clone(&cluster_clock),
        leadership,
        ended,
    };
    let publisher = E::Runtime::spawn(publisher.run());
    let inner = Inner {
        me: ControllerId(identity.node),
        options,
        raft,
        durable,
        shared,
        transport,
        clock,
        cluster_clock,
        leadership: leadership_seen,
        ended: ended_seen,
        closing: AtomicBool::new(false),
        publisher: Mutex::new(Some(publisher)),
    };
    Ok(Replica { inner: Arc::new(inner) })
}

impl<E: Environment> Replica<E> {
    /// Founds a group of which this node is the only voter. The first proposal must then create the cluster.
    pub async fn initialize_first(&self, address: String) -> Result<(), InitializeError> {
        let members = BTreeMap::from([(self.inner.me.0, BasicNode { addr: address })]);
        match self.inner.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(Refused::NotAllowed(_) | Refused::NotInMembers(_))) => {
                Err(InitializeError::Initialized)
            }
            Err(RaftError::Fatal(fatal)) => Err(InitializeError::Stopped(fatal.to_string())),
        }
    }
}
