//! A group of replicas, each with its own port, folder and certificate.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use quorumfence_machine::{
    Actor, Change, ClusterId, ControllerId, Digest, LogIndex, RequestId, Segment, SegmentId, Settings,
};
use quorumfence_raft::{
    CallError, Credentials, Environment, Expect, Fatal, Folder, Grpc, Identity, Lane, Options, Peer, Replica, Request,
    Response, Rocks, Setup, SystemClock, TokioRuntime, Transport, Witness, raft_service,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Server, ServerTlsConfig};

use crate::certificates::Authority;
use crate::witness::Heard;

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Production;

impl Environment for Production {
    type Runtime = TokioRuntime;
    type Kv = Rocks;
    type Files = Folder;
    type Transport = Lossy;
    type Clock = SystemClock;
}

/// Carries every request but those that its faults say.
#[derive(Clone)]
pub(crate) struct Lossy {
    inner: Grpc,
    faults: Arc<Faults>,
}

#[derive(Default)]
pub(crate) struct Faults {
    /// Answers to the next proposals that get lost.
    pub(crate) answers_to_lose: AtomicU32,
    /// The node that log entries and heartbeats do not reach; 0 for none.
    pub(crate) appends_lost_to: AtomicU64,
}

impl Lossy {
    pub(crate) fn faithful(inner: Grpc) -> Self {
        Self { inner, faults: Arc::default() }
    }
}

impl Transport for Lossy {
    async fn call(&self, peer: &Peer, lane: Lane, request: Request, deadline: Duration) -> Result<Response, CallError> {
        let cut = self.faults.appends_lost_to.load(Ordering::SeqCst) == peer.id.0;
        if cut && matches!(request, Request::AppendEntries(_)) {
            return Err(CallError::TimedOut);
        }
        let response = self.inner.call(peer, lane, request, deadline).await?;
        let lose = |left: u32| left.checked_sub(1);
        if matches!(response, Response::Propose(_))
            && self.faults.answers_to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok()
        {
            return Err(CallError::TimedOut);
        }
        Ok(response)
    }
}

pub(crate) type Member = Replica<Production>;

pub(crate) struct Running {
    pub(crate) replica: Member,
    /// What goes wrong with the calls of this node.
    pub(crate) faults: Arc<Faults>,
    /// What its witness heard since its start.
    pub(crate) heard: Arc<Heard>,
    stop: oneshot::Sender<()>,
    server: JoinSet<()>,
}

pub(crate) struct Group {
    pub(crate) authority: Authority,
    pub(crate) options: Options,
    folder: TempDir,
    addresses: BTreeMap<u64, SocketAddr>,
    pub(crate) running: BTreeMap<u64, Running>,
}

impl Group {
    /// Founds a group of this many voters, with a cluster in its log.
    pub(crate) async fn found(size: u64) -> Self {
        Self::found_with(size, Options::fast()).await
    }

    pub(crate) async fn found_with(size: u64, options: Options) -> Self {
        let mut group = Self::empty(options);
        group.start(1, Expect::New).await;
        let address = group.peer(1).address;
        group.replica(1).initialize_first(address.clone()).await.unwrap();
        let create = Change::ClusterCreate {
            cluster: ClusterId([7; 16]),
            name: "test".into(),
            address,
            settings: Settings::default(),
        };
        group.replica(1).propose(operator(), None, create).await.unwrap();
        for id in 2..=size {
            group.join(id).await;
        }
        group
    }

    /// Returns the transport of a stranger with this certificate.
    pub(crate) fn client(&self, name: &str) -> Grpc {
        Grpc::new(&self.authority.issue(&[name])).unwrap()
    }

    pub(crate) fn empty(options: Options) -> Self {
        let folder = TempDir::new().unwrap();
        let (addresses, running) = (BTreeMap::new(), BTreeMap::new());
        Self { authority: Authority::new(), options, folder, addresses, running }
    }

    /// Starts a node and makes it a voter.
    pub(crate) async fn join(&mut self, id: u64) {
        self.start(id, Expect::New).await;
        let peer = self.peer(id);
        eventually("the learner is added", || async { self.leader().await.add_learner(peer.clone()).await.is_ok() })
            .await;
        eventually("the learner is promoted", || async { self.leader().await.promote(ControllerId(id)).await.is_ok() })
            .await;
    }

    /// Starts a node on its folder, with its own certificate.
    pub(crate) async fn start(&mut self, id: u64, expect: Expect) {
        let credentials = self.authority.issue(&[&format!("controller-{id}")]);
        self.start_as(id, expect, &credentials).await;
    }

