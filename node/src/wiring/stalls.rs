//! Stall points in a laboratory: whoever passes one stands still for as long as a file says.
//!
//! A node whose configuration says `laboratory = true` looks into the folder `stalls` of its data directory. A file
//! there is named after a point and holds milliseconds; it is taken away by the first who comes by. Everywhere else
//! passing a point costs one look at a cell that is empty.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use quorumfence_raft::Point;

/// The folder, below a data directory.
const FOLDER: &str = "stalls";

/// Longer than any permit, election or time-out. A file that says more is cut to this.
const STALL_MAX: Duration = Duration::from_secs(600);

static LABORATORY: OnceLock<PathBuf> = OnceLock::new();

/// Makes this process stop where files say so, until it ends.
pub(super) fn obey(data_dir: &Path) {
    // The first node of a process decides: a laboratory has one process for each.
    LABORATORY.get_or_init(|| data_dir.join(FOLDER));
}

/// Returns when whoever passes may go on.
pub(super) async fn pass(point: Point) {
    let Some(stall) = LABORATORY.get().and_then(|folder| take(folder, point)) else { return };
    tracing::warn!(%point, ?stall, "the laboratory holds this node at a stall point");
    hold(stall).await;
}

fn take(folder: &Path, point: Point) -> Option<Duration> {
    let file = folder.join(point.name());
    let text = std::fs::read_to_string(&file).ok()?;
    // Whoever takes the file away stands still; of two who read it, one finds it gone.
    std::fs::remove_file(&file).ok()?;
    let millis = text.trim().parse().ok()?;
    Some(Duration::from_millis(millis).min(STALL_MAX))
}

async fn hold(stall: Duration) {
    tokio::time::sleep(stall).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_passer_for_its_time_and_a_stranger_holds_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(take(folder, Point::FenceAfterPermit), None);
        std::fs::write(folder.join("fence-after-permit"), "1500\n").unwrap();
        assert_eq!(take(folder, Point::FenceBeforePermit), None);
        assert_eq!(take(folder, Point::FenceAfterPermit), Some(Duration::from_millis(1500)));
        assert_eq!(take(folder, Point::FenceAfterPermit), None);
        std::fs::write(folder.join("fence-after-permit"), "9999999999").unwrap();
        assert_eq!(take(folder, Point::FenceAfterPermit), Some(STALL_MAX));
        std::fs::write(folder.join("fence-after-permit"), "for ever").unwrap();
        assert_eq!(take(folder, Point::FenceAfterPermit), None);
    }
}
