//! Snapshot files in a folder of the file system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use super::SnapshotFiles;

/// The suffix of a file whose publication has not finished.
const ASIDE: &str = ".aside";

/// A folder that holds nothing but snapshots.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the folder, creates it when absent, and removes what interrupted publications left.
    pub fn open(path: &Path) -> io::Result<Folder> {
        fs::create_dir_all(path)?;
        let folder = Folder { path: path.to_owned() };
        for name in folder.all_names()?.into_iter().filter(|name| name.ends_with(ASIDE)) {
            fs::remove_file(path.join(name))?;
        }
        Ok(folder)
    }

    fn all_names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // Names that are not text are not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

impl SnapshotFiles for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.all_names()?;
        names.retain(|name| !name.ends_with(ASIDE));
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    async fn publish(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let (path, name) = (self.path.clone(), name.to_owned());
        let (done, answer) = oneshot::channel();
        std::thread::Builder::new().name("storage-snapshot".to_owned()).spawn(move || {
            // Nobody waits any more when the replica is shut down; the file is good all the same.
            drop(done.send(write_aside_and_rename(&path, &name, &bytes)));
        })?;
        answer.await.map_err(io::Error::other)?
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) | Ok(()) => Ok(()),
        }
    }
}

fn write_aside_and_rename(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let aside = folder.join(format!("{name}{ASIDE}"));
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, folder.join(name))?;
    File::open(folder)?.sync_all()
}
