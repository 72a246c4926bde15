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
            ) => Outcome::Observed(self.laboratory.world().listed(&self.host)),
        }
    }

    async fn start(&self, order: StartOrder, deadline: Duration) -> Outcome<InstanceState> {
        let (instance, token) = (order.instance, order.token);
        let Some(domain) = domain(order) else { return Outcome::Refused(Refusal::Hypervisor) };
        if self.laboratory.world().is_coming(instance, &self.host) {
            return Outcome::Unknown(Doubt::Ambiguous);
        }
        let pace = self.laboratory.pace.start;
        let (after, is_answered) = match self.mode() {
            None | Some(HypervisorMode::Hangs) => return self.silence(deadline).await,
            Some(HypervisorMode::Fails) if self.runs(instance) => return Outcome::Observed(InstanceState::Running),
            // As libvirt says that a domain is being started already.
            Some(HypervisorMode::Fails) if self.laboratory.world().is_being_started(instance, &self.host) => {
                return Outcome::Unknown(Doubt::Ambiguous);
            }
            Some(HypervisorMode::Fails) => return Outcome::Refused(Refusal::Hypervisor),
            Some(HypervisorMode::Works) => (pace, true),
            Some(HypervisorMode::LosesAnswer) => (pace, false),
            Some(HypervisorMode::Late(after)) => (after, true),
        };
        if deadline.is_zero() || !self.laboratory.world().order_start(&self.host, domain, token, millis(after)) {
            return self.silence(deadline).await;
        }
        let is_in_time = timeout(deadline, sleep(after)).await.is_ok();
        match (is_in_time, self.runs(instance) && is_answered) {
            (true, true) => Outcome::Observed(InstanceState::Running),
            (true, false) => self.silence(deadline.saturating_sub(after)).await,
            (false, _) => Outcome::Unknown(Doubt::Timeout),
        }
    }

    async fn stop(&self, instance: InstanceId, deadline: Duration) -> Outcome<InstanceState> {
        let after = match self.mode() {
            None | Some(HypervisorMode::Hangs) => return self.silence(deadline).await,
            Some(HypervisorMode::Fails) if self.runs(instance) => return Outcome::Unknown(Doubt::Internal),
            Some(HypervisorMode::Fails) => return Outcome::Observed(InstanceState::Stopped),
            Some(HypervisorMode::LosesAnswer) => {
                self.laboratory.world().stop(&self.host, instance);
                return self.silence(deadline).await;
            }
            Some(HypervisorMode::Works) => Duration::ZERO,
            Some(HypervisorMode::Late(after)) => after,
        };
        if after.is_zero() {
            self.laboratory.world().stop(&self.host, instance);
            return Outcome::Observed(InstanceState::Stopped);
        }
        self.laboratory.world().order_stop(&self.host, instance, millis(after));
        if timeout(deadline, sleep(after)).await.is_err() {
            return Outcome::Unknown(Doubt::Timeout);
        }
        if self.runs(instance) {
            self.silence(deadline.saturating_sub(after)).await
        } else {
            Outcome::Observed(InstanceState::Stopped)
        }
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

    fn runs(&self, instance: InstanceId) -> bool {
        self.laboratory.runs_on(instance).contains(&self.host)
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
