//! What the guests themselves say, with the moment at which it was seen.
//!
//! Every guest draws a nonce at boot and writes numbered lines to its serial port, which QEMU appends to a file on the
//! shared directory, one file per host and instance. A thread reads them every [`POLL`]; [`super::judge`] judges them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use quorumfence_machine::{HostId, InstanceId};

use super::run::POLL;

/// Most lines kept per instance: over five hours of one guest. Older ones go first; runs are kept.
const LINES_MAX: usize = 100_000;

/// Most bytes read from one file at once.
const READ_MAX: u64 = 64 * 1024;

/// Writes reach the storage before the guest is told so, past the host's memory. Without `shareable` QEMU's own image
/// lock would refuse a second writer, and the product would be judged with a barrier behind it that it does not have.
const DISK: &str = "
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='@FILE@'/><target dev='vda' bus='virtio'/><shareable/>
    </disk>";

const DOMAIN: &str = include_str!("../guest/domain.xml");

/// A guest to define.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// Its UUID.
    pub instance: InstanceId,
    /// Its name.
    pub name: String,
    /// Its recovery priority, 0 to 1000.
    pub priority: u16,
}

impl GuestSpec {
    pub(super) fn definition(&self, shared: &Path, log: Option<&Path>) -> String {
        let Self { instance, name, priority } = self;
        let disk = log.map(|file| DISK.replace("@FILE@", &file.display().to_string()));
        DOMAIN
            .replace("@DISK@", &disk.unwrap_or_default())
            .replace("@NAME@", name)
            .replace("@UUID@", &instance.to_string())
            .replace("@PRIORITY@", &priority.to_string())
            .replace("@SHARED@", &shared.display().to_string())
    }
}

/// One line of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestLine {
    /// When it was seen, at most some hundredths of a second after it was written.
    pub at: Instant,
    /// The host on which it was written.
    pub host: HostId,
    /// The nonce that the guest drew at its boot.
    pub run: String,
    /// The guest's count of its lines, from 0.
    pub counter: u64,
}

/// One run of one guest, from QEMU's start to its latest line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRun {
    /// The host that ran it.
    pub host: HostId,
    /// The nonce that the guest drew at its boot.
    pub run: String,
    /// When QEMU was started for it; `None` when that was not seen.
    pub qemu_at: Option<Instant>,
    /// When its first console line was seen.
    pub first_at: Instant,
    /// When its latest line was seen.
    pub last_at: Instant,
}

/// The guests of one rig, watched until this is dropped.
#[derive(Debug)]
pub struct Guests {
    seen: Arc<Mutex<BTreeMap<InstanceId, Seen>>>,
    over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

/// What was seen of one instance.
#[derive(Debug, Default)]
struct Seen {
    lines: Vec<GuestLine>,
    runs: Vec<GuestRun>,
}

impl Guests {
    pub(super) fn watch(rig: &Path) -> Self {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let over = Arc::new(AtomicBool::new(false));
        let mut files = Files { rig: rig.into(), tails: BTreeMap::new(), seen: Arc::clone(&seen) };
        let told = Arc::clone(&over);
        let watch = move || {
            while !told.load(Ordering::Relaxed) {
                files.look();
                thread::sleep(POLL);
            }
        };
        let watcher = thread::Builder::new().name("guest-watch".into()).spawn(watch);
        Self { seen, over, watcher: Some(watcher.expect("one thread can be started")) }
    }

    /// Returns the lines of an instance, in the order in which they were seen.
    pub fn lines(&self, instance: InstanceId) -> Vec<GuestLine> {
        lock(&self.seen).get(&instance).map(|seen| seen.lines.clone()).unwrap_or_default()
    }

    /// Returns the runs of an instance, in the order of their first lines.
    pub fn runs(&self, instance: InstanceId) -> Vec<GuestRun> {
        lock(&self.seen).get(&instance).map(|seen| seen.runs.clone()).unwrap_or_default()
    }

