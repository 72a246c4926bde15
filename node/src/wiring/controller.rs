//! A running controller: its files, database, loops and gRPC port put together.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorumfence_drivers::secret::ClusterKey;
use quorumfence_machine::{Actor, Change, Rejected, RequestId};
use quorumfence_raft::{
    Credentials, CredentialsError, Expect, Fatal, Folder, Grpc, Identity, InitializeError, OpenError, ProposeError,
    Replica, Rocks, Setup, SystemClock, TokioRuntime, Witness,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::testimony::Testimony;
use super::{NetworkProbes, Production, SealedDevices, stalls, told_to_stop};
use crate::api::{Node, grpc};
use crate::cluster::directory::{self, ControllerDescription, ControllerDirectory};
use crate::cluster::identity;
use crate::config;
use crate::controller::{self, Controller};
use crate::environment::Environment;

/// Marks that this node's database was made: from then on an empty one is an error, not a beginning.
const OPENED: &str = "opened";

/// The database and the snapshots, below the directory's store.
const DATABASE: &str = "rocksdb";
const SNAPSHOTS: &str = "snapshots";

/// Streams that are open when this controller stops get this long to end.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// Handing leadership over before a stop may take this long; without it the others need an election.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);

/// A connection that is silent for this long is asked whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// A connection that does not answer in this time is cut.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often founding the cluster is proposed before the start fails; each try waits for the leader by itself.
const FOUNDING_TRIES: u32 = 5;

/// Why a controller did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory is unusable.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// Its own key or certificate is unusable.
    #[error("this controller's certificate cannot be used")]
    Credentials(#[from] CredentialsError),
    /// A file of its store cannot be made or read.
    #[error("cannot use {}", path.display())]
    Store {
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The replica cannot be opened.
    #[error("this controller's replica cannot be opened; another process may use it, or it needs a repair")]
    Replica(#[source] OpenError),
    /// The laboratory's witness is not there.
    #[error(
        "no laboratory listens at {}, and this controller may not run unseen; start the laboratory first", socket.display()
    )]
    NoLaboratory {
        /// The witness's socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The port cannot be taken.
    #[error("cannot listen on {address}; another process may use it, or the address is not this machine's")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The gRPC server cannot run.
    #[error("the gRPC server failed")]
    Server(#[source] tonic::transport::Error),
    /// The first start could not found the cluster.
    #[error("the cluster could not be founded; start this controller again, it goes on from here")]
    Found(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The replica stopped by itself.
    #[error(
        "this controller's replica stopped, so it takes no part any more: {0}; look at the disk and the log lines above, then start it again"
    )]
    Fatal(String),
    /// Signals cannot be received.
    #[error("signals cannot be received, so nobody could stop this controller in order")]
    Signals(#[source] std::io::Error),
}

/// What a controller of this program runs on, whatever makes its drivers.
pub trait Wired:
    Environment<Probes = NetworkProbes>
    + quorumfence_raft::Environment<
        Runtime = TokioRuntime,
        Kv = Rocks,
        Files = Folder,
        Transport = Grpc,
        Clock = SystemClock,
    >
{
}

impl<E> Wired for E where
    E: Environment<Probes = NetworkProbes>
        + quorumfence_raft::Environment<
            Runtime = TokioRuntime,
            Kv = Rocks,
            Files = Folder,
            Transport = Grpc,
            Clock = SystemClock,
        >
{
}

/// A controller that runs.
#[derive(Debug)]
pub struct Running<E: Wired = Production> {
    node: Arc<Node<E>>,
    replica: Replica<E>,
    server: JoinSet<Result<(), tonic::transport::Error>>,
    closing: watch::Sender<bool>,
    /// Tells a laboratory of off orders.
    _testimony: JoinSet<()>,
}

/// Starts the controller that a configuration describes. Must be called inside tokio.
pub async fn start(config: &config::Controller) -> Result<Running, Error> {
    start_with(config, SealedDevices::new).await
}

/// Starts a controller whose drivers are made by what `devices` makes of the cluster key.
pub(crate) async fn start_with<E: Wired>(
    config: &config::Controller,
    devices: impl FnOnce(ClusterKey) -> E::Devices,
) -> Result<Running<E>, Error> {
    crate::cluster::install_crypto();
    let directory = ControllerDirectory::open(&config.data_dir)?;
    let description = directory.description()?;
    let identity = directory.identity()?;
    let cluster_key = directory.cluster_key()?;
    let authority = directory.authority()?;
    let unusable = |source| Error::Listen { address: config.listen.clone(), source };
    let listener = TcpListener::bind(&config.listen).await.map_err(unusable)?;
    let testimony = config.laboratory_socket.as_ref().map(|socket| {
        let opened = Testimony::open(description.controller, socket);
        opened.map_err(|source| Error::NoLaboratory { socket: socket.clone(), source })
    });
    let testimony = testimony.transpose()?;
    if config.laboratory {
        stalls::obey(&config.data_dir);
    }
    let witness = testimony.clone().map(|testimony| testimony as Arc<dyn Witness>);
    let replica = open(config, &directory, &identity, &description, witness).await?;
    let devices = devices(cluster_key.clone());
    let setup = controller::Setup {
        replica: replica.clone(),
        devices: devices.clone(),
        probes: NetworkProbes,
        clock: SystemClock,
    };
    let node = Arc::new(Node {
        controller: Controller::start(setup),
        devices,
        clock: SystemClock,
        authority,
        cluster_key,
        description,
        laboratory: config.laboratory,
    });
    let (closing, closed) = watch::channel(false);
    let server = serve(&node, &identity, listener, closed)?;
    let mut testifying = JoinSet::new();
    if let Some(testimony) = testimony {
        testimony.runs(*replica.applied().borrow());
        testifying.spawn(testimony.follow_orders(node.controller.clone()));
    }
    let running = Running { node, replica, server, closing, _testimony: testifying };
    tracing::info!(controller = %running.replica.id(), cluster = running.node.description.cluster_name,
        listen = config.listen, "controller runs");
    if config.laboratory {
        let warning = "laboratory = true: whoever can write to 'stalls' in its directory holds this controller at any step, \
                       and agents of simulated hosts are let in; take it out where real hosts are fenced";
        tracing::warn!(directory = %config.data_dir.display(), "{warning}");
    }
    if directory.bootstrap_is_due() {
        running.found(config).await?;
        directory.bootstrap_is_done()?;
    }
    Ok(running)
}

async fn open<E: Wired>(
    config: &config::Controller,
    directory: &ControllerDirectory,
    identity: &identity::Identity,
    description: &ControllerDescription,
    witness: Option<Arc<dyn Witness>>,
) -> Result<Replica<E>, Error> {
    let store = directory.store();
    let unusable = |path: &Path| {
        let path = path.to_path_buf();
        move |source: Box<dyn std::error::Error + Send + Sync>| Error::Store { path, source }
    };
    std::fs::create_dir_all(&store).map_err(|error| unusable(&store)(error.into()))?;
    let opened = config.data_dir.join(OPENED);
    let credentials = Credentials {
        ca_pem: identity.authority_pem().into(),
        certificate_pem: identity.certificate_pem().into(),
        key_pem: identity.key_pem().expose().into(),
    };
    let setup = Setup {
        identity: Identity { cluster: description.cluster.to_string(), node: description.controller.0 },
        expect: if opened.exists() { Expect::Existing } else { Expect::New },
        options: config.raft(),
        kv: Rocks::open(&store.join(DATABASE)).map_err(|error| unusable(&store)(error.into()))?,
        files: Folder::open(&store.join(SNAPSHOTS)).map_err(|error| unusable(&store)(error.into()))?,
        transport: Grpc::new(&credentials)?,
        clock: SystemClock,
        fatal: Fatal::abort(),
        witness,
    };
    let replica = Replica::open(setup).await.map_err(Error::Replica)?;
    mark(&opened).map_err(|error| unusable(&opened)(error.into()))?;
    Ok(replica)
}

/// Writes an empty file that survives a power cut.
fn mark(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)?.sync_all()?;
    let parent = path.parent().expect("the marker lies in the data directory");
    std::fs::File::open(parent)?.sync_all()
}

fn serve<E: Wired>(
    node: &Arc<Node<E>>,
    identity: &identity::Identity,
    listener: TcpListener,
    mut closed: watch::Receiver<bool>,
) -> Result<JoinSet<Result<(), tonic::transport::Error>>, Error> {
    let router = Server::builder()
        .tls_config(identity.server_tls())
        .map_err(Error::Server)?
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_routes(grpc::routes(node));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = JoinSet::new();
    server.spawn(router.serve_with_incoming_shutdown(incoming, async move {
        if closed.wait_for(|closed| *closed).await.is_err() {
            tracing::debug!("the controller was dropped");
        }
    }));
    Ok(server)
}

impl<E: Wired> Running<E> {
    /// Returns the controller's loops and replica.
    pub fn controller(&self) -> &Controller<E> {
        &self.node.controller
    }

    /// Waits until the process is told to stop, and stops in order; or until the controller fails.
    pub async fn until_stopped(mut self) -> Result<(), Error> {
        let ended = tokio::select! {
            told = told_to_stop() => told.map_err(Error::Signals),
            why = self.replica.wait_for_fatal() => Err(Error::Fatal(why)),
            served = self.server.join_next() => Err(match served {
                Some(Ok(Err(error))) => Error::Server(error),
                Some(Ok(Ok(())) | Err(_)) | None => Error::Fatal("its gRPC server ended".into()),
            }),
        };
        self.shutdown().await;
        ended
    }

    /// Stops in order: leadership goes first, so that the others need no election.
    pub async fn shutdown(mut self) {
        tracing::info!(controller = %self.replica.id(), "controller stops");
        let status = self.replica.status();
        if status.leads && status.voters.len() > 1 {
            match timeout(HAND_OVER_LIMIT, self.replica.hand_over(None)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "leadership was not handed over; the others elect a leader"),
                Err(_) => tracing::warn!("leadership was not handed over in time; the others elect a leader"),
            }
        }
        self.node.controller.shutdown().await;
        self.closing.send_replace(true);
        if timeout(DRAIN_LIMIT, self.server.join_next()).await.is_err() {
            self.server.shutdown().await;
        }
        self.replica.shutdown().await;
    }

    /// Initialises the log of a cluster that this controller founds. May be cut and repeated.
    async fn found(&self, config: &config::Controller) -> Result<(), Error> {
        match self.replica.initialize_first(config.advertise.clone()).await {
            Ok(()) | Err(InitializeError::Initialized) => {}
            Err(error @ InitializeError::Stopped(_)) => return Err(Error::Found(error.into())),
        }
        let description = &self.node.description;
        let change = Change::ClusterCreate {
            cluster: description.cluster,
            name: description.cluster_name.clone(),
            address: config.advertise.clone(),
            settings: config.raft_profile.settings(),
        };
        let by = Actor::Controller(self.replica.id());
        // A log is founded once, so the cluster's own name serves for the request's.
        let request = Some(RequestId(description.cluster.0));
        let mut tries = 1;
        loop {
            match self.replica.propose(by.clone(), request, change.clone()).await {
                Ok(_) | Err(ProposeError::Rejected(Rejected::ClusterExists)) => return Ok(()),
                Err(ProposeError::NotLeader(_) | ProposeError::Unknown(_)) if tries < FOUNDING_TRIES => tries += 1,
                Err(error) => return Err(Error::Found(error.into())),
            }
        }
    }
}
