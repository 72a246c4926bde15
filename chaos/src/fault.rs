//! Faults: everything that the nemesis and a story may do to a cluster. Their text form is the script language.
//!
//! Adding a kind here makes every world fail to compile until it handles it.

use std::fmt;
use std::str::FromStr;

use quorumfence_machine::{ControllerId, HostId, Millis};
use quorumfence_raft::Point;

pub use gear::{Gear, Levels};
pub use parse::{Error, duration};

mod gear;
mod parse;
#[cfg(test)]
mod tests;

/// One thing done to the world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Something happens to a controller's process or machine.
    Controller(Which, Blow),
    /// A controller's disk changes its behaviour.
    Disk(ControllerId, DiskTrouble),
    /// The wall clock of a controller jumps by so many milliseconds.
    WallClock(ControllerId, i64),
    /// A line of the network is cut, in one direction.
    Cut {
        /// The sender.
        from: Place,
        /// Who does not hear it.
        to: Place,
    },
    /// The line works again.
    Join {
        /// The sender.
        from: Place,
        /// Who hears it again.
        to: Place,
    },
    /// Everything from and to a place is cut.
    Isolate(Place),
    /// Everything from and to a place works again.
    Rejoin(Place),
    /// How the whole network behaves.
    Weather(Weather),
    /// Something happens to a host.
    Host(HostId, HostBlow),
    /// How a host's BMC behaves.
    Bmc(HostId, BmcTrouble),
    /// How a host's hypervisor behaves.
    Hypervisor(HostId, HypervisorTrouble),
    /// Something happens to an instance by other hands than the product's.
    Instance(String, Hands),
    /// A person does something.
    Operator(Deed),
    /// The members of the group change.
    Member(Member),
    /// A person asks why nothing more is done about a host.
    Explain(HostId),
    /// Everything works again: lines, disks, BMCs, hypervisors; stopped controllers and hosts start.
    Heal,
}

/// One controller, the one that leads, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// This one.
    One(ControllerId),
    /// Whoever leads when it happens.
    Leader,
    /// All at once.
    All,
}

/// What happens to a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// Its process dies; the kernel keeps what it wrote.
    Kill,
    /// Its power is cut; what was not synced is lost.
    PowerCut,
    /// It starts again from its disk.
    Start,
    /// It does not run for so long, and goes on.
    Pause(Millis),
    /// It is asked for a snapshot.
    Snapshot,
    /// It is asked to hand the leadership over.
    HandOver,
    /// The next of its tasks that comes by a stall point stands there for so long.
    Stall(Point, Millis),
    /// Its process is killed, and its disk is empty from then on.
    Wipe,
}

/// How a disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskTrouble {
    /// It works.
    Works,
    /// Each sync takes so long.
    Slow(Millis),
    /// The next sync fails, and the pages are lost.
    FailSync,
    /// There is no space left.
    Full,
    /// One bit changed on the platter, in what the disk holds of this kind.
    Flip(Kept),
}

/// What a controller's disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Entries of the log.
    Log,
    /// The vote and the log's borders.
    Meta,
    /// Records of the state.
    Records,
}

/// Somewhere on the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A controller.
    Controller(ControllerId),
    /// A host.
    Host(HostId),
    /// The BMC of a host.
    Bmc(HostId),
}

/// How the whole network behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Weather {
    /// Messages that are lost.
    pub loss_percent: u8,
    /// Messages that arrive twice.
    pub duplicate_percent: u8,
    /// The longest delay of a message, beyond the usual.
    pub delay_max: Millis,
}

/// What happens to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostBlow {
    /// It loses its power.
    PowerCut,
    /// It gets its power back and boots.
    PowerOn,
    /// It loses its power and boots at once, before anybody misses it.
    Reboot,
    /// Its agent does not run for so long, and goes on.
    Freeze(Millis),
    /// Its agent starts anew; the host and its instances go on.
    RestartAgent,
    /// The next task of its agent that comes by a stall point stands there for so long.
    Stall(Point, Millis),
}

/// How a BMC behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BmcTrouble {
    /// It answers and obeys.
    Works,
    /// It answers nothing.
    Silent,
    /// It accepts orders and does nothing.
    Ignores,
    /// It refuses the account.
    RefusesLogin,
    /// It obeys so much later, whether or not somebody waits.
    Late(Millis),
    /// It goes on telling the power that was true when this began.
    Stale,
    /// All its sessions are taken.
    Busy,
    /// It obeys, and the host powers on again by itself so much later.
    PowersBackOn(Millis),
    /// It obeys, and its answer is lost.
    LosesAnswer,
}

/// How a hypervisor behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HypervisorTrouble {
    /// It answers and obeys.
    Works,
    /// It starts and stops nothing, and says so.
    Fails,
    /// It answers nothing and does nothing.
    Hangs,
    /// It obeys, and its answer is lost.
    LosesAnswer,
    /// It obeys so much later, whether or not somebody waits.
    Late(Millis),
}

/// How the group of controllers changes. Tried until it is done, as a person would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// Another controller joins and becomes a voter.
    Add,
    /// A voter becomes a learner.
    Demote(ControllerId),
    /// A learner becomes a voter.
    Promote(ControllerId),
    /// A controller leaves for good; its machine is switched off.
    Remove(ControllerId),
}

/// What other hands do to an instance, with a host's own tools.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hands {
    /// It is shut down, or ends by itself.
    End,
    /// It is started on a host.
    Start(HostId),
    /// It is on another host from one moment to the next, whether or not anybody was told.
    Migrate(HostId),
    /// It is moved to a host while it runs, as soon as the log has heard that a copy comes there.
    Move(HostId),
}

