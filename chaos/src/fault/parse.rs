//! From the words of a script to faults.

use std::str::FromStr;

use quorumfence_machine::{ControllerId, HostId, Millis};
use quorumfence_raft::Point;

use super::{
    Blow, BmcTrouble, Deed, DiskTrouble, Fault, Hands, HostBlow, HypervisorTrouble, Kept, Levels, Member, Place,
    Weather, Which,
};

/// A text that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no fault: {why}")]
pub struct Error {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

pub(super) fn fault(text: &str) -> Result<Fault, Error> {
    let mut words = Words { left: text.split_whitespace().collect() };
    let parsed = read(&mut words).and_then(|fault| words.end().map(|()| fault));
    parsed.map_err(|why| Error { text: text.into(), why })
}

fn read(words: &mut Words<'_>) -> Result<Fault, String> {
    match words.next("a subject")? {
        "controller" => Ok(Fault::Controller(which(words)?, blow(words)?)),
        "disk" => Ok(Fault::Disk(controller(words)?, disk_trouble(words)?)),
        "clock" => {
            let id = controller(words)?;
            let jump = words.next("a jump such as +500ms")?;
            let millis = jump.strip_suffix("ms").and_then(|millis| millis.parse().ok());
            Ok(Fault::WallClock(id, millis.ok_or_else(|| format!("'{jump}' is no jump such as +500ms"))?))
        }
        "cut" => line(words).map(|(from, to)| Fault::Cut { from, to }),
        "join" => line(words).map(|(from, to)| Fault::Join { from, to }),
        "isolate" => place(words).map(Fault::Isolate),
        "rejoin" => place(words).map(Fault::Rejoin),
        "weather" => weather(words).map(Fault::Weather),
        "host" => Ok(Fault::Host(host(words)?, host_blow(words)?)),
        "bmc" => Ok(Fault::Bmc(host(words)?, bmc_trouble(words)?)),
        "hypervisor" => Ok(Fault::Hypervisor(host(words)?, hypervisor_trouble(words)?)),
        "instance" => Ok(Fault::Instance(words.next("an instance")?.into(), hands(words)?)),
        "operator" => deed(words).map(Fault::Operator),
        "member" => member(words).map(Fault::Member),
        "explain" => host(words).map(Fault::Explain),
        "heal" => Ok(Fault::Heal),
        other => Err(format!("nothing is called '{other}'")),
    }
}

struct Words<'a> {
    left: std::collections::VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    fn next(&mut self, wanted: &str) -> Result<&'a str, String> {
        self.left.pop_front().ok_or_else(|| format!("{wanted} is missing"))
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        let found = self.next(&format!("'{word}'"))?;
        if found == word { Ok(()) } else { Err(format!("'{found}' stands where '{word}' belongs")) }
    }

    fn rest(&mut self) -> Vec<&'a str> {
        self.left.drain(..).collect()
    }

    fn end(&self) -> Result<(), String> {
        self.left.front().map_or(Ok(()), |word| Err(format!("'{word}' is one word too many")))
    }
}

fn number<T: FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("'{word}' is no {what}"))
}

fn controller(words: &mut Words<'_>) -> Result<ControllerId, String> {
    number(words.next("a controller's number")?, "controller's number").map(ControllerId)
}

fn host(words: &mut Words<'_>) -> Result<HostId, String> {
    number(words.next("a host")?, "host's name")
}

fn time(words: &mut Words<'_>) -> Result<Millis, String> {
    let word = words.next("a time such as 500ms or 3s")?;
    duration(word).ok_or_else(|| format!("'{word}' is no time such as 500ms or 3s"))
}

/// Reads a time such as `500ms` or `3s`.
pub fn duration(word: &str) -> Option<Millis> {
    if let Some(millis) = word.strip_suffix("ms") {
        return millis.parse().ok().map(Millis);
    }
    let seconds: u64 = word.strip_suffix('s')?.parse().ok()?;
    seconds.checked_mul(1000).map(Millis)
}

fn which(words: &mut Words<'_>) -> Result<Which, String> {
    match words.next("a controller's number, 'leader' or 'all'")? {
        "leader" => Ok(Which::Leader),
        "all" => Ok(Which::All),
        word => number(word, "controller's number").map(|id| Which::One(ControllerId(id))),
    }
}

fn blow(words: &mut Words<'_>) -> Result<Blow, String> {
    match words.next("what happens to the controller")? {
        "kill" => Ok(Blow::Kill),
        "power-cut" => Ok(Blow::PowerCut),
        "start" => Ok(Blow::Start),
        "pause" => time(words).map(Blow::Pause),
        "snapshot" => Ok(Blow::Snapshot),
        "hand-over" => Ok(Blow::HandOver),
        "stall" => stall(words, false).map(|(point, time)| Blow::Stall(point, time)),
        "wipe" => Ok(Blow::Wipe),
        other => Err(format!("'{other}' happens to no controller")),
    }
}

fn stall(words: &mut Words<'_>, of_agents: bool) -> Result<(Point, Millis), String> {
    let point: Point =
        words.next("a stall point")?.parse().map_err(|error: quorumfence_raft::UnknownPoint| error.to_string())?;
    match (of_agents, point.is_of_agents()) {
        (true, false) => Err(format!("agents never come by {point}")),
        (false, true) => Err(format!("controllers never come by {point}")),
        (true, true) | (false, false) => Ok((point, time(words)?)),
    }
}

