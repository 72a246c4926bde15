//! A simulated hypervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorumfence_machine::{Doubt, HostId, InstanceId, InstanceState, Outcome, Refusal};
use tokio::time::{sleep, timeout};

use super::Laboratory;
use crate::hypervisor::definition::{self, Definition};
use crate::order::{Domain, Hypervisor, StartOrder};

/// The hypervisor of one simulated host.
#[derive(Debug, Clone)]
pub struct LaboratoryHypervisor {
    laboratory: Laboratory,
    host: HostId,
    /// The last change that was told, so that none between two calls of `changed` is missed.
    told: Arc<AtomicU64>,
}

impl LaboratoryHypervisor {
    pub(super) fn new(laboratory: Laboratory, host: HostId) -> Self {
        Self { laboratory, host, told: Arc::default() }
    }
}

impl Hypervisor for LaboratoryHypervisor {
    async fn inventory(&self, deadline: Duration) -> Outcome<Vec<Domain>> {
        if !self.laboratory.is_on(&self.host) {
            return self.silence(deadline).await;
        }
        Outcome::Observed(self.laboratory.world().running(&self.host))
    }

    async fn start(&self, order: StartOrder, deadline: Duration) -> Outcome<InstanceState> {
        let Ok(Definition { instance, name, memory_mib, tag: Ok(tag) }) = definition::parse(&order.definition) else {
            return Outcome::Refused(Refusal::Hypervisor);
        };
        if instance != order.instance {
            return Outcome::Refused(Refusal::Hypervisor);
        }
        if timeout(deadline, sleep(self.laboratory.pace.start)).await.is_err() {
            return Outcome::Unknown(Doubt::Timeout);
        }
        let domain = Domain {
            instance: order.instance,
            name,
            state: InstanceState::Running,
            ha_enabled: tag.enabled,
            priority: tag.priority,
            memory_mib,
            definition: order.definition,
        };
        let at = self.laboratory.now();
        let runs = self.laboratory.world().start(at, &self.host, domain);
        if runs { Outcome::Observed(InstanceState::Running) } else { self.silence(deadline).await }
    }

    async fn stop(&self, instance: InstanceId, deadline: Duration) -> Outcome<InstanceState> {
        if !self.laboratory.is_on(&self.host) {
            return self.silence(deadline).await;
        }
        let at = self.laboratory.now();
        self.laboratory.world().stop(at, &self.host, instance);
        Outcome::Observed(InstanceState::Stopped)
    }

    async fn changed(&self) {
        let changes = self.laboratory.world().changes(&self.host);
        let told = self.told.load(Ordering::SeqCst);
        let newest = match changes {
            Some(mut changes) => changes.wait_for(|newest| *newest != told).await.map(|newest| *newest).ok(),
            None => None,
        };
        match newest {
            Some(newest) => self.told.store(newest, Ordering::SeqCst),
            None => std::future::pending::<()>().await,
        }
    }
}

impl LaboratoryHypervisor {
    /// A host without power answers nothing.
    async fn silence<T>(&self, deadline: Duration) -> Outcome<T> {
        sleep(deadline).await;
        Outcome::Unknown(Doubt::Timeout)
    }
}
