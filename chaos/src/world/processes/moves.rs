//! Moves by hand: an instance goes over once the log lists the copy that comes, as a person would let it.

use std::time::Duration;

use quorumfence_drivers::lab::Laboratory;
use quorumfence_machine::{HostId, InstanceId};
use quorumfence_proto::pb;
use tokio::time::{sleep, timeout};

use super::operator::{ANSWER, Lines};
use super::{Processes, Roll, clock};
use crate::world::sim::{COPY, MOVE_MAX};

/// Between two looks at what the log lists.
const LOOK: Duration = Duration::from_millis(100);

impl Processes {
    /// Begins to move an instance to a host. The move ends by itself, or is given up.
    pub(super) fn move_by_hand(&mut self, instance: InstanceId, to: &HostId) -> anyhow::Result<()> {
        if self.laboratory.moves_to(instance).is_some() {
            return Ok(());
        }
        let known = self.statuses.fresh().values().map(|status| status.applied).max().unwrap_or(0);
        self.laboratory.begin_move(instance, to);
        let (laboratory, roll, lines) = (self.laboratory.clone(), self.roll.clone(), self.lines()?);
        let mover = Mover { laboratory, roll, lines, instance, to: to.clone(), known };
        self.tasks.spawn(mover.wait());
        Ok(())
    }
}

/// Whoever waits for the end of one move.
#[derive(Debug)]
struct Mover {
    laboratory: Laboratory,
    roll: Roll,
    lines: Lines,
    instance: InstanceId,
    to: HostId,
    /// How far the log was when the move began. What it listed until then is of a move before.
    known: u64,
}

impl Mover {
    async fn wait(mut self) {
        let began = clock();
        while self.laboratory.moves_to(self.instance).as_ref() == Some(&self.to) {
            if began.elapsed() >= Duration::from(COPY) && self.is_listed().await {
                self.laboratory.finish_move(self.instance);
            } else if began.elapsed() > Duration::from(MOVE_MAX) {
                return self.laboratory.abandon_move(self.instance);
            }
            sleep(LOOK).await;
        }
    }

    /// Whether any controller has applied that the copy comes to the host, in its present boot.
    async fn is_listed(&mut self) -> bool {
        let Some(boot) = self.laboratory.boot(&self.to) else { return false };
        for id in self.roll.present() {
            let request = pb::HostRequest { host: self.to.to_string(), local: true };
            let asked = async { self.lines.to(id).await?.host_show(request).await };
            let Ok(Ok(reply)) = timeout(ANSWER, asked).await else {
                self.lines.hang_up(id);
                continue;
            };
            let row = reply.into_inner().host.and_then(|report| report.host);
            if let Some(facts) = row.and_then(|row| row.agent)
                && facts.boot == boot.0
                && facts.list_at > self.known
                && facts.moving.contains(&self.instance.0.to_vec())
            {
                return true;
            }
        }
        false
    }
}