    pub(crate) async fn start_as(&mut self, id: u64, expect: Expect, credentials: &Credentials) {
        let listener = self.listen(id).await;
        let transport = Lossy::faithful(Grpc::new(credentials).unwrap());
        let faults = Arc::clone(&transport.faults);
        let heard = Arc::new(Heard::default());
        let replica = Replica::<Production>::open(Setup {
            identity: Identity { cluster: "test".into(), node: id },
            expect,
            options: self.options.clone(),
            kv: open_database(&self.path(id).join("db")).await,
            files: Folder::open(&self.path(id).join("snapshots")).unwrap(),
            transport,
            clock: SystemClock,
            fatal: Fatal::new(|error| panic!("the disk failed: {error}")),
            witness: Some(Arc::clone(&heard) as Arc<dyn Witness>),
        })
        .await
        .unwrap();
        let (stop, stopped) = oneshot::channel();
        let router = server(credentials, &self.authority).add_service(raft_service(replica.clone()));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped).await.unwrap();
        });
        self.running.insert(id, Running { replica, faults, heard, stop, server });
    }

    /// Stops a node in order and lets go of its database.
    pub(crate) async fn stop(&mut self, id: u64) {
        let Running { replica, stop, mut server, .. } = self.running.remove(&id).unwrap();
        replica.shutdown().await;
        drop(replica);
        stop.send(()).unwrap();
        tokio::time::timeout(DEADLINE, server.join_next()).await.unwrap().unwrap().unwrap();
    }

    pub(crate) fn replica(&self, id: u64) -> &Member {
        &self.running[&id].replica
    }

    pub(crate) fn peer(&self, id: u64) -> Peer {
        Peer { id: ControllerId(id), address: self.addresses[&id].to_string() }
    }

    pub(crate) fn path(&self, id: u64) -> PathBuf {
        let path = self.folder.path().join(id.to_string());
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Waits until a running node leads with a quorum.
    pub(crate) async fn leader(&self) -> &Member {
        let leads = |running: &&Running| running.replica.leadership().borrow().lead_term.is_some();
        &eventually_some("somebody leads", || async { self.running.values().find(leads) }).await.replica
    }

    /// Waits until somebody leads and everybody running knows who.
    pub(crate) async fn agreed_leader(&self) -> u64 {
        eventually_some("everybody knows the leader", || async { self.agreement() }).await
    }

    /// Waits for agreement on a leader and returns it with one of the others.
    pub(crate) async fn leader_and_follower(&self) -> (u64, u64) {
        let leader = self.agreed_leader().await;
        (leader, self.running.keys().copied().find(|id| *id != leader).unwrap())
    }

    fn agreement(&self) -> Option<u64> {
        let mut leaders = self.running.values().map(|running| running.replica.leadership().borrow().leader.clone());
        let first = leaders.next()??;
        let leads = self.running.get(&first.id.0)?.replica.leadership().borrow().lead_term.is_some();
        (leads && leaders.all(|other| other.as_ref() == Some(&first))).then_some(first.id.0)
    }

    /// Waits until every running node has applied this entry, and returns their equal digest.
    pub(crate) async fn digest_at(&self, at: LogIndex) -> Digest {
        let target = eventually_some("one node has the entry", || async {
            self.running.values().map(|running| *running.replica.applied().borrow()).max().filter(|max| *max >= at)
        })
        .await;
        for running in self.running.values() {
            let mut applied = running.replica.applied();
            tokio::time::timeout(DEADLINE, applied.wait_for(|applied| *applied >= target)).await.unwrap().unwrap();
        }
        let digests: Vec<Digest> =
            self.running.values().map(|running| running.replica.read(|state| state.digest())).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "replicas differ: {digests:?}");
        digests[0]
    }

    async fn listen(&mut self, id: u64) -> TcpListener {
        let Some(address) = self.addresses.get(&id) else {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            self.addresses.insert(id, listener.local_addr().unwrap());
            return listener;
        };
        eventually_some("the port is free again", || async { TcpListener::bind(address).await.ok() }).await
    }
}

/// The folder is free once the last task of the earlier replica is gone.
async fn open_database(path: &Path) -> Rocks {
    eventually_some("the database is free", || async { Rocks::open(path).ok() }).await
}

pub(crate) fn server(credentials: &Credentials, authority: &Authority) -> Server {
    let identity = tonic::transport::Identity::from_pem(&credentials.certificate_pem, &credentials.key_pem);
    let tls = ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(Certificate::from_pem(authority.ca_pem()))
        .client_auth_optional(true);
    Server::builder().tls_config(tls).unwrap()
}

pub(crate) fn operator() -> Actor {
    Actor::Operator("tester".into())
}

/// Creates a segment: a change whose presence can be looked up.
pub(crate) async fn create(member: &Member, name: &str) -> LogIndex {
    let request = RequestId(request_bytes(name));
    let segment = Segment { id: name.parse().unwrap(), ..Segment::default() };
    member.propose(operator(), Some(request), Change::SegmentCreate { segment }).await.unwrap().0
}

pub(crate) fn segments(member: &Member) -> Vec<String> {
    member.read(|state| state.segments().map(|segment| segment.id.to_string()).collect())
}

pub(crate) fn has_segment(member: &Member, name: &str) -> bool {
    let id: SegmentId = name.parse().unwrap();
    member.read(|state| state.segment(&id).is_some())
}

fn request_bytes(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    eventually_some(what, || async { condition().await.then_some(()) }).await;
}

pub(crate) async fn eventually_some<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// Loops in the node and in the simulator spawn these calls; this compiles only while they can.
#[expect(dead_code, reason = "compiling it is the test")]
fn calls_can_be_spawned<E: Environment>(replica: &Replica<E>, setup: Setup<E>, change: Change, request: Request) {
    fn spawned<T: Send>(_call: T) {}
    spawned(Replica::open(setup));
    spawned(replica.propose(operator(), None, change));
    spawned(replica.linearizable());
    spawned(replica.add_learner(Peer { id: ControllerId(1), address: String::new() }));
    spawned(replica.promote(ControllerId(1)));
    spawned(replica.hand_over(None));
    spawned(replica.handle(ControllerId(1), request));
    spawned(replica.wait_for_fatal());
    spawned(replica.shutdown());
}
