//! The clocks of machines: each has its own, though all of them run on one kernel that has one set.
//!
//! A library of ours (`clock/bend.c`) is loaded before libc and reads from a mapped file how this machine's clocks go.
//! libfaketime does not do: under a rate it tells the wall clock's time for the monotonic one, and lets waits until a
//! moment fail.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use quorumfence_machine::ControllerId;
use quorumfence_node::wiring::testimony;

const LIBRARY: &str = include_str!("clock/bend.c");

/// Tells the library where its file is.
const VARIABLE: &str = "QUORUMFENCE_CHAOS_CLOCK";

/// Where the wall clock's offset is in the file.
const WALL_AT: u64 = 24;

const NANOS_PER_MILLI: i64 = 1_000_000;
const MILLION: i128 = 1_000_000;

/// Every machine was suspended for so much longer than the one before: nobody can compare two machines' clocks.
const SUSPENDED_NS: i64 = 86_400_000_000_000;

/// Makes clocks.
#[derive(Debug)]
pub(super) struct Workshop {
    place: PathBuf,
    library: PathBuf,
}

/// The clocks of one machine, whatever process runs there.
#[derive(Debug)]
pub(super) struct Clock {
    library: PathBuf,
    path: PathBuf,
    file: File,
    wall_ns: i64,
}

/// From a machine's time since boot to this kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bend {
    anchor_ns: u64,
    suspended_ns: i64,
    rate_ppm: i64,
}

impl Workshop {
    /// Builds the library in a directory, with the compiler that building this program needs too.
    ///
    /// # Errors
    ///
    /// There is no C compiler, or it says why not.
    pub(super) fn open(place: &Path) -> anyhow::Result<Self> {
        let library = place.join("bend.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-x", "c", "-", "-o"]).arg(&library);
        let mut child = compiler.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().map_err(|error| anyhow::anyhow!("bent clocks need the C compiler 'cc': {error}"))?;
        child.stdin.take().context("the compiler's input")?.write_all(LIBRARY.as_bytes())?;
        ensure!(child.wait()?.success(), "the library that bends clocks cannot be compiled");
        Ok(Self { place: place.into(), library })
    }

    /// Makes the clocks of a controller's machine, which are right from here on but for their rate.
    pub(super) fn clock(&self, id: ControllerId, rate_ppm: i32) -> anyhow::Result<(Clock, Bend)> {
        let number = i64::try_from(id.0).context("a controller's number")?;
        let bend = Bend { anchor_ns: testimony::now(), suspended_ns: number * SUSPENDED_NS, rate_ppm: rate_ppm.into() };
        let path = self.place.join(format!("clock-{}", id.0));
        let anchor = i64::try_from(bend.anchor_ns).context("the time since boot")?;
        let numbers = [anchor, bend.suspended_ns, bend.rate_ppm, 0];
        fs::write(&path, numbers.map(i64::to_ne_bytes).concat()).context("the file of a clock")?;
        let file = File::options().write(true).open(&path).context("the file of a clock")?;
        Ok((Clock { library: self.library.clone(), path, file, wall_ns: 0 }, bend))
    }
}

impl Clock {
    /// Lets a command run by these clocks.
    pub(super) fn rule<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", &self.library).env(VARIABLE, &self.path)
    }

    /// Sets the wall clock ahead, or back.
    pub(super) fn jump(&mut self, millis: i64) -> anyhow::Result<()> {
        self.wall_ns = self.wall_ns.saturating_add(millis.saturating_mul(NANOS_PER_MILLI));
        self.file.write_all_at(&self.wall_ns.to_ne_bytes(), WALL_AT).context("the file of a clock")
    }

    /// Sets the wall clock right.
    pub(super) fn mend(&mut self) -> anyhow::Result<()> {
        self.jump(-(self.wall_ns / NANOS_PER_MILLI))
    }
}

impl Bend {
    /// Returns what this kernel's clock said when the machine's said that.
    pub(super) fn straight(&self, told_ns: u64) -> u64 {
        let anchor = i128::from(self.anchor_ns);
        let gone = i128::from(told_ns) - i128::from(self.suspended_ns) - anchor;
        let straight = anchor + gone * MILLION / (MILLION + i128::from(self.rate_ppm));
        u64::try_from(straight).unwrap_or(told_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `date` and `/proc`-less shells cannot tell is asked of Python, which the tests need anyway.
    fn told(clock: &Clock) -> (i64, i64, i64) {
        let script = "import time as t\nprint(*(t.clock_gettime_ns(c) for c in (0, 1, 7)))";
        let output = clock.rule(Command::new("python3").args(["-c", script])).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<i64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (numbers[0], numbers[1], numbers[2])
    }

    #[test]
    fn a_machine_has_its_own_clocks_and_what_it_says_is_understood() {
        const SECOND: i64 = 1_000_000_000;
        let place = tempfile::tempdir().unwrap();
        let (mut clock, bend) = Workshop::open(place.path()).unwrap().clock(ControllerId(2), 500_000).unwrap();
        let wall_before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let before = testimony::now();
        clock.jump(-3_600_000).unwrap();
        let (wall, _, since_boot) = told(&clock);
        let after = testimony::now();
        assert!((wall + 3600 * SECOND - i64::try_from(wall_before).unwrap()).abs() < 20 * SECOND);
        assert!(since_boot > i64::try_from(before).unwrap() + 2 * SUSPENDED_NS);
        let straight = bend.straight(since_boot.try_into().unwrap());
        assert!((before..=after).contains(&straight), "{before} {straight} {after}");
        clock.mend().unwrap();
        let (again, monotonic, boot) = told(&clock);
        assert!((again - wall - 3600 * SECOND).abs() < 20 * SECOND);
        // Half as fast again: between the two looks it has run away from this kernel's by half of the time.
        let gone = i64::try_from(testimony::now() - bend.anchor_ns).unwrap();
        let ahead = boot - bend.suspended_ns - i64::try_from(bend.anchor_ns).unwrap();
        assert!(ahead > gone - SECOND / 2 && ahead < gone + gone / 2 + 1, "{ahead} {gone}");
        assert!(monotonic < boot);
    }

    #[test]
    fn a_time_is_bent_back_exactly() {
        let bend = Bend { anchor_ns: 1_000, suspended_ns: 50, rate_ppm: 100_000 };
        assert_eq!(bend.straight(1_000 + 50 + 1_100), 2_000);
        assert_eq!(Bend { rate_ppm: -100_000, ..bend }.straight(1_000 + 50 + 900), 2_000);
    }
}
