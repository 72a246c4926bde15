//! A simulated hypervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorumfence_machine::{Doubt, HostId, InstanceId, InstanceState, Outcome, Refusal};
use tokio::time::{sleep, timeout};

use super::{HypervisorMode, Laboratory, millis};
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
        match self.mode() {
            None | Some(HypervisorMode::Hangs) => self.silence(deadline).await,
            Some(
                HypervisorMode::Works | HypervisorMode::Fails | HypervisorMode::LosesAnswer | HypervisorMode::Late(_),
            ) => Outcome::Observed(self.laboratory.world().running(&self.host)),
        }
    }

    async fn start(&self, order: StartOrder, deadline: Duration) -> Outcome<InstanceState> {
        let (instance, token) = (order.instance, order.token);
        let Some(domain) = domain(order) else { return Outcome::Refused(Refusal::Hypervisor) };
        let pace = self.laboratory.pace.start;
        let (after, is_answered) = match self.mode() {
            None | Some(HypervisorMode::Hangs) => return self.silence(deadline).await,
            Some(HypervisorMode::Fails) => return Outcome::Refused(Refusal::Hypervisor),
            Some(HypervisorMode::Works) => (pace, true),
            Some(HypervisorMode::LosesAnswer) => (pace, false),
            Some(HypervisorMode::Late(after)) => (after, true),
        };
        if deadline.is_zero() || !self.laboratory.world().order_start(&self.host, domain, token, millis(after)) {
            return self.silence(deadline).await;
        }
        let is_in_time = timeout(deadline, sleep(after)).await.is_ok();
        let runs = self.laboratory.runs_on(instance).contains(&self.host);
        match (is_in_time, runs && is_answered) {
            (true, true) => Outcome::Observed(InstanceState::Running),
            (true, false) => self.silence(deadline.saturating_sub(after)).await,
            (false, _) => Outcome::Unknown(Doubt::Timeout),
        }
    }

    async fn stop(&self, instance: InstanceId, deadline: Duration) -> Outcome<InstanceState> {
        let is_answered = match self.mode() {
            None | Some(HypervisorMode::Hangs) => return self.silence(deadline).await,
            Some(HypervisorMode::LosesAnswer) => false,
            Some(HypervisorMode::Works | HypervisorMode::Fails | HypervisorMode::Late(_)) => true,
        };
        self.laboratory.world().stop(&self.host, instance);
        if is_answered { Outcome::Observed(InstanceState::Stopped) } else { self.silence(deadline).await }
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
    /// Returns how it behaves; `None` on a host without power.
    fn mode(&self) -> Option<HypervisorMode> {
        let world = self.laboratory.world();
        world.is_on(&self.host).then(|| world.hypervisor_mode(&self.host))
    }

    async fn silence<T>(&self, deadline: Duration) -> Outcome<T> {
        sleep(deadline).await;
        Outcome::Unknown(Doubt::Timeout)
    }
}

/// Returns the domain that an order means; `None` when its definition is none, or that of another instance.
fn domain(order: StartOrder) -> Option<Domain> {
    let Ok(Definition { instance, name, memory_mib, tag: Ok(tag) }) = definition::parse(&order.definition) else {
        return None;
    };
    (instance == order.instance).then_some(Domain {
        instance,
        name,
        state: InstanceState::Running,
        ha_enabled: tag.enabled,
        priority: tag.priority,
        memory_mib,
        definition: order.definition,
    })
}
