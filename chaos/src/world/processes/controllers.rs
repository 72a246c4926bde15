//! Controllers: processes on machines of their own that die, stand still and start again.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use quorumfence_machine::{ControllerId, Millis};
use quorumfence_raft::Point;
use rustix::process::{Pid, Signal, kill_process};

use super::clock::Clock;
use super::disk::{Disk, Survives, Trouble};
use super::net::{Net, controller};
use super::{Processes, clock};
use crate::chance::Chance;
use crate::fault::{DiskTrouble, Place};
use crate::observation::{Seen, Stop};

/// A process that was told to stop and does not is killed.
const STOPS_WITHIN: Duration = Duration::from_secs(15);

/// Where one controller runs.
#[derive(Debug)]
pub(super) struct Seat {
    address: Ipv4Addr,
    /// Everything of it.
    directory: PathBuf,
    /// What its processes say.
    log: PathBuf,
    /// The disk that everything of it is on.
    disk: Disk,
    /// A sync of the running process was told to fail.
    sync_fails: bool,
    process: Option<Child>,
    /// The clocks of its machine; none where they are the kernel's.
    pub(super) clock: Option<Clock>,
    /// Until when it stands still.
    still_until: Option<Instant>,
    /// It was told to stop, and starts again once it did; until when it has time to.
    stopping_until: Option<Instant>,
}

impl Seat {
    /// Makes a machine with an empty disk for a controller, below a directory.
    fn new(place: &Path, id: ControllerId, address: Ipv4Addr) -> anyhow::Result<Self> {
        let mount = place.join(id.to_string());
        let disk = Disk::mount(&platter(place, id), &mount).context("a controller's disk")?;
        let (directory, log) = (mount.join("node"), mount.with_extension("log"));
        Ok(Self {
            address,
            directory,
            log,
            disk,
            sync_fails: false,
            process: None,
            clock: None,
            still_until: None,
            stopping_until: None,
        })
    }

    /// Takes the machine away with all that is on its disk, so that another one may have its name.
    pub(super) fn scrap(self, place: &Path, id: ControllerId) -> anyhow::Result<()> {
        drop(self);
        fs::remove_dir_all(platter(place, id)).context("the disk of a controller that did not join")
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns where the controller's files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn config(&self) -> PathBuf {
        self.directory.join("controller.toml")
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Kills the process where it stands. Returns whether there was one.
    fn kill(&mut self) -> bool {
        self.still_until = None;
        self.stopping_until = None;
        self.process.take().is_some_and(end)
    }
}

impl Processes {
    /// Makes a machine for the next controller, and returns the id that it is expected to be given.
    pub(super) fn new_seat(&mut self) -> anyhow::Result<(ControllerId, Seat)> {
        let (id, machine) = self.members.clerk.next().context("the network has no address for another controller")?;
        Ok((id, Seat::new(&self.place, id, controller(machine))?))
    }

    /// Starts a controller that does not run.
    pub(super) fn start(&mut self, id: ControllerId) -> anyhow::Result<()> {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.runs()) else { return Ok(()) };
        let place = Place::Controller(id);
        if !self.net.has(&place) {
            self.net.plug(place.clone(), seat.address).context("a controller's network")?;
        }
        if std::mem::take(&mut seat.sync_fails) {
            seat.disk.evict().context("a controller's disk")?;
        }
        seat.disk.set_trouble(Trouble::None);
        let config = seat.config();
        let mut command = Command::new(&self.program);
        command.args(["controller", "run", "--config"]).arg(config);
        if let Some(clock) = &seat.clock {
            clock.rule(&mut command);
        }
        seat.process = Some(spawn(&self.net, &place, &mut command, seat.log())?);
        Ok(())
    }

    /// Kills a controller's process; the kernel keeps what it wrote.
    pub(super) fn kill(&mut self, id: ControllerId) {
        if self.seats.get_mut(&id).is_some_and(Seat::kill) {
            self.record.see(Seen::Stopped { controller: id, why: Stop::Killed });
        }
    }

    /// Cuts a controller's power: nobody hears that its process ends, and of what it did not sync a part is lost.
    pub(super) fn cut_controller(&mut self, id: ControllerId) -> anyhow::Result<()> {
        self.net.unplug(&Place::Controller(id)).context("a controller's network")?;
        self.power_cuts += 1;
        let name = format!("power cut {} of {id}", self.power_cuts);
        let Some(seat) = self.seats.get_mut(&id) else { return Ok(()) };
        let ran = seat.kill();
        seat.disk.cut_power(Survives::Some(Chance::new(self.seed, &name))).context("a controller's disk")?;
        if ran {
            self.record.see(Seen::Stopped { controller: id, why: Stop::PowerCut });
        }
        Ok(())
    }

