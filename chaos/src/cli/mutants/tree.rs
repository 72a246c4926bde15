//! A copy of the tree with every bug in it, and its build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use quorumfence_chaos::mutants;
use serde::Deserialize;

/// What cargo tells about a workspace.
#[derive(Debug, Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// Copies the tree, plants every bug in the copy and builds it. Returns the program that has them all.
///
/// The copy has a version of its own, so its crates have other names in the shared build directory: dependencies are
/// built once for both, and nothing of the real tree is replaced.
pub(super) fn build(source: &Path) -> anyhow::Result<PathBuf> {
    let target = target_directory(source)?;
    let place = target.join("mutants");
    let (fresh, tree) = (place.join("fresh"), place.join("tree"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("{} cannot be removed", fresh.display()))?;
    }
    copy(source, &fresh)?;
    plant(source, &fresh)?;
    follow(&fresh, &tree)?;
    fs::remove_dir_all(&fresh).with_context(|| format!("{} cannot be removed", fresh.display()))?;
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--package", "quorumfence-chaos"])
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", &place)
        .env("CARGO_BUILD_BUILD_DIR", &target)
        .status()
        .context("cargo cannot be started")?;
    ensure!(built.success(), "the planted copy in {} does not build", tree.display());
    Ok(place.join("release/quorumfence-chaos"))
}

/// Applies every patch, in order.
fn plant(source: &Path, tree: &Path) -> anyhow::Result<()> {
    let above = tree.parent().unwrap_or(tree);
    for patch in mutants::patches(&source.join("chaos/mutants"))? {
        // A copy inside a checkout must not be taken for a part of it.
        let applied = Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .arg(&patch)
            .current_dir(tree)
            .env("GIT_CEILING_DIRECTORIES", above)
            .output()
            .context("git cannot be started")?;
        let why = String::from_utf8_lossy(&applied.stderr).into_owned();
        ensure!(applied.status.success(), "{} does not apply: {why}", patch.display());
    }
    Ok(())
}

/// Copies what git tracks, and what it would.
fn copy(source: &Path, to: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(source)
        .output()
        .context("git cannot be started")?;
    ensure!(listed.status.success(), "{} is no checkout; name one with --source", source.display());
    let names = String::from_utf8(listed.stdout).context("a file has no readable name")?;
    for name in names.split_terminator('\0') {
        let (from, to) = (source.join(name), to.join(name));
        if from.is_file() {
            put(&from, &to)?;
        }
    }
    Ok(())
}

/// Makes `tree` like `fresh`. What is the same stays untouched, so that cargo does not build it again.
fn follow(fresh: &Path, tree: &Path) -> anyhow::Result<()> {
    let (new, old) = (files(fresh)?, files(tree)?);
    for name in old.difference(&new).filter(|name| !name.starts_with("Cargo.lock")) {
        fs::remove_file(tree.join(name)).with_context(|| format!("{} cannot be removed", name.display()))?;
    }
    for name in &new {
        let (from, to) = (fresh.join(name), tree.join(name));
        if fs::read(&from).ok() != fs::read(&to).ok() {
            put(&from, &to)?;
        }
    }
    Ok(())
}

/// Returns the names of all files below a directory; none when it does not exist.
fn files(directory: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop().filter(|next| next.is_dir()) {
        for entry in fs::read_dir(&next).with_context(|| format!("{} cannot be read", next.display()))? {
            let path = entry.with_context(|| format!("{} cannot be read", next.display()))?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(directory)?.to_path_buf());
            }
        }
    }
    Ok(found)
}

fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let directory = to.parent().unwrap_or(to);
    fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    fs::copy(from, to).map(drop).with_context(|| format!("{} cannot be written", to.display()))
}

fn target_directory(source: &Path) -> anyhow::Result<PathBuf> {
    let asked = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(source)
        .output()
        .context("cargo cannot be started")?;
    ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let metadata: Metadata = serde_json::from_slice(&asked.stdout).context("cargo's metadata is not understood")?;
    Ok(metadata.target_directory)
}
