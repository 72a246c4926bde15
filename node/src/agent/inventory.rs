//! What the hypervisor knows, as the report that controllers get.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorumfence_drivers::order::{Domain, Hypervisor};
use quorumfence_machine::{AgentReport, Doubt, InstanceReport, LogIndex, Outcome};
use quorumfence_raft::{Clock, Point, Runtime};

use super::Shared;
use crate::environment::AgentEnvironment;

/// The hypervisor's time to list its instances.
const DEADLINE: Duration = Duration::from_secs(5);

/// How much later than its deadline the driver is given up.
const GRACE: Duration = Duration::from_millis(500);

/// The inventory is read this often even when the hypervisor says that nothing changed.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shortest time between two readings: a start makes several lifecycle events at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads the inventory at start, on changes and on schedule, until the agent stops.
pub(super) async fn run<E: AgentEnvironment>(shared: Arc<Shared<E>>) {
    let stop = shared.stop.clone();
    let mut wanted = shared.list_as_of.subscribe();
    let reading = async {
        loop {
            let asked = *wanted.borrow_and_update();
            read(&shared, asked).await;
            E::Runtime::sleep(PAUSE).await;
            tokio::select! {
                biased;
                () = shared.hypervisor.changed() => {}
                changed = wanted.changed() => assert!(changed.is_ok(), "this task holds the sender"),
                () = E::Runtime::sleep(INTERVAL) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        () = reading => {}
    }
}

/// Reads the inventory once, as of what the agent was told before: what was started by then is listed or has ended.
///
/// A list that says the same is not sent again, however old the last one is, unless a controller asked for a later one.
async fn read<E: AgentEnvironment>(shared: &Shared<E>, asked: Option<LogIndex>) {
    let as_of = Some(LogIndex(shared.told.load(Ordering::SeqCst)));
    E::pass(Point::AgentBeforeInventory).await;
    let began = shared.clock.now();
    let listed = E::Runtime::timeout(DEADLINE + GRACE, shared.hypervisor.inventory(DEADLINE)).await;
    let domains = match listed.unwrap_or(Outcome::Unknown(Doubt::Timeout)) {
        Outcome::Observed(domains) => domains,
        Outcome::Refused(refusal) => {
            tracing::warn!(host = %shared.host, %refusal, "the hypervisor did not list its instances; the last report stands");
            return;
        }
        Outcome::Unknown(doubt) => {
            tracing::warn!(host = %shared.host, %doubt, "the hypervisor did not list its instances; the last report stands");
            return;
        }
    };
    E::pass(Point::AgentAfterInventory).await;
    let mut instances: Vec<InstanceReport> = domains.into_iter().map(row).collect();
    instances.sort_by_key(|row| row.id);
    shared.report.send_if_modified(|last| {
        let report = AgentReport {
            boot: shared.boot,
            system_uuid: shared.system_uuid,
            memory_mib: shared.memory_mib,
            instances,
            // Read here, where the keeper cannot have written another one into the report meanwhile.
            cannot_refuse: shared.cannot_refuse.load(Ordering::SeqCst),
            listed: began,
            as_of,
        };
        let says_the_same = |last: &AgentReport| {
            last.as_of >= asked && *last == AgentReport { listed: last.listed, as_of: last.as_of, ..report.clone() }
        };
        let differs = !last.as_deref().is_some_and(says_the_same);
        if differs {
            *last = Some(Arc::new(report));
        }
        differs
    });
}

fn row(domain: Domain) -> InstanceReport {
    InstanceReport {
        id: domain.instance,
        name: domain.name,
        state: domain.state,
        ha_enabled: domain.ha_enabled,
        priority: domain.priority,
        memory_mib: domain.memory_mib,
        definition: domain.definition,
    }
}
