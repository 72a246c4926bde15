//! What the rig itself shows: when hosts lost and got power, when QEMU ran for which guest. The product is not asked.
//!
//! ```text
//!   power         the chassis' own record, written once every process of the host is gone
//!   QEMU starts   the time of libvirt's pid file          ends   the last look that still saw it
//! ```
//!
//! So a start is never too early and an end never too late: whoever doubts, acquits.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::Context;
use quorumfence_machine::{HostId, InstanceId, WallMillis};
use quorumfence_node::demo::cluster::Cluster;
use quorumfence_node::demo::hosts::Host;

use crate::observation::{Cause, Seen};

/// Something that happened, on the wall clock of the machine that everything runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) at: WallMillis,
    pub(super) seen: Seen,
}

/// Watches QEMU and remembers what the world did to the power.
#[derive(Debug, Default)]
pub(super) struct Facts {
    running: BTreeMap<(HostId, InstanceId), Qemu>,
    /// Starts and ends of QEMU, as they were seen. Starts have no token yet.
    seen: Vec<Fact>,
    cuts: Vec<Cut>,
}

/// A QEMU process: its pid file's inode and change time.
#[derive(Debug)]
struct Qemu {
    file: (u64, i64, i64),
    seen_at: WallMillis,
}

/// A power cut by the world's own hand.
#[derive(Debug)]
struct Cut {
    host: HostId,
    from: WallMillis,
    to: WallMillis,
}

impl Facts {
    /// Looks for QEMU processes that began and ended since the last look.
    pub(super) fn look(&mut self, cluster: &Cluster, now: WallMillis) {
        for host in cluster.rig().hosts() {
            for guest in cluster.guests() {
                self.look_for(host, (guest.instance, &guest.name), now);
            }
        }
    }

    fn look_for(&mut self, host: &Host, (instance, name): (InstanceId, &str), now: WallMillis) {
        let key = (host.id().clone(), instance);
        let pid_file = host.directory().join("run/libvirt/qemu").join(format!("{name}.pid"));
        let found = fs::metadata(pid_file).ok();
        let file = found.map(|file| (file.ino(), file.ctime(), file.ctime_nsec()));
        if let (Some(file), Some(qemu)) = (file, self.running.get_mut(&key))
            && qemu.file == file
        {
            qemu.seen_at = now;
            return;
        }
        let (host, instance) = key.clone();
        if let Some(qemu) = self.running.remove(&key) {
            let seen = Seen::Ended { instance, host: host.clone() };
            self.seen.push(Fact { at: qemu.seen_at, seen });
        }
        if let Some(file) = file {
            let at = wall((file.1, file.2));
            self.seen.push(Fact { at, seen: Seen::Started { instance, host, token: None } });
            // It may have begun after this look did, and no run ends before it begins.
            let seen_at = now.max(WallMillis(at.0 + 1));
            self.running.insert(key, Qemu { file, seen_at });
        }
    }

    /// Notes that the world cut a host's power at some time in between.
    pub(super) fn cut(&mut self, host: &HostId, from: WallMillis, to: WallMillis) {
        self.cuts.push(Cut { host: host.clone(), from, to });
    }

    /// Returns everything that was seen so far, in no order.
    pub(super) fn all(&self, cluster: &Cluster) -> anyhow::Result<Vec<Fact>> {
        let mut facts = self.seen.clone();
        for host in cluster.rig().hosts() {
            let record = host.power_record().with_context(|| format!("the chassis of {} kept no record", host.id()))?;
            for fact in record {
                let seen = match fact.boot {
                    Some(boot) => Seen::PowerOn { host: host.id().clone(), boot },
                    None => Seen::PowerOff { host: host.id().clone(), cause: self.cause(host.id(), fact.at) },
                };
                facts.push(Fact { at: fact.at, seen });
            }
        }
        Ok(facts)
    }

    /// Only the world and the BMCs have a switch. Where both used it at the same time, it is taken for the world's.
    fn cause(&self, host: &HostId, at: WallMillis) -> Cause {
        let is_ours = self.cuts.iter().any(|cut| cut.host == *host && (cut.from..=cut.to).contains(&at));
        if is_ours { Cause::Outside } else { Cause::Bmc }
    }
}

fn wall((seconds, nanos): (i64, i64)) -> WallMillis {
    WallMillis(u64::try_from(seconds * 1000 + nanos / 1_000_000).unwrap_or_default())
}
