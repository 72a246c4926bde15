//! Controllers: processes on machines with a disk, that die, stand still and start again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use quorumfence_machine::{ClusterId, ControllerId, LogIndex, Millis};
use quorumfence_node::controller::{self, Controller};
use quorumfence_raft::{Expect, Fatal, Identity, Replica};
use tokio::time::Instant;

use super::disk::{SimDisk, Trouble};
use super::environment::{SimClock, SimDevices, SimEnvironment, SimProbes};
use super::network::{Ether, SimTransport, Station, wait_until};
use super::record::Record;
use super::runtime::{Node, Rate, in_the_world, mix};
use super::{PATIENCE, Sim, add};
use crate::observation::{Seen, Stop};

/// Where one controller runs.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) disk: SimDisk,
    /// Its process; a dead one when it does not run.
    pub(super) node: Arc<Node>,
    /// Processes so far: each draws other numbers.
    starts: u64,
    /// Until when it stands still. A short pause does not end a longer one.
    held_until: Arc<Mutex<Instant>>,
    /// How fast its clock goes.
    rate: Rate,
    /// By how much its wall clock is wrong.
    wall_offset_ms: i64,
    /// Its disk was made by a process of it: from then on an empty one is an error.
    opened: Arc<AtomicBool>,
}

impl Sim {
    /// Cuts a controller's power. What its disk had not synced is lost, but for what `keep` says.
    pub fn crash(&self, id: ControllerId, keep: u64) {
        self.ether.note(format_args!("crash {id}"));
        self.stop(id, Stop::PowerCut);
        if let Some(seat) = self.seats.get(&id) {
            seat.disk.cut_power(keep);
        }
    }

    /// Kills a controller's process; the kernel keeps what it wrote.
    pub(super) fn kill(&self, id: ControllerId) {
        self.ether.note(format_args!("kill {id}"));
        self.stop(id, Stop::Killed);
        if let Some(seat) = self.seats.get(&id) {
            seat.disk.kill();
        }
    }

    fn stop(&self, id: ControllerId, why: Stop) {
        self.ether.remove(id);
        if let Some(seat) = self.seats.get(&id).filter(|seat| !seat.node.is_dead()) {
            seat.node.kill();
            self.record.see(Seen::Stopped { controller: id, why });
        }
    }

    /// Stops controllers' processes for a while, and lets them go on.
    pub async fn pause(&self, ids: &[ControllerId], time: Duration) {
        ids.iter().for_each(|id| self.hold(*id, time));
        // A moment more, so that they run again when this returns.
        tokio::time::sleep(time + Duration::from_millis(1)).await;
    }

    /// The same, without waiting for the end.
    pub(super) fn hold(&self, id: ControllerId, time: Duration) {
        let Some(seat) = self.seats.get(&id) else { return };
        self.ether.note(format_args!("pause {id} for {time:?}"));
        seat.node.pause();
        let until = Instant::now() + time;
        let held_until = Arc::clone(&seat.held_until);
        {
            let mut held_until = held_until.lock().unwrap_or_else(PoisonError::into_inner);
            *held_until = until.max(*held_until);
        }
        let node = Arc::clone(&seat.node);
        in_the_world(async move {
            tokio::time::sleep_until(until).await;
            if *held_until.lock().unwrap_or_else(PoisonError::into_inner) <= until {
                node.resume();
            }
        });
    }

    /// Starts a crashed controller again from its disk, and waits until it runs.
    pub async fn restart(&mut self, id: ControllerId) -> anyhow::Result<()> {
        self.start(id, Expect::Existing);
        let runs = wait_until(PATIENCE, || async { self.ether.station(id).is_some() });
        ensure!(runs.await, "{id} does not start");
        Ok(())
    }

    /// Gives a new controller a machine, starts it and waits until it runs.
    pub(super) async fn seat(&mut self, id: ControllerId, expect: Expect) -> anyhow::Result<()> {
        self.start(id, expect);
        let runs = wait_until(PATIENCE, || async { self.ether.station(id).is_some() });
        ensure!(runs.await, "{id} does not start");
        Ok(())
    }

