//! Snapshot files: a folder of the file system and the simulated disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use quorumfence_chaos::chance::Chance;
use quorumfence_chaos::world::sim::disk::SimDisk;
use quorumfence_storage::{Folder, SnapshotFiles};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::rocks;

const STEPS: usize = 30;
const NAMES: [&str; 3] = ["1.snapshot", "2.snapshot", "3.snapshot"];

type Files = BTreeMap<String, Vec<u8>>;

struct Run {
    seed: u64,
    chance: Chance,
    here: TempDir,
    folder: Folder,
    sim: SimDisk,
    files: Files,
    /// Removed since the folder was synced: a power loss may bring them back.
    ghosts: Files,
}

pub(crate) async fn run(seed: u64) {
    let here = rocks::folder();
    let folder = Folder::open(here.path()).expect("an empty folder");
    let chance = Chance::new(seed, "snapshot files");
    let sim = SimDisk::default();
    let mut run = Run { seed, chance, here, folder, sim, files: Files::new(), ghosts: Files::new() };
    for step in 0..STEPS {
        run.take_a_step().await;
        run.agree(step);
    }
}

impl Run {
    async fn take_a_step(&mut self) {
        let name = *self.chance.pick(&NAMES).expect("there are names");
        match self.chance.below(10) {
            0..4 => {
                let bytes = self.bytes();
                self.folder.publish(name, bytes.clone()).await.expect("a healthy disk");
                self.publish_on_sim(name, bytes).await;
            }
            4..6 => {
                self.folder.remove(name).expect("a healthy disk");
                self.sim.remove(name).expect("a healthy disk");
                self.ghosts.extend(self.files.remove_entry(name));
            }
            6 => {
                self.folder = Folder::open(self.here.path()).expect("what a crash leaves opens");
                self.sim.kill();
            }
            7 => {
                self.cut_power_of_folder(|_| {});
                self.sim.cut_power(0);
                self.bury_ghosts();
            }
            _ => self.lose_power_while_publishing(name).await,
        }
    }

    async fn publish_on_sim(&mut self, name: &str, bytes: Vec<u8>) {
        self.sim.publish(name, bytes.clone()).await.expect("a healthy disk");
        self.files.insert(name.to_owned(), bytes);
        self.ghosts.clear();
    }

    /// The old bytes or the new ones, and never others.
    async fn lose_power_while_publishing(&mut self, name: &str) {
        let bytes = self.bytes();
        let renamed = self.chance.percent(50);
        let written = usize::try_from(self.chance.draw()).unwrap_or(usize::MAX) % (bytes.len() + 1);
        self.cut_power_of_folder(|folder| {
            let aside = folder.join(format!("{name}.aside"));
            fs::write(&aside, if renamed { &bytes } else { &bytes[..written] }).expect("a file aside");
            if renamed {
                fs::rename(aside, folder.join(name)).expect("a file can be renamed");
            }
        });
        let cut = timeout(Duration::from_millis(1), self.sim.publish(name, bytes.clone())).await;
        assert!(cut.is_err(), "seed {}: it takes longer", self.seed);
        self.sim.cut_power(0);
        if renamed {
            self.ghosts.remove(name);
            self.files.insert(name.to_owned(), bytes.clone());
            self.bury_ghosts();
            self.publish_on_sim(name, bytes).await;
        } else {
            self.bury_ghosts();
        }
    }

    /// Replaces the folder by what a power loss leaves, and may leave besides.
    fn cut_power_of_folder(&mut self, spoil: impl FnOnce(&Path)) {
        let image = rocks::folder();
        for name in self.folder.names().expect("a healthy disk") {
            fs::copy(self.here.path().join(&name), image.path().join(&name)).expect("a file of ours");
        }
        for (name, bytes) in &self.ghosts {
            if !self.files.contains_key(name) && self.chance.percent(50) {
                fs::write(image.path().join(name), bytes).expect("a temporary directory");
            }
        }
        spoil(image.path());
        self.folder = Folder::open(image.path()).expect("what a crash leaves opens");
        self.here = image;
    }

    /// Checks that what came back is what was removed, and removes it again, as the next publication does.
    fn bury_ghosts(&mut self) {
        for name in self.folder.names().expect("a healthy disk") {
            if self.files.contains_key(&name) {
                continue;
            }
            let bytes = self.folder.read(&name).expect("a healthy disk");
            assert_eq!(self.ghosts.get(&name), Some(&bytes), "seed {}: {name} comes from nowhere", self.seed);
            self.folder.remove(&name).expect("a healthy disk");
        }
    }

    fn agree(&self, step: usize) {
        assert!(read(&self.folder) == self.files, "seed {}, step {step}: the folder differs", self.seed);
        assert!(read(&self.sim) == self.files, "seed {}, step {step}: the simulated disk differs", self.seed);
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.chance.below(2000);
        (0..length).map(|_| self.chance.draw().to_le_bytes()[0]).collect()
    }
}

fn read(files: &impl SnapshotFiles) -> Files {
    let names = files.names().expect("a healthy disk");
    names.into_iter().map(|name| (name.clone(), files.read(&name).expect("it was listed"))).collect()
}
