//! What guests boot: the machine's own cloud kernel, and an initial RAM disk with busybox and one script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::run::{command, find, write};
use super::{Error, file_error, make_directory};

const GUEST_INIT: &str = include_str!("../guest/init.sh");

/// Kernel modules by which a guest sees a disk. The guest's init script loads them in this order.
const DISK_DRIVER: [&str; 6] = [
    "virtio/virtio_ring.ko",
    "virtio/virtio.ko",
    "virtio/virtio_pci_legacy_dev.ko",
    "virtio/virtio_pci_modern_dev.ko",
    "virtio/virtio_pci.ko",
    "block/virtio_blk.ko",
];

/// Returns the newest installed cloud kernel: small, and with its serial driver built in.
pub(super) fn kernel() -> Option<PathBuf> {
    let entries = fs::read_dir("/boot").ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let kernels = names.filter(|name| name.starts_with("vmlinuz-") && name.ends_with("-cloud-amd64"));
    kernels.max().map(|name| Path::new("/boot").join(name))
}

/// Puts `kernel` and `initrd` into the shared directory.
pub(super) fn build(shared: &Path) -> Result<(), Error> {
    let kernel = kernel().expect("the rig checked that a kernel is installed");
    let busybox = find("busybox").expect("the rig checked that busybox is installed");
    let root = shared.join("initrd.root");
    for directory in ["bin", "dev", "proc"] {
        make_directory(&root.join(directory))?;
    }
    copy(&kernel, &shared.join("kernel"))?;
    copy(&busybox, &root.join("bin/busybox"))?;
    let init = root.join("init");
    write(&init, GUEST_INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).map_err(|source| file_error(&init, source))?;
    pack(shared)
}

/// Adds to the initial RAM disk what a guest needs to write to a disk.
pub(super) fn add_disk_driver(shared: &Path) -> Result<(), Error> {
    let kernel = kernel().expect("the rig checked that a kernel is installed");
    let release = kernel.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("vmlinuz-"));
    let modules = Path::new("/lib/modules").join(release.expect("a kernel is chosen by this name"));
    let into = shared.join("initrd.root/modules");
    make_directory(&into)?;
    for module in DISK_DRIVER {
        let from = modules.join("kernel/drivers").join(module);
        copy(&from, &into.join(from.file_name().expect("it is a file")))?;
    }
    pack(shared)
}

fn pack(shared: &Path) -> Result<(), Error> {
    let root = shared.join("initrd.root");
    let script = r#"cd "$1" && find . | cpio --create --format=newc --quiet | gzip -1 >"$2""#;
    let initrd = shared.join("initrd");
    command("sh", ["-c".as_ref(), script.as_ref(), "initrd".as_ref(), root.as_os_str(), initrd.as_os_str()])?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).map(drop).map_err(|source| file_error(from, source))
}