    /// Returns the instances that ever wrote a line.
    pub fn instances(&self) -> Vec<InstanceId> {
        lock(&self.seen).keys().copied().collect()
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let joined = self.watcher.take().map(JoinHandle::join);
        assert!(!matches!(joined, Some(Err(_))) || thread::panicking(), "the guests' watcher panicked");
    }
}

fn lock(seen: &Mutex<BTreeMap<InstanceId, Seen>>) -> MutexGuard<'_, BTreeMap<InstanceId, Seen>> {
    seen.lock().expect("nobody panics while holding what was seen")
}

/// The files that the watcher reads.
struct Files {
    rig: PathBuf,
    tails: BTreeMap<PathBuf, Tail>,
    seen: Arc<Mutex<BTreeMap<InstanceId, Seen>>>,
}

/// How far one file was read.
struct Tail {
    host: HostId,
    file: File,
    offset: u64,
    /// A line that has not ended yet.
    rest: Vec<u8>,
    /// The QEMU process of the instance on this host: its pid file's inode and change time, and when it was first seen.
    qemu: Option<((u64, i64, i64), Instant)>,
}

impl Files {
    /// Reads what is new. A file that cannot be read is read at the next look.
    fn look(&mut self) {
        let shared = self.rig.join("shared/guests");
        for directory in list(&shared) {
            let Some(host) = name_of(&directory).and_then(|name| name.parse::<HostId>().ok()) else { continue };
            for path in list(&directory) {
                if !self.tails.contains_key(&path)
                    && let Ok(file) = File::open(&path)
                {
                    let tail = Tail { host: host.clone(), file, offset: 0, rest: Vec::new(), qemu: None };
                    self.tails.insert(path, tail);
                }
            }
        }
        for tail in self.tails.values_mut() {
            let text = tail.read();
            let now = Instant::now();
            for line in &text {
                record(&self.seen, tail, line, now);
            }
        }
        self.look_for_qemu();
    }

    /// Notes the moment at which libvirt wrote a QEMU process's pid.
    fn look_for_qemu(&mut self) {
        for (path, tail) in &mut self.tails {
            let Some(instance) = path.file_stem() else { continue };
            let run = self.rig.join("hosts").join(tail.host.as_str()).join("run/libvirt/qemu");
            let pid_file = run.join(instance).with_extension("pid");
            let Ok(metadata) = fs::metadata(pid_file) else { continue };
            let identity = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
            if tail.qemu.is_none_or(|(known, _)| known != identity) {
                tail.qemu = Some((identity, Instant::now()));
            }
        }
    }
}

impl Tail {
    /// Returns the lines that ended since the last call.
    fn read(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let read = self
            .file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| self.file.by_ref().take(READ_MAX).read_to_end(&mut bytes));
        let Ok(read) = read else { return Vec::new() };
        self.offset += u64::try_from(read).expect("a length fits");
        self.rest.extend(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let ended: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&ended).lines().map(Into::into).collect()
    }
}

/// Adds one line, if it is a guest's: `quorumfence-guest INSTANCE RUN` on the console, with a counter on the data port.
fn record(seen: &Mutex<BTreeMap<InstanceId, Seen>>, tail: &Tail, line: &str, at: Instant) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["quorumfence-guest", instance, run, rest @ ..] = words.as_slice() else { return };
    let Ok(instance) = instance.parse::<InstanceId>() else { return };
    let mut seen = lock(seen);
    let seen = seen.entry(instance).or_default();
    match seen.runs.iter_mut().find(|known| known.run == *run) {
        Some(known) => known.last_at = at,
        None => seen.runs.push(GuestRun {
            host: tail.host.clone(),
            run: (*run).into(),
            qemu_at: tail.qemu.map(|(_, at)| at),
            first_at: at,
            last_at: at,
        }),
    }
    let Some(Ok(counter)) = rest.first().map(|counter| counter.parse()) else { return };
    if seen.lines.len() == LINES_MAX {
        seen.lines.drain(..LINES_MAX / 2);
    }
    seen.lines.push(GuestLine { at, host: tail.host.clone(), run: (*run).into(), counter });
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