fn kept(words: &mut Words<'_>) -> Result<Kept, String> {
    match words.next("what the disk holds: log, meta or records")? {
        "log" => Ok(Kept::Log),
        "meta" => Ok(Kept::Meta),
        "records" => Ok(Kept::Records),
        other => Err(format!("no disk holds '{other}': log, meta or records")),
    }
}

fn member(words: &mut Words<'_>) -> Result<Member, String> {
    match words.next("how the members change")? {
        "add" => Ok(Member::Add),
        "demote" => controller(words).map(Member::Demote),
        "promote" => controller(words).map(Member::Promote),
        "remove" => controller(words).map(Member::Remove),
        other => Err(format!("no members '{other}': add, demote, promote or remove")),
    }
}

fn disk_trouble(words: &mut Words<'_>) -> Result<DiskTrouble, String> {
    match words.next("how the disk behaves")? {
        "works" => Ok(DiskTrouble::Works),
        "slow" => time(words).map(DiskTrouble::Slow),
        "fail-sync" => Ok(DiskTrouble::FailSync),
        "full" => Ok(DiskTrouble::Full),
        "flip" => kept(words).map(DiskTrouble::Flip),
        other => Err(format!("no disk is '{other}'")),
    }
}

fn place(words: &mut Words<'_>) -> Result<Place, String> {
    match words.next("a place")? {
        "controller" => controller(words).map(Place::Controller),
        "host" => host(words).map(Place::Host),
        "bmc" => host(words).map(Place::Bmc),
        other => Err(format!("'{other}' is no place: controller, host or bmc")),
    }
}

fn line(words: &mut Words<'_>) -> Result<(Place, Place), String> {
    let from = place(words)?;
    words.expect("->")?;
    Ok((from, place(words)?))
}

fn weather(words: &mut Words<'_>) -> Result<Weather, String> {
    let mut percent = |name: &str| {
        words.expect(name)?;
        let word = words.next("a percentage")?;
        let percent: u8 = number(word.strip_suffix('%').unwrap_or(word), "percentage")?;
        if percent <= 100 { Ok(percent) } else { Err(format!("'{word}' is above 100%")) }
    };
    let (loss_percent, duplicate_percent) = (percent("loss")?, percent("duplicate")?);
    words.expect("delay")?;
    Ok(Weather { loss_percent, duplicate_percent, delay_max: time(words)? })
}

fn host_blow(words: &mut Words<'_>) -> Result<HostBlow, String> {
    match words.next("what happens to the host")? {
        "power-cut" => Ok(HostBlow::PowerCut),
        "power-on" => Ok(HostBlow::PowerOn),
        "reboot" => Ok(HostBlow::Reboot),
        "freeze" => time(words).map(HostBlow::Freeze),
        "restart-agent" => Ok(HostBlow::RestartAgent),
        "stall" => stall(words, true).map(|(point, time)| HostBlow::Stall(point, time)),
        other => Err(format!("'{other}' happens to no host")),
    }
}

fn bmc_trouble(words: &mut Words<'_>) -> Result<BmcTrouble, String> {
    match words.next("how the BMC behaves")? {
        "works" => Ok(BmcTrouble::Works),
        "silent" => Ok(BmcTrouble::Silent),
        "ignores" => Ok(BmcTrouble::Ignores),
        "refuses-login" => Ok(BmcTrouble::RefusesLogin),
        "late" => time(words).map(BmcTrouble::Late),
        "stale" => Ok(BmcTrouble::Stale),
        "busy" => Ok(BmcTrouble::Busy),
        "powers-back-on" => time(words).map(BmcTrouble::PowersBackOn),
        "loses-answer" => Ok(BmcTrouble::LosesAnswer),
        other => Err(format!("no BMC is '{other}'")),
    }
}

fn hypervisor_trouble(words: &mut Words<'_>) -> Result<HypervisorTrouble, String> {
    match words.next("how the hypervisor behaves")? {
        "works" => Ok(HypervisorTrouble::Works),
        "fails" => Ok(HypervisorTrouble::Fails),
        "hangs" => Ok(HypervisorTrouble::Hangs),
        "loses-answer" => Ok(HypervisorTrouble::LosesAnswer),
        "late" => time(words).map(HypervisorTrouble::Late),
        other => Err(format!("no hypervisor is '{other}'")),
    }
}

fn hands(words: &mut Words<'_>) -> Result<Hands, String> {
    match words.next("what happens to the instance")? {
        "end" => Ok(Hands::End),
        "start" => host(words).map(Hands::Start),
        "migrate" => host(words).map(Hands::Migrate),
        "move" => host(words).map(Hands::Move),
        other => Err(format!("'{other}' happens to no instance")),
    }
}

fn deed(words: &mut Words<'_>) -> Result<Deed, String> {
    match words.next("what the operator does")? {
        "arm" => Ok(Deed::Arm),
        "disarm" => Ok(Deed::Disarm),
        "start-maintenance" => host(words).map(Deed::StartMaintenance),
        "end-maintenance" => host(words).map(Deed::EndMaintenance),
        "confirm-dead" => host(words).map(Deed::ConfirmDead),
        "insist-dead" => host(words).map(Deed::InsistDead),
        "enrol" => Ok(Deed::Enrol(host(words)?, Levels::read(words.rest())?)),
        "set" => match words.rest().join(" ") {
            line if line.contains(" = ") => Ok(Deed::Set(line)),
            line => Err(format!("'{line}' is no setting such as permit_life = 20000")),
        },
        other => Err(format!("no operator does '{other}'")),
    }
}