    /// Changes how a controller's disk behaves.
    pub(super) fn trouble_disk(&mut self, id: ControllerId, trouble: DiskTrouble) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        match trouble {
            DiskTrouble::Works => seat.disk.set_trouble(Trouble::None),
            DiskTrouble::Slow(time) => seat.disk.set_trouble(Trouble::Slow(time.into())),
            DiskTrouble::Full => seat.disk.set_trouble(Trouble::Full),
            DiskTrouble::FailSync => {
                seat.sync_fails = true;
                seat.disk.fail_sync(1);
            }
            DiskTrouble::Flip(_) => {}
        }
    }

    /// Lets the next task of a controller that comes by a point stand there. The product's own laboratory switch: a file.
    pub(super) fn stall(&self, id: ControllerId, point: Point, time: Millis) -> anyhow::Result<()> {
        self.seats.get(&id).map_or(Ok(()), |seat| stall(seat.directory(), point, time))
    }

    /// Sets a controller's wall clock ahead, or back.
    pub(super) fn jump(&mut self, id: ControllerId, millis: i64) -> anyhow::Result<()> {
        let clock = self.seats.get_mut(&id).and_then(|seat| seat.clock.as_mut());
        clock.map_or(Ok(()), |clock| clock.jump(millis))
    }

    /// Sets every wall clock right.
    pub(super) fn mend_clocks(&mut self) -> anyhow::Result<()> {
        self.seats.values_mut().filter_map(|seat| seat.clock.as_mut()).try_for_each(Clock::mend)
    }

    /// Stops a controller's process for a while.
    pub(super) fn hold(&mut self, id: ControllerId, time: Duration) -> anyhow::Result<()> {
        let Some(seat) = self.seats.get_mut(&id) else { return Ok(()) };
        if let Some(process) = &seat.process {
            signal(process, Signal::STOP)?;
            seat.still_until = seat.still_until.max(Some(clock() + time));
        }
        Ok(())
    }

    /// Tells a controller to stop, which hands its leadership over, and starts it again afterwards.
    pub(super) fn restart_in_order(&mut self, id: ControllerId) -> anyhow::Result<()> {
        let Some(seat) = self.seats.get_mut(&id) else { return Ok(()) };
        if let (Some(process), None) = (&seat.process, seat.stopping_until) {
            signal(process, Signal::TERM)?;
            seat.stopping_until = Some(clock() + STOPS_WITHIN);
        }
        Ok(())
    }

    /// Lets every controller that stands still go on.
    pub(super) fn resume_controllers(&mut self) -> anyhow::Result<()> {
        let now = clock();
        self.seats.values_mut().for_each(|seat| seat.still_until = seat.still_until.map(|_| now));
        self.tend_controllers()
    }

    /// Lets controllers go on that stood still long enough, notes those that ended, starts those that were to stop only.
    pub(super) fn tend_controllers(&mut self) -> anyhow::Result<()> {
        let (now, mut again) = (clock(), Vec::new());
        for (id, seat) in &mut self.seats {
            let Some(process) = &mut seat.process else { continue };
            if seat.still_until.is_some_and(|until| until <= now) {
                signal(process, Signal::CONT)?;
                seat.still_until = None;
            }
            if seat.stopping_until.is_some_and(|until| until <= now) {
                process.kill().context("a controller that does not stop")?;
            }
            let Some(status) = process.try_wait().context("a controller's process")? else { continue };
            let why = match seat.stopping_until.take() {
                Some(_) => {
                    again.push(*id);
                    "it was told to stop".into()
                }
                None => format!("{status}: {}", last_line(seat.log())),
            };
            seat.process = None;
            self.record.see(Seen::Stopped { controller: *id, why: Stop::Itself(why) });
        }
        again.into_iter().try_for_each(|id| self.start(id))
    }
}

/// Leaves word in a node's data directory that whoever comes by a point stands there. On a full disk nobody can.
pub(super) fn stall(directory: &Path, point: Point, time: Millis) -> anyhow::Result<()> {
    let folder = directory.join("stalls");
    let told = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(point.name()), time.0.to_string()));
    match told {
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            let half = fs::remove_file(folder.join(point.name()));
            half.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
                .context("a stall")
        }
        told => told.context("a stall"),
    }
}

fn platter(place: &Path, id: ControllerId) -> PathBuf {
    place.join(format!("disk-{}", id.0))
}

/// Starts a process at a place, whose words go behind those of earlier ones.
pub(super) fn spawn(net: &Net, place: &Place, command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let open = OpenOptions::new().create(true).append(true).open(log);
    let log = open.with_context(|| format!("the log {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(log.try_clone().context("a log")?).stderr(log);
    net.adopt(place, command).spawn().with_context(|| format!("{place} cannot be started"))
}

/// Kills a process and waits for its end. Returns whether it had not ended before.
pub(super) fn end(mut process: Child) -> bool {
    let ran = matches!(process.try_wait(), Ok(None));
    // One that cannot be killed has ended.
    drop(process.kill());
    drop(process.wait());
    ran
}

/// Sends a signal to a process that may just have ended.
pub(super) fn signal(process: &Child, signal: Signal) -> anyhow::Result<()> {
    match kill_process(Pid::from_child(process), signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("a signal"),
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().next_back().unwrap_or("it said nothing").to_string()
}
