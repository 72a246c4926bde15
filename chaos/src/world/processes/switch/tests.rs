//! On real devices in namespaces that each test makes, so as root.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use super::forward::now;
use super::*;
use crate::chance::Chance;
use std::net::UdpSocket;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);

struct Net {
    switch: Switch,
    namespaces: Vec<Namespace>,
    ports: Vec<Port>,
    sockets: Vec<UdpSocket>,
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(number + 1).unwrap())
}

fn place(number: usize) -> SocketAddr {
    (address(number), 7).into()
}

/// Builds a network whose members have heard each other.
fn net(seed: u64, count: usize) -> Net {
    let switch = Switch::new(seed).unwrap();
    let (mut namespaces, mut ports, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let namespace = Namespace::new().expect("making a namespace is root's right");
        let device = Device { name: "eth0", address: address(number), prefix_length: 24 };
        ports.push(switch.attach(&namespace, &device).unwrap());
        let socket = namespace.run(|| UdpSocket::bind(place(number)).unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        sockets.push(socket);
        namespaces.push(namespace);
    }
    let net = Net { switch, namespaces, ports, sockets };
    for from in 0..count {
        for to in (0..count).filter(|to| *to != from) {
            net.round_trip(from, to);
        }
    }
    net
}

impl Net {
    fn send(&self, from: usize, to: usize, number: u32) {
        self.sockets[from].send_to(&number.to_be_bytes(), place(to)).unwrap();
    }

    fn receive(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.sockets[at].recv_from(&mut bytes).unwrap();
        u32::from_be_bytes(bytes)
    }

    fn round_trip(&self, from: usize, to: usize) -> Duration {
        let began = now();
        self.send(from, to, 1);
        assert_eq!(self.receive(to), 1);
        self.send(to, from, 2);
        assert_eq!(self.receive(from), 2);
        now() - began
    }

    /// Returns the shortest of ten round trips.
    fn quickest_round_trip(&self, from: usize, to: usize) -> Duration {
        (0..10).map(|_| self.round_trip(from, to)).min().unwrap()
    }

    fn counts(&self, from: usize, to: usize) -> Counts {
        self.switch.counts(self.ports[from], self.ports[to])
    }

    /// Returns every number that has arrived and was not received yet.
    fn drain(&self, at: usize) -> Vec<u32> {
        self.sockets[at].set_nonblocking(true).unwrap();
        let mut bytes = [0; 4];
        let mut numbers = Vec::new();
        loop {
            match self.sockets[at].recv_from(&mut bytes) {
                Ok(_) => numbers.push(u32::from_be_bytes(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.sockets[at].set_nonblocking(false).unwrap();
        numbers
    }

    /// Sends so many numbers, and returns those that arrive and what the line counted meanwhile.
    fn send_many(&self, from: usize, to: usize, count: u32) -> (Vec<u32>, Counts) {
        let before = self.counts(from, to);
        let mut received = Vec::new();
        for number in 0..count {
            self.send(from, to, number);
            // What waits must fit into the line and into the socket at its end.
            if number % 50 == 49 || number + 1 == count {
                wait_until("the line is quiet", || {
                    let counts = self.counts(from, to);
                    let ended = counts.delivered + counts.lost + counts.overflowed + counts.cut;
                    counts.sent - before.sent > u64::from(number) && ended == counts.sent + counts.duplicated
                });
                received.extend(self.drain(to));
            }
        }
        let after = self.counts(from, to);
        let counts = Counts {
            sent: after.sent - before.sent,
            delivered: after.delivered - before.delivered,
            lost: after.lost - before.lost,
            duplicated: after.duplicated - before.duplicated,
            held: after.held - before.held,
            corrupted: after.corrupted - before.corrupted,
            cut: after.cut - before.cut,
            overflowed: after.overflowed - before.overflowed,
        };
        (received, counts)
    }

    /// Carries so many bytes over TCP, and returns how long that took.
    fn carry(&self, from: usize, to: usize, length: usize) -> Duration {
        let listener = self.namespaces[to].run(|| TcpListener::bind((address(to), 0)).unwrap()).unwrap();
        let place = listener.local_addr().unwrap();
        let mut chance = Chance::new(1, "payload");
        let payload: Vec<u8> = (0..length).map(|_| chance.draw().to_le_bytes()[0]).collect();
        let began = now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = self.namespaces[from].run(|| TcpStream::connect(place).unwrap()).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(&payload).unwrap();
            });
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            assert!(received == payload, "the bytes arrive as they were sent");
        });
        now() - began
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = now();
    while !holds() {
        assert!(now() - began < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Returns the names of the devices in a namespace.
fn devices(namespace: &Namespace) -> Vec<String> {
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

#[test]
fn udp_and_tcp_reach_every_other_namespace() {
    let net = net(1, 3);
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            net.round_trip(from, to);
            net.carry(from, to, 300_000);
        }
    }
    let counts = net.switch.counts_of_all();
    assert_eq!((counts.lost, counts.duplicated, counts.cut, counts.overflowed), (0, 0, 0, 0), "{counts:?}");
    assert!(net.counts(0, 1).delivered > net.counts(0, 1).sent / 2, "{counts:?}");
}

#[test]
fn a_line_is_cut_in_one_direction_until_it_is_joined() {
    let net = net(1, 2);
    let [a, b] = net.ports[..] else { panic!("two ports") };
    net.switch.cut(a, b);
    net.send(0, 1, 1);
    wait_until("the frame is lost", || net.counts(0, 1).cut == 1);
    net.send(1, 0, 2);
    assert_eq!(net.receive(0), 2);
    assert_eq!(net.drain(1), [0_u32; 0]);
    assert_eq!(net.counts(1, 0).cut, 0);
    net.switch.join(a, b);
    net.round_trip(0, 1);
}

#[test]
fn a_cut_loses_what_is_under_way() {
    let net = net(1, 2);
    net.switch.set_weather(Weather { delay: 200 * MS, ..Weather::FAIR });
    let sent = net.counts(0, 1).sent;
    net.send(0, 1, 1);
    wait_until("the frame has left", || net.counts(0, 1).sent > sent);
    net.switch.cut(net.ports[0], net.ports[1]);
    wait_until("the frame is lost", || net.counts(0, 1).cut == 1);
    assert_eq!(net.drain(1), [0_u32; 0]);
}

#[test]
fn an_isolated_port_hears_nothing_and_is_not_heard() {
    let net = net(1, 3);
    net.switch.isolate(net.ports[0]);
    net.send(0, 1, 1);
    net.send(2, 0, 2);
    wait_until("both are lost", || net.counts(0, 1).cut == 1 && net.counts(2, 0).cut == 1);
    assert_eq!((net.drain(0), net.drain(1)), (vec![], vec![]));
    net.round_trip(1, 2);
    net.switch.rejoin(net.ports[0]);
    net.round_trip(0, 1);
}

#[test]
fn delay_is_at_least_what_was_asked_for() {
    let net = net(1, 3);
    let before = net.quickest_round_trip(0, 1);
    net.switch.set_weather(Weather { delay: 30 * MS, jitter_max: 10 * MS, ..Weather::FAIR });
    let after = net.quickest_round_trip(0, 1);
    assert!(after >= 60 * MS, "{after:?}");
    assert!(after > 4 * before, "{after:?} with delay, {before:?} without");

    let slow = Weather { delay: 100 * MS, ..Weather::FAIR };
    net.switch.set_weather(Weather::FAIR);
    net.switch.set_line_weather(net.ports[0], net.ports[1], Some(slow));
    assert!(net.quickest_round_trip(0, 1) >= 100 * MS, "one direction is slow");
    let elsewhere = net.quickest_round_trip(1, 2);
    assert!(elsewhere < 50 * MS, "the others are not: {elsewhere:?}");
    net.switch.heal();
    let healed = net.quickest_round_trip(0, 1);
    assert!(healed < 50 * MS, "{healed:?}");
}

#[test]
fn loss_and_doubles_are_as_often_as_was_asked_for() {
    let net = net(1, 2);
    net.switch.set_weather(Weather { loss_percent: 20, duplicate_percent: 10, ..Weather::FAIR });
    let (received, counts) = net.send_many(0, 1, 2000);
    let mut times: BTreeMap<u32, u32> = BTreeMap::new();
    for number in &received {
        *times.entry(*number).or_default() += 1;
    }
    let doubled = u64::try_from(times.values().filter(|times| **times == 2).count()).unwrap();
    let arrived = u64::try_from(times.len()).unwrap();
    assert!((320..480).contains(&(2000 - arrived)), "{arrived} arrived");
    assert!((110..210).contains(&doubled), "{doubled} doubled");
    assert_eq!((arrived, doubled), (counts.sent - counts.lost, counts.duplicated), "{counts:?}");
    assert_eq!(counts.sent, 2000, "nothing else was on the line");
}

#[test]
fn frames_that_are_held_are_overtaken_and_none_is_missing() {
    let net = net(1, 2);
    net.switch.set_weather(Weather { reorder_percent: 20, ..Weather::FAIR });
    let (mut received, counts) = net.send_many(0, 1, 500);
    let overtaken = received.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(overtaken > 20, "{overtaken} of {counts:?}");
    received.sort_unstable();
    assert!(received.into_iter().eq(0..500));
}

#[test]
fn a_flipped_bit_is_caught_by_a_checksum() {
    let net = net(1, 2);
    net.switch.set_weather(Weather { corrupt_percent: 30, ..Weather::FAIR });
    let (received, counts) = net.send_many(0, 1, 300);
    assert!((60..120).contains(&counts.corrupted), "{counts:?}");
    assert_eq!(u64::try_from(received.len()).unwrap(), counts.sent - counts.corrupted);
    assert!(received.is_sorted() && received.iter().all(|number| *number < 300));
}

#[test]
fn a_line_carries_no_more_than_its_limit() {
    let net = net(1, 2);
    let without = net.carry(0, 1, 200_000);
    net.switch.set_weather(Weather { bytes_per_second_max: Some(400_000), ..Weather::FAIR });
    let with = net.carry(0, 1, 200_000);
    assert!(with >= 500 * MS, "{with:?}");
    assert!(with > 2 * without, "{with:?} with a limit, {without:?} without");
}

#[test]
fn tcp_gets_through_foul_weather_unharmed() {
    let net = net(7, 2);
    net.switch.set_weather(Weather {
        loss_percent: 3,
        duplicate_percent: 5,
        reorder_percent: 5,
        corrupt_percent: 2,
        delay: MS,
        jitter_max: 2 * MS,
        bytes_per_second_max: None,
    });
    net.carry(0, 1, 200_000);
    let counts = net.switch.counts_of_all();
    let happened = [counts.lost, counts.duplicated, counts.held, counts.corrupted];
    assert!(happened.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_port_that_is_unplugged_is_gone_and_its_place_can_be_taken() {
    let mut net = net(1, 2);
    net.switch.detach(net.ports[1]).unwrap();
    wait_until("the device is gone", || devices(&net.namespaces[1]) == ["lo"]);
    let device = Device { name: "eth0", address: address(1), prefix_length: 24 };
    net.namespaces[1] = Namespace::new().unwrap();
    net.ports[1] = net.switch.attach(&net.namespaces[1], &device).unwrap();
    net.sockets[1] = net.namespaces[1].run(|| UdpSocket::bind(place(1)).unwrap()).unwrap();
    net.sockets[1].set_read_timeout(Some(PATIENCE)).unwrap();
    net.round_trip(0, 1);
}

#[test]
fn a_device_that_somebody_removes_does_not_harm_the_others() {
    let net = net(1, 3);
    let mut remove = Command::new("ip");
    remove.args(["link", "delete", "eth0"]);
    assert!(net.namespaces[0].adopt(&mut remove).status().unwrap().success());
    net.round_trip(1, 2);
    net.send(1, 0, 1);
    wait_until("nobody is there", || net.switch.lock().taps[0].is_none());
    net.round_trip(2, 1);
}

#[test]
fn a_dropped_switch_leaves_no_device() {
    let Net { switch, namespaces, .. } = net(1, 2);
    assert_eq!(devices(&namespaces[0]), ["lo", "eth0"]);
    drop(switch);
    wait_until("the devices are gone", || namespaces.iter().all(|namespace| devices(namespace) == ["lo"]));
}

/// Runs this very test once more as the process that is killed.
#[test]
fn a_killed_process_leaves_no_device() {
    const VICTIM: &str = "QUORUMFENCE_TEST_SWITCH_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let switch = Switch::new(1).unwrap();
        let device = Device { name: "eth0", address: address(0), prefix_length: 24 };
        switch.attach(&Namespace::of_process(std::process::id()).unwrap(), &device).unwrap();
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let namespace = Namespace::new().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.arg("a_killed_process_leaves_no_device").env(VICTIM, "1").stdin(Stdio::piped()).stdout(Stdio::null());
    let mut victim = namespace.adopt(&mut victim).spawn().unwrap();
    wait_until("the device is there", || devices(&namespace) == ["lo", "eth0"]);
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the device is gone", || devices(&namespace) == ["lo"]);
}
