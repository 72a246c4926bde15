//! A UDP proxy before a BMC: it counts what passes, and spoils what comes back as the weather says.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use quorumfence_drivers::fencing::conformance::Weather;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Payload types of RMCP+, as the sixth byte of a datagram has them.
pub(crate) const OPEN_SESSION_REQUEST: u8 = 0x10;
pub(crate) const RAKP_1: u8 = 0x12;
pub(crate) const RAKP_3: u8 = 0x14;
pub(crate) const SEALED: u8 = 0xc0;

/// A session's answers come again, each right before the answer to the request that has its number again.
const REQUEST_NUMBERS: usize = 64;

/// A proxy whose tasks end with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    sky: Arc<Mutex<Sky>>,
    _tasks: JoinSet<()>,
}

struct Sky {
    weather: Weather,
    echo: bool,
    /// Datagrams towards the BMC, by payload type.
    requests: BTreeMap<u8, usize>,
    /// Answers since the weather changed.
    answers: usize,
}

/// What becomes of one answer.
enum Fate {
    Lost,
    Sent {
        times: usize,
    },
    Delayed(std::time::Duration),
    /// Kept until the next one was sent.
    Kept,
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("loopback has a free port"));
        let address = socket.local_addr().expect("a bound socket has an address");
        let sky =
            Arc::new(Mutex::new(Sky { weather: Weather::Clear, echo: false, requests: BTreeMap::new(), answers: 0 }));
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(socket, target, sky.clone()));
        Self { address, sky, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn weather(&self, weather: Weather) {
        let mut sky = self.sky.lock().expect("nobody panics with it");
        sky.weather = weather;
        sky.answers = 0;
    }

    /// Sends each answer of a session a second time, 64 answers later, from here on.
    pub(crate) fn echo(&self) {
        self.sky.lock().expect("nobody panics with it").echo = true;
    }

    /// Returns how many datagrams of a payload type went to the BMC.
    pub(crate) fn count(&self, payload: u8) -> usize {
        self.sky.lock().expect("nobody panics with it").requests.get(&payload).copied().unwrap_or(0)
    }
}

async fn forward(socket: Arc<UdpSocket>, target: SocketAddr, sky: Arc<Mutex<Sky>>) {
    let mut clients: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 2048];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.expect("loopback carries datagrams");
        let datagram = &buffer[..length];
        if let Some(payload) = datagram.get(5) {
            *sky.lock().expect("nobody panics with it").requests.entry(*payload).or_default() += 1;
        }
        let upstream = match clients.entry(client) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(stranger) => {
                let upstream = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("loopback has a free port"));
                upstream.connect(target).await.expect("loopback has a route");
                tasks.spawn(answer(upstream.clone(), socket.clone(), client, sky.clone()));
                stranger.insert(upstream)
            }
        };
        upstream.send(datagram).await.expect("the BMC listens");
    }
}

async fn answer(upstream: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, sky: Arc<Mutex<Sky>>) {
    let mut late = JoinSet::new();
    let mut kept: Option<Vec<u8>> = None;
    let mut past: VecDeque<Vec<u8>> = VecDeque::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = upstream.recv(&mut buffer).await {
        let datagram = buffer[..length].to_vec();
        let (fate, echo) = {
            let mut sky = sky.lock().expect("nobody panics with it");
            (fate(&mut sky), sky.echo)
        };
        if echo && datagram.get(5) == Some(&SEALED) {
            past.push_back(datagram.clone());
            if past.len() > REQUEST_NUMBERS {
                let again = past.pop_front().expect("it is not empty");
                deliver(&socket, &again, client).await;
            }
        }
        match fate {
            Fate::Lost => {}
            Fate::Kept => kept = Some(datagram),
            Fate::Delayed(time) => {
                let socket = socket.clone();
                late.spawn(async move {
                    sleep(time).await;
                    deliver(&socket, &datagram, client).await;
                });
            }
            Fate::Sent { times } => {
                for _ in 0..times {
                    deliver(&socket, &datagram, client).await;
                }
                if let Some(kept) = kept.take() {
                    deliver(&socket, &kept, client).await;
                }
            }
        }
    }
}

async fn deliver(socket: &UdpSocket, datagram: &[u8], client: SocketAddr) {
    socket.send_to(datagram, client).await.expect("loopback carries datagrams");
}

fn fate(sky: &mut Sky) -> Fate {
    sky.answers += 1;
    match sky.weather {
        Weather::Clear => Fate::Sent { times: 1 },
        Weather::Silent => Fate::Lost,
        Weather::Late(time) => Fate::Delayed(time),
        Weather::Doubled => Fate::Sent { times: 2 },
        Weather::Lossy if matches!(sky.answers % 7, 3 | 4) => Fate::Lost,
        Weather::Shuffled if !sky.answers.is_multiple_of(2) => Fate::Kept,
        Weather::Lossy | Weather::Shuffled => Fate::Sent { times: 1 },
    }
}
