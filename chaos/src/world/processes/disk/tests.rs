//! On real mounts, so as root.

mod rocks;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const MS: Duration = Duration::from_millis(1);

struct Bench {
    disk: Disk,
    at: PathBuf,
    folder: TempDir,
}

fn bench() -> Bench {
    let folder = TempDir::new().unwrap();
    let at = folder.path().join("mounted");
    let disk = Disk::mount(&folder.path().join("disk"), &at).expect("mounting is root's right");
    Bench { disk, at, folder }
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    fn append(&self, name: &str, text: &str) -> File {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn append_synced(&self, name: &str, text: &str) {
        self.append(name, text).sync_all().unwrap();
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.at).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn sync_names(&self) {
        File::open(&self.at).unwrap().sync_all().unwrap();
    }

    fn lose_all(&self) {
        self.disk.cut_power(Survives::Nothing).unwrap();
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = now();
    while !holds() {
        assert!(now() - began < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str())
}

#[test]
fn what_was_synced_survives_a_power_cut_and_nothing_else_does() {
    let bench = bench();
    bench.append_synced("log", "synced ");
    bench.append("log", "unsynced");
    bench.append("other", "unsynced");
    assert_eq!(bench.text("log"), "synced unsynced");
    assert_eq!(bench.disk.unsynced(), 3);
    bench.lose_all();
    assert_eq!((bench.text("log").as_str(), bench.names()), ("synced ", vec!["log".to_owned()]));
    let counts = Counts { synced: 1, power_cuts: 1, changes_lost: 2, names_lost: 1, ..Counts::default() };
    assert_eq!((bench.disk.counts(), bench.disk.unsynced()), (counts, 0));
}

#[test]
fn a_killed_process_loses_nothing() {
    let bench = bench();
    let mut writer = Command::new("sh");
    writer.args(["-c", "printf written > file; kill -KILL $$"]).current_dir(&bench.at);
    assert!(!writer.status().unwrap().success());
    assert_eq!(bench.text("file"), "written");
    assert!(bench.disk.unsynced() > 0);
}

#[test]
fn overwritten_and_truncated_bytes_come_back() {
    let bench = bench();
    bench.append_synced("file", "0123456789");
    let file = OpenOptions::new().write(true).open(bench.path("file")).unwrap();
    file.write_all_at(b"xyz", 2).unwrap();
    file.set_len(4).unwrap();
    file.write_all_at(b"!", 8).unwrap();
    assert_eq!(bench.text("file"), "01xy\0\0\0\0!");
    bench.lose_all();
    assert_eq!(bench.text("file"), "0123456789");
}

#[test]
fn a_descriptor_that_syncs_each_write_needs_no_sync() {
    let bench = bench();
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_DSYNC);
    let mut file = options.write(true).create(true).truncate(false).open(bench.path("file")).unwrap();
    file.write_all(b"written").unwrap();
    bench.lose_all();
    assert_eq!(bench.text("file"), "written");
}

#[test]
fn chance_leaves_a_prefix_of_a_files_changes_and_tears_the_last() {
    let bench = bench();
    let lines: Vec<String> = (10..30).map(|number| format!("line {number}\n")).collect();
    let whole = lines.concat();
    let mut lengths = Vec::new();
    for seed in 0..40 {
        for line in &lines {
            bench.append("log", line);
        }
        bench.disk.cut_power(Survives::Some(Chance::new(seed, "disk"))).unwrap();
        if bench.path("log").exists() {
            let left = bench.text("log");
            assert!(whole.starts_with(&left), "{left}");
            lengths.push(left.len());
            fs::remove_file(bench.path("log")).unwrap();
            bench.sync_names();
        }
    }
    assert!(lengths.len() > 5 && lengths.len() < 35, "the name survives now and then: {lengths:?}");
    assert!(lengths.iter().any(|length| length % lines[0].len() != 0), "torn: {lengths:?}");
    assert!(lengths.iter().min() != lengths.iter().max(), "{lengths:?}");
}

#[test]
fn names_are_volatile_until_something_is_synced() {
    let bench = bench();
    bench.append_synced("a", "a");
    bench.append_synced("b", "b");
    fs::rename(bench.path("a"), bench.path("b")).unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    fs::rename(bench.path("b"), bench.path("folder/c")).unwrap();
    bench.lose_all();
    assert_eq!(bench.names(), ["a", "b"]);
    assert_eq!((bench.text("a").as_str(), bench.text("b").as_str()), ("a", "b"));

    fs::remove_file(bench.path("a")).unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    fs::rename(bench.path("b"), bench.path("folder/c")).unwrap();
    bench.sync_names();
    fs::rename(bench.path("folder/c"), bench.path("c")).unwrap();
    fs::remove_dir(bench.path("folder")).unwrap();
    bench.lose_all();
    assert_eq!((bench.names(), bench.text("folder/c").as_str()), (vec!["folder".to_owned()], "b"));
    let error = fs::remove_dir(bench.path("folder")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
}

#[test]
fn a_rename_may_survive_without_the_bytes() {
    let bench = bench();
    bench.append_synced("file", "old");
    bench.append("file.new", "new");
    fs::rename(bench.path("file.new"), bench.path("file")).unwrap();
    bench.sync_names();
    bench.lose_all();
    assert_eq!((bench.names(), bench.text("file")), (vec!["file".to_owned()], String::new()));
}

#[test]
fn a_sync_that_fails_takes_its_pages_for_clean() {
    let bench = bench();
    bench.append_synced("log", "one ");
    bench.disk.fail_sync(2);
    bench.append_synced("log", "two ");
    let error = bench.append("log", "three ").sync_all().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    bench.append_synced("log", "four");
    assert_eq!(bench.text("log"), "one two three four", "readers see what was written");
    let counts = Counts { synced: 3, failed: 1, ..Counts::default() };
    assert_eq!(bench.disk.counts(), counts);
    bench.lose_all();
    assert_eq!(bench.text("log"), "one two \0\0\0\0\0\0four", "the platter never had it");
}

#[test]
fn pages_of_a_failed_sync_can_be_evicted() {
    let bench = bench();
    bench.append_synced("log", "one ");
    bench.disk.fail_sync(1);
    bench.append("log", "two ").sync_data().unwrap_err();
    bench.append("other", "kept");
    bench.disk.evict().unwrap();
    assert_eq!((bench.text("log").as_str(), bench.text("other").as_str()), ("one ", "kept"));
}

#[test]
fn a_full_disk_takes_nothing_more_and_gives_and_forgets() {
    let bench = bench();
    bench.append_synced("file", "text");
    let mut file = bench.append("file", "");
    bench.disk.set_trouble(Trouble::Full);
    assert_eq!(file.write_all(b"more").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(File::create(bench.path("new")).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(fs::create_dir(bench.path("new")).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(rustix::fs::statvfs(&bench.at).unwrap().f_bavail, 0);
    file.sync_all().unwrap();
    assert_eq!(bench.text("file"), "text");
    assert_eq!(bench.disk.counts().refused, 3);
    fs::remove_file(bench.path("file")).unwrap();
    bench.disk.set_trouble(Trouble::None);
    bench.append_synced("file", "again");
    assert_eq!(bench.text("file"), "again");
}

#[test]
fn a_slow_disk_takes_its_time_for_each_sync() {
    let bench = bench();
    let file = bench.append("file", "text");
    let quickest = || {
        let syncs = (0..5).map(|_| {
            let began = now();
            file.sync_all().unwrap();
            now() - began
        });
        syncs.min().unwrap()
    };
    let before = quickest();
    bench.disk.set_trouble(Trouble::Slow(60 * MS));
    let after = quickest();
    assert!(after >= 60 * MS, "{after:?}");
    assert!(after > 4 * before, "{after:?} when slow, {before:?} before");
}

#[test]
fn a_stalled_disk_syncs_when_the_stall_is_over() {
    let bench = bench();
    let file = bench.append("file", "text");
    bench.disk.set_trouble(Trouble::Stalled);
    std::thread::scope(|scope| {
        let (done, wait) = mpsc::sync_channel(1);
        scope.spawn(move || done.send(file.sync_all().is_ok()).unwrap());
        assert_eq!(wait.recv_timeout(200 * MS), Err(mpsc::RecvTimeoutError::Timeout));
        bench.append("other", "written to the cache meanwhile");
        bench.disk.set_trouble(Trouble::None);
        assert_eq!(wait.recv_timeout(PATIENCE), Ok(true));
    });
    bench.lose_all();
    assert_eq!((bench.text("file").as_str(), bench.names()), ("text", vec!["file".to_owned()]));
}

#[test]
fn a_power_cut_fails_the_syncs_that_wait() {
    let bench = bench();
    bench.append_synced("file", "synced");
    let file = bench.append("file", " or not");
    bench.disk.set_trouble(Trouble::Stalled);
    std::thread::scope(|scope| {
        let (done, wait) = mpsc::sync_channel(1);
        scope.spawn(move || done.send(file.sync_all().map_err(|error| error.raw_os_error())).unwrap());
        assert_eq!(wait.recv_timeout(100 * MS), Err(mpsc::RecvTimeoutError::Timeout));
        bench.lose_all();
        let answer = wait.recv_timeout(PATIENCE);
        // Whoever still waits would hold this test up.
        bench.disk.set_trouble(Trouble::None);
        assert_eq!(answer, Ok(Err(Some(libc::EIO))));
    });
    assert_eq!(bench.text("file"), "synced");
}

#[test]
fn one_bit_is_flipped_for_good() {
    let bench = bench();
    bench.append_synced("file", "aaaa");
    assert_eq!(bench.disk.flip_bit(Path::new("file"), 32 + 9).unwrap(), Some(1));
    assert_eq!(bench.text("file"), "acaa");
    bench.lose_all();
    assert_eq!(bench.text("file"), "acaa");
    bench.append_synced("empty", "");
    assert_eq!(bench.disk.flip_bit(Path::new("empty"), 1).unwrap(), None);
}

#[test]
fn a_dropped_disk_is_unmounted_even_when_a_file_is_open() {
    let Bench { disk, at, folder } = bench();
    let mut file = File::create(at.join("file")).unwrap();
    assert!(is_mounted(&at));
    drop(disk);
    assert!(!is_mounted(&at));
    file.write_all(b"x").unwrap_err();
    assert!(folder.path().join("disk/platter/file").exists());
}

#[test]
fn a_panic_unmounts_and_frees_those_who_wait() {
    let Bench { disk, at, folder: _folder } = bench();
    let file = File::create(at.join("file")).unwrap();
    disk.set_trouble(Trouble::Stalled);
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || file.sync_all().is_err());
        let fails = scope.spawn(move || {
            let _disk = disk;
            panic!("as a test does that fails");
        });
        fails.join().unwrap_err();
        assert!(waits.join().unwrap());
    });
    assert!(!is_mounted(&at));
}

#[test]
fn a_place_that_is_in_use_is_refused() {
    let bench = bench();
    let error = Disk::mount(&bench.folder.path().join("second"), &bench.at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
}

/// Runs this very test once more as the process that is killed.
#[test]
fn a_dead_mount_is_cleared_by_the_next() {
    const VICTIM: &str = "QUORUMFENCE_TEST_DISK_VICTIM";
    if let Some(folder) = std::env::var_os(VICTIM) {
        let folder = PathBuf::from(folder);
        let _disk = Disk::mount(&folder.join("disk"), &folder.join("mounted")).unwrap();
        fs::write(folder.join("mounted/file"), "written").unwrap();
        // Elsewhere: whoever is killed while it waits for its own disk never ends.
        fs::write(folder.join("ready"), "").unwrap();
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let folder = TempDir::new().unwrap();
    let at = folder.path().join("mounted");
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.arg("a_dead_mount_is_cleared_by_the_next").env(VICTIM, folder.path());
    let mut victim = victim.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the file is there", || folder.path().join("ready").exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the mount is dead", || fs::metadata(&at).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN)));
    let disk = Disk::mount(&folder.path().join("disk"), &at).unwrap();
    assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "written");
    drop(disk);
    assert!(!is_mounted(&at));
}