    /// Starts a controller that does not run. Whoever opens it may be killed before it is open.
    pub(super) fn start(&mut self, id: ControllerId, expect: Expect) {
        let rate = self.rates.get(&id).copied().unwrap_or(Rate::TRUE);
        let seat = self.seats.entry(id).or_insert_with(|| Seat {
            disk: SimDisk::default(),
            node: dead(),
            starts: 0,
            held_until: Arc::new(Mutex::new(Instant::now())),
            rate,
            wall_offset_ms: 0,
            opened: Arc::default(),
        });
        if !seat.node.is_dead() {
            return;
        }
        self.ether.note(format_args!("start {id}"));
        seat.starts += 1;
        seat.disk.set_trouble(Trouble::None);
        add(&mut self.stood, seat.node.stood());
        seat.node = Node::with_rate(mix(self.seed ^ (id.0 << 32) ^ (seat.starts << 40)), seat.rate);
        seat.node.jump_wall(seat.wall_offset_ms);
        seat.held_until = Arc::new(Mutex::new(Instant::now()));
        let (node, disk) = (Arc::clone(&seat.node), seat.disk.clone());
        let clock = SimClock { opened: self.opened, offset: Millis(id.0 * 100_000), node: Arc::clone(&node) };
        let (ether, record) = (Arc::clone(&self.ether), self.record.clone());
        let transport = SimTransport { ether: Arc::clone(&ether), me: id };
        let opened = Arc::clone(&seat.opened);
        let expect = if opened.load(Ordering::SeqCst) { expect } else { Expect::New };
        let process = Process { id, node: Arc::clone(&node), disk: disk.clone(), ether, record, opened };
        let dying = process.clone();
        let setup = quorumfence_raft::Setup {
            identity: Identity { cluster: ClusterId([7; 16]).to_string(), node: id.0 },
            expect,
            options: self.options.clone(),
            kv: disk.clone(),
            files: disk,
            transport,
            clock: clock.clone(),
            fatal: Fatal::new(move |error| dying.end(&error.to_string())),
            witness: Some(process.record.clerk(id)),
        };
        in_the_world(async move { process.run(setup, clock).await });
    }

    /// Changes how a controller's disk behaves.
    pub(super) fn set_disk(&self, id: ControllerId, trouble: Trouble) {
        if let Some(seat) = self.seats.get(&id) {
            seat.disk.set_trouble(trouble);
        }
    }

    /// Lets a controller's wall clock jump.
    pub(super) fn jump_wall(&mut self, id: ControllerId, millis: i64) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.wall_offset_ms = seat.wall_offset_ms.saturating_add(millis);
            seat.node.jump_wall(seat.wall_offset_ms);
        }
    }
}

/// One process of a controller.
#[derive(Debug, Clone)]
struct Process {
    id: ControllerId,
    node: Arc<Node>,
    disk: SimDisk,
    ether: Arc<Ether>,
    record: Record,
    opened: Arc<AtomicBool>,
}

impl Process {
    async fn run(self, setup: quorumfence_raft::Setup<SimEnvironment>, clock: SimClock) {
        let Ok(opened) = self.node.spawn(Replica::<SimEnvironment>::open(setup)).await else { return };
        let replica = match opened {
            Ok(replica) => replica,
            Err(error) => return self.end(&error.to_string()),
        };
        self.opened.store(true, Ordering::SeqCst);
        let applied = replica.status().applied.unwrap_or(LogIndex(0));
        let devices = SimDevices { ether: Arc::clone(&self.ether), me: self.id };
        let setup = controller::Setup { replica: replica.clone(), devices, probes: SimProbes, clock };
        let Ok(controller) = self.node.spawn(async move { Controller::start(setup) }).await else { return };
        if self.node.is_dead() {
            return;
        }
        self.record.see(Seen::Running { controller: self.id, applied });
        let station = Station { node: Arc::clone(&self.node), replica: replica.clone(), controller: Some(controller) };
        self.ether.install(self.id, station);
        // As `controller run` does: a replica that stopped by itself ends its process.
        if let Ok(why) = self.node.spawn(async move { replica.wait_for_fatal().await }).await {
            self.end(&why);
        }
    }

    /// A process ends itself. What it had under way on the network arrives.
    fn end(&self, why: &str) {
        if !self.node.is_dead() {
            self.ether.remove(self.id);
            self.node.kill();
            self.disk.kill();
            self.record.see(Seen::Stopped { controller: self.id, why: Stop::Itself(why.into()) });
        }
    }
}

/// A process that does not run.
fn dead() -> Arc<Node> {
    let node = Node::new(0);
    node.kill();
    node
}

pub(super) fn address(id: ControllerId) -> String {
    format!("{id}:7700")
}
