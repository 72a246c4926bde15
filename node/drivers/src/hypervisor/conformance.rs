//! What every [`Hypervisor`] must do, as functions that a driver's tests call. They panic where the driver does not.
//!
//! They change the hypervisor that they are given: it must be a test bed.

use std::time::Duration;

use quorumfence_machine::{InstanceId, InstanceState, LogIndex, Outcome, Refusal, Token};

use super::definition;
use crate::order::{Domain, Hypervisor, StartOrder};

/// Longest wait for one order of the suite; a guest start under emulation takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// An instance that the suite may start and stop.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its id.
    pub instance: InstanceId,
    /// A definition that the hypervisor accepts, of this instance, opted in with priority 900.
    pub definition: String,
}

/// Runs the whole suite in order, and leaves the subject stopped.
pub async fn all<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    stopping_what_is_not_there_is_stopped(hypervisor, subject).await;
    a_start_is_seen_in_the_inventory(hypervisor, subject).await;
    a_second_start_changes_nothing(hypervisor, subject).await;
    a_stop_leaves_nothing_that_could_start(hypervisor, subject).await;
    a_definition_of_another_instance_is_refused(hypervisor, subject).await;
    a_definition_that_is_no_domain_is_refused(hypervisor, subject).await;
    a_definition_that_the_schema_forbids_is_refused(hypervisor, subject).await;
    starts_and_stops_wake_the_agent(hypervisor, subject).await;
    no_time_at_all_is_unknown(hypervisor, subject).await;
}

/// Stopping an instance that the hypervisor does not know is done already.
pub async fn stopping_what_is_not_there_is_stopped<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    assert_eq!(hypervisor.stop(subject.instance, PATIENCE).await, Outcome::Observed(InstanceState::Stopped));
    assert_eq!(hypervisor.stop(subject.instance, PATIENCE).await, Outcome::Observed(InstanceState::Stopped));
}

/// A started instance is listed as running, with its tag and a definition that could start it again.
pub async fn a_start_is_seen_in_the_inventory<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    assert_eq!(hypervisor.start(order(subject), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    let domain = find(hypervisor, subject).await.expect("a started instance is in the inventory");
    assert_eq!((domain.state, domain.ha_enabled, domain.priority), (InstanceState::Running, true, 900));
    let ordered = definition::parse(&subject.definition).expect("the subject's definition can be read");
    let listed = definition::parse(&domain.definition).expect("a listed definition can be read");
    assert_eq!(listed, ordered);
    assert_eq!((domain.name, domain.memory_mib), (ordered.name, ordered.memory_mib));
}

/// Starting what runs is done already.
pub async fn a_second_start_changes_nothing<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    assert_eq!(hypervisor.start(order(subject), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    let before = find(hypervisor, subject).await;
    assert_eq!(hypervisor.start(order(subject), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    assert_eq!(find(hypervisor, subject).await, before);
}

/// A stopped instance leaves no definition behind.
pub async fn a_stop_leaves_nothing_that_could_start<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    assert_eq!(hypervisor.start(order(subject), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    assert_eq!(hypervisor.stop(subject.instance, PATIENCE).await, Outcome::Observed(InstanceState::Stopped));
    assert_eq!(find(hypervisor, subject).await, None);
}

/// The order's instance and the definition's must be one.
pub async fn a_definition_of_another_instance_is_refused<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    let mut other = subject.instance;
    other.0[15] ^= 1;
    let refused = hypervisor.start(StartOrder { instance: other, ..order(subject) }, PATIENCE).await;
    assert_eq!(refused, Outcome::Refused(Refusal::Hypervisor));
    assert_eq!(find(hypervisor, subject).await, None);
}

/// Text that is no domain is refused.
pub async fn a_definition_that_is_no_domain_is_refused<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    for definition in ["", "<domain", "<network/>", "<domain><name>half</name></domain>"] {
        let refused = hypervisor.start(StartOrder { definition: definition.into(), ..order(subject) }, PATIENCE).await;
        assert_eq!(refused, Outcome::Refused(Refusal::Hypervisor), "{definition}");
    }
}

/// A definition with a part that nobody knows is refused, not started without it.
pub async fn a_definition_that_the_schema_forbids_is_refused<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    let definition = subject.definition.replace("</domain>", "<unheard-of/></domain>");
    let refused = hypervisor.start(StartOrder { definition, ..order(subject) }, PATIENCE).await;
    assert_eq!(refused, Outcome::Refused(Refusal::Hypervisor));
    assert_eq!(find(hypervisor, subject).await, None);
}

/// `changed` returns after a start and after a stop.
pub async fn starts_and_stops_wake_the_agent<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    quiet(hypervisor).await;
    assert_eq!(hypervisor.start(order(subject), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    woken(hypervisor, "a start").await;
    quiet(hypervisor).await;
    assert_eq!(hypervisor.stop(subject.instance, PATIENCE).await, Outcome::Observed(InstanceState::Stopped));
    woken(hypervisor, "a stop").await;
}

/// A deadline of nothing is a timeout, and the order is not carried out behind the caller's back.
pub async fn no_time_at_all_is_unknown<H: Hypervisor>(hypervisor: &H, subject: &Subject) {
    let outcome = hypervisor.start(order(subject), Duration::ZERO).await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    assert_eq!(find(hypervisor, subject).await, None);
}

fn order(subject: &Subject) -> StartOrder {
    StartOrder { instance: subject.instance, definition: subject.definition.clone(), token: Token(LogIndex(7)) }
}

async fn find<H: Hypervisor>(hypervisor: &H, subject: &Subject) -> Option<Domain> {
    match hypervisor.inventory(PATIENCE).await {
        Outcome::Observed(domains) => domains.into_iter().find(|domain| domain.instance == subject.instance),
        Outcome::Refused(refusal) => panic!("the inventory was refused: {refusal}"),
        Outcome::Unknown(doubt) => panic!("the inventory is unknown: {doubt}"),
    }
}

/// Drains what earlier steps may still wake, so that the next wake-up is the next step's.
async fn quiet<H: Hypervisor>(hypervisor: &H) {
    while tokio::time::timeout(Duration::from_millis(300), hypervisor.changed()).await.is_ok() {}
}

async fn woken<H: Hypervisor>(hypervisor: &H, by: &str) {
    let woken = tokio::time::timeout(PATIENCE, hypervisor.changed()).await;
    assert!(woken.is_ok(), "{by} did not wake the agent");
}