/// What a person does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Lets the cluster fence.
    Arm,
    /// Stops new fences.
    Disarm,
    /// Takes a host into maintenance.
    StartMaintenance(HostId),
    /// Takes it out.
    EndMaintenance(HostId),
    /// Looks at a host in the rack, and confirms that it is dead if it has no power.
    ConfirmDead(HostId),
    /// Confirms that a host is dead without looking.
    InsistDead(HostId),
    /// Gives a host other fencing levels.
    Enrol(HostId, Levels),
    /// Changes one of the settings, as a line of TOML says.
    Set(String),
}

impl Fault {
    /// Returns the name of its kind, for counting.
    pub fn kind(&self) -> String {
        let words = self.to_string();
        let is_name = |word: &&str| !word.chars().any(|letter| letter.is_ascii_digit()) && *word != "->";
        words.split(' ').filter(is_name).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(which, blow) => write!(f, "controller {which} {blow}"),
            Self::Disk(id, trouble) => write!(f, "disk {} {trouble}", id.0),
            Self::WallClock(id, millis) => write!(f, "clock {} {millis:+}ms", id.0),
            Self::Cut { from, to } => write!(f, "cut {from} -> {to}"),
            Self::Join { from, to } => write!(f, "join {from} -> {to}"),
            Self::Isolate(place) => write!(f, "isolate {place}"),
            Self::Rejoin(place) => write!(f, "rejoin {place}"),
            Self::Weather(weather) => write!(
                f,
                "weather loss {}% duplicate {}% delay {}",
                weather.loss_percent,
                weather.duplicate_percent,
                Time(weather.delay_max)
            ),
            Self::Host(host, blow) => write!(f, "host {host} {blow}"),
            Self::Bmc(host, trouble) => write!(f, "bmc {host} {trouble}"),
            Self::Hypervisor(host, trouble) => write!(f, "hypervisor {host} {trouble}"),
            Self::Instance(name, hands) => write!(f, "instance {name} {hands}"),
            Self::Operator(deed) => write!(f, "operator {deed}"),
            Self::Member(Member::Add) => f.write_str("member add"),
            Self::Member(Member::Demote(id)) => write!(f, "member demote {}", id.0),
            Self::Member(Member::Promote(id)) => write!(f, "member promote {}", id.0),
            Self::Member(Member::Remove(id)) => write!(f, "member remove {}", id.0),
            Self::Explain(host) => write!(f, "explain {host}"),
            Self::Heal => f.write_str("heal"),
        }
    }
}

/// A length of time as scripts write it.
pub(crate) struct Time(pub(crate) Millis);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            millis if millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            millis => write!(f, "{millis}ms"),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(id) => id.0.fmt(f),
            Self::Leader => f.write_str("leader"),
            Self::All => f.write_str("all"),
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::PowerCut => f.write_str("power-cut"),
            Self::Start => f.write_str("start"),
            Self::Pause(time) => write!(f, "pause {}", Time(*time)),
            Self::Snapshot => f.write_str("snapshot"),
            Self::HandOver => f.write_str("hand-over"),
            Self::Stall(point, time) => write!(f, "stall {point} {}", Time(*time)),
            Self::Wipe => f.write_str("wipe"),
        }
    }
}

impl fmt::Display for DiskTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Slow(time) => write!(f, "slow {}", Time(*time)),
            Self::FailSync => f.write_str("fail-sync"),
            Self::Full => f.write_str("full"),
            Self::Flip(Kept::Log) => f.write_str("flip log"),
            Self::Flip(Kept::Meta) => f.write_str("flip meta"),
            Self::Flip(Kept::Records) => f.write_str("flip records"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(id) => write!(f, "controller {}", id.0),
            Self::Host(host) => write!(f, "host {host}"),
            Self::Bmc(host) => write!(f, "bmc {host}"),
        }
    }
}

impl fmt::Display for HostBlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerCut => f.write_str("power-cut"),
            Self::PowerOn => f.write_str("power-on"),
            Self::Reboot => f.write_str("reboot"),
            Self::Freeze(time) => write!(f, "freeze {}", Time(*time)),
            Self::RestartAgent => f.write_str("restart-agent"),
            Self::Stall(point, time) => write!(f, "stall {point} {}", Time(*time)),
        }
    }
}

impl fmt::Display for BmcTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Silent => f.write_str("silent"),
            Self::Ignores => f.write_str("ignores"),
            Self::RefusesLogin => f.write_str("refuses-login"),
            Self::Late(time) => write!(f, "late {}", Time(*time)),
            Self::Stale => f.write_str("stale"),
            Self::Busy => f.write_str("busy"),
            Self::PowersBackOn(time) => write!(f, "powers-back-on {}", Time(*time)),
            Self::LosesAnswer => f.write_str("loses-answer"),
        }
    }
}

impl fmt::Display for HypervisorTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Fails => f.write_str("fails"),
            Self::Hangs => f.write_str("hangs"),
            Self::LosesAnswer => f.write_str("loses-answer"),
            Self::Late(time) => write!(f, "late {}", Time(*time)),
        }
    }
}

impl fmt::Display for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("end"),
            Self::Start(host) => write!(f, "start {host}"),
            Self::Migrate(host) => write!(f, "migrate {host}"),
            Self::Move(host) => write!(f, "move {host}"),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arm => f.write_str("arm"),
            Self::Disarm => f.write_str("disarm"),
            Self::StartMaintenance(host) => write!(f, "start-maintenance {host}"),
            Self::EndMaintenance(host) => write!(f, "end-maintenance {host}"),
            Self::ConfirmDead(host) => write!(f, "confirm-dead {host}"),
            Self::InsistDead(host) => write!(f, "insist-dead {host}"),
            Self::Enrol(host, levels) => write!(f, "enrol {host} {levels}"),
            Self::Set(line) => write!(f, "set {line}"),
        }
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse::fault(text)
    }
}
