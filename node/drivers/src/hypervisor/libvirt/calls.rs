//! The three orders, as libvirt calls. Each ends by reading back what it claims.

use quorumfence_machine::{InstanceId, InstanceState};
use virt::connect::Connect;
use virt::domain::{
    Domain as Guest, DomainPausedReason, DomainRunningReason, DomainShutoffReason, DomainState, DomainStateReason,
    DomainStateReasonEnum,
};
use virt::enumutil::Enum;
use virt::error::ErrorNumber;
use virt::sys;

use super::Failure;
use super::session::{Fault, Session};
use crate::hypervisor::definition::{self, Definition, PRIORITY_DEFAULT, Tag};
use crate::order::{Domain, StartOrder};

/// What to remove with a definition, most thorough first; drivers differ in what they accept.
///
/// NVRAM is kept: the next start of the same instance on this host needs it, and another host never reads it.
const UNDEFINE_FLAGS: [sys::virDomainUndefineFlagsValues; 3] = [
    sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM,
    sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
    0,
];

/// Lists every domain that libvirt knows, running or not, in the order of their UUIDs.
pub(super) fn inventory(session: &Session) -> Result<Vec<Domain>, Failure> {
    let mut domains = Vec::new();
    for guest in session.connect().list_all_domains(0)? {
        match describe(&guest) {
            Ok(domain) => {
                if domain.as_ref().is_some_and(|domain| domain.ha_enabled) {
                    forbid_autostart(&guest);
                }
                domains.extend(domain);
            }
            Err(Failure::Libvirt(error)) if error.code() == ErrorNumber::NoDomain.into() => {}
            Err(failure) => return Err(failure),
        }
    }
    domains.sort_by_key(|domain| domain.instance);
    Ok(domains)
}

/// Takes an opted-in domain's autostart away: its host may come back after the log gave it to another.
fn forbid_autostart(guest: &Guest) {
    // A transient domain has none, and libvirt says so with an error.
    if !guest.autostart().unwrap_or(false) {
        return;
    }
    match guest.set_autostart(false) {
        Ok(()) => tracing::info!(name = ?guest.name(), "switched autostart off: only the log starts this instance"),
        Err(error) => tracing::warn!(name = ?guest.name(), %error, "autostart cannot be switched off"),
    }
}

/// Starts the instance as a transient domain, after removing any definition that could start it by itself.
///
/// A refusal says that the instance does not run here, and another host may get it. It is given only for an order that
/// libvirt took up, or that will never be sent, and only after libvirt was asked for the instance and runs none.
pub(super) fn start(session: &Session, order: &StartOrder) -> Result<InstanceState, Failure> {
    let is_sound = is_sound(order);
    if let Some(guest) = find(session.connect(), order.instance)? {
        if is_sound {
            session.still_wanted()?;
            undefine(&guest)?;
        }
        match presence(&guest)? {
            Presence::Settled => return Ok(InstanceState::Running),
            Presence::Unsettled => return Err(Failure::Ambiguous),
            Presence::Absent => {}
        }
    }
    if !is_sound {
        return Err(Failure::Refused);
    }
    let created = session.still_wanted()?.create_domain_xml(&order.definition, sys::VIR_DOMAIN_START_VALIDATE);
    let Some(guest) = find(session.connect(), order.instance)? else {
        return match created {
            Err(error) => Err(refusal(order, error)),
            Ok(_) => Ok(InstanceState::Crashed),
        };
    };
    match presence(&guest)? {
        Presence::Settled => Ok(InstanceState::Running),
        Presence::Unsettled | Presence::Absent => Err(Failure::Ambiguous),
    }
}

/// Tells whether the order's definition can be read and is of its instance.
fn is_sound(order: &StartOrder) -> bool {
    match definition::parse(&order.definition) {
        Ok(definition) if definition.instance == order.instance => true,
        Ok(definition) => {
            tracing::warn!(instance = %order.instance, token = %order.token, definition = %definition.instance,
                "a start is not sent: the definition is of another instance");
            false
        }
        Err(error) => {
            tracing::warn!(instance = %order.instance, token = %order.token, %error, "a start is not sent: unreadable definition");
            false
        }
    }
}

/// Returns what a failed start of an instance that is not there means.
fn refusal(order: &StartOrder, error: virt::error::Error) -> Failure {
    match Fault::of(&error) {
        Fault::Answer => {
            tracing::warn!(instance = %order.instance, token = %order.token, %error, "libvirt refused a start");
            Failure::Refused
        }
        Fault::Login | Fault::Permission | Fault::Late | Fault::Connection => error.into(),
    }
}

/// Kills the instance and removes its definition.
pub(super) fn stop(session: &Session, instance: InstanceId) -> Result<InstanceState, Failure> {
    let Some(guest) = find(session.connect(), instance)? else {
        return Ok(InstanceState::Stopped);
    };
    session.still_wanted()?;
    undefine(&guest)?;
    let destroyed = if runs(&guest)? { guest.destroy() } else { Ok(()) };
    match find(session.connect(), instance)? {
        Some(guest) if runs(&guest)? => match destroyed {
            Err(error) => Err(error.into()),
            Ok(()) => Err(Failure::Ambiguous),
        },
        Some(_) | None => Ok(InstanceState::Stopped),
    }
}

fn find(connect: &Connect, instance: InstanceId) -> Result<Option<Guest>, Failure> {
    match connect.lookup_domain_by_uuid_string(&instance.to_string()) {
        Ok(guest) => Ok(Some(guest)),
        Err(error) if error.code() == ErrorNumber::NoDomain.into() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes a persistent definition; a running domain goes on as a transient one.
fn undefine(guest: &Guest) -> Result<(), Failure> {
    let mut refused = None;
    for flags in UNDEFINE_FLAGS {
        match guest.is_persistent() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.code() == ErrorNumber::NoDomain.into() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match guest.undefine_flags(flags) {
            Ok(()) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(()), |error| Err(error.into()))
}

/// Tells whether the domain has a process. One that ended meanwhile and left nothing does not.
fn runs(guest: &Guest) -> Result<bool, Failure> {
    match guest.is_active() {
        Ok(active) => Ok(active),
        Err(error) if error.code() == ErrorNumber::NoDomain.into() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How an instance is there, for an order to start it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It has no process.
    Absent,
    /// It has a process that may end by itself before the instance ever runs: somebody has to look again.
    Unsettled,
    /// It runs, or is paused with its memory in place.
    Settled,
}

fn presence(guest: &Guest) -> Result<Presence, Failure> {
    if !runs(guest)? {
        return Ok(Presence::Absent);
    }
    match guest.state() {
        Ok((_, reason)) => Ok(Presence::of_active(reason)),
        Err(error) if error.code() == ErrorNumber::NoDomain.into() => Ok(Presence::Absent),
        Err(error) => Err(error.into()),
    }
}

impl Presence {
    /// Sorts the state of a domain that has a process.
    ///
    /// A copy that a live migration brings is paused, or runs on memory that is still elsewhere, until its source lets
    /// go; when the source was fenced first, it vanishes. libvirt does not say on which side of a migration a domain is,
    /// and the outgoing side may vanish just as well. A reason that this driver does not know settles nothing.
    fn of_active(reason: DomainStateReasonEnum) -> Self {
        let Enum::Known(reason) = reason else { return Self::Unsettled };
        match reason {
            DomainStateReason::Paused(Enum::Known(reason)) => match reason {
                DomainPausedReason::Migration
                | DomainPausedReason::PostCopy
                | DomainPausedReason::PostCopyFailed
                | DomainPausedReason::StartingUp
                | DomainPausedReason::ShuttingDown => Self::Unsettled,
                DomainPausedReason::Unknown
                | DomainPausedReason::User
                | DomainPausedReason::Save
                | DomainPausedReason::Dump
                | DomainPausedReason::IOError
                | DomainPausedReason::Watchdog
                | DomainPausedReason::FromSnapshot
                | DomainPausedReason::Snapshot
                | DomainPausedReason::Crashed
                | DomainPausedReason::APIError => Self::Settled,
            },
            DomainStateReason::Running(Enum::Known(
                DomainRunningReason::PostCopy | DomainRunningReason::PostCopyFailed,
            ))
            | DomainStateReason::Paused(Enum::Unknown(_))
            | DomainStateReason::Shutdown(_)
            | DomainStateReason::Shutoff(_) => Self::Unsettled,
            DomainStateReason::Running(_)
            | DomainStateReason::NoState(_)
            | DomainStateReason::Blocked(_)
            | DomainStateReason::Crashed(_)
            | DomainStateReason::PMSuspended(_) => Self::Settled,
        }
    }
}

/// Returns the domain, or `None` with a warning when its definition cannot be read.
fn describe(guest: &Guest) -> Result<Option<Domain>, Failure> {
    let text = guest.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE)?;
    let state = state(guest)?;
    let Definition { instance, name, memory_mib, tag } = match definition::parse(&text) {
        Ok(definition) => definition,
        Err(error) => {
            let name = guest.name()?;
            tracing::warn!(name, %error, "left a domain out of the inventory: unreadable definition");
            return Ok(None);
        }
    };
    let tag = tag.unwrap_or_else(|error| {
        tracing::warn!(name, %instance, %error, "the domain counts as not opted in to high availability");
        Tag { enabled: false, priority: PRIORITY_DEFAULT }
    });
    Ok(Some(Domain {
        instance,
        name,
        state,
        definition: text,
        ha_enabled: tag.enabled,
        priority: tag.priority,
        memory_mib,
    }))
}

/// Returns the state for the inventory.
///
/// A copy that a migration brings is listed, and so is the one that it comes from: one that is not listed could be resumed
/// while the instance is started on a third host.
fn state(guest: &Guest) -> Result<InstanceState, Failure> {
    let (state, reason) = guest.state()?;
    let Enum::Known(state) = state else { return Err(Failure::Ambiguous) };
    let failed = [DomainShutoffReason::Crashed, DomainShutoffReason::Failed]
        .map(|reason| DomainStateReason::Shutoff(reason.into()))
        .into_iter()
        .any(|failed| reason == failed.into());
    let migrated = DomainStateReason::Shutoff(DomainShutoffReason::Migrated.into());
    Ok(match state {
        DomainState::Running
        | DomainState::Blocked
        | DomainState::Paused
        | DomainState::Shutdown
        | DomainState::PMSuspended => match presence(guest)? {
            Presence::Unsettled => InstanceState::Moving,
            Presence::Settled | Presence::Absent => InstanceState::Running,
        },
        DomainState::Shutoff if failed => InstanceState::Crashed,
        DomainState::Shutoff if reason == migrated.into() => InstanceState::Migrated,
        DomainState::Shutoff => InstanceState::Stopped,
        DomainState::Crashed => InstanceState::Crashed,
        DomainState::NoState if runs(guest)? => InstanceState::Running,
        DomainState::NoState => InstanceState::Stopped,
    })
}

#[cfg(test)]
mod tests {
    use virt::domain::{
        DomainPausedReason, DomainRunningReason, DomainShutdownReason, DomainShutoffReason, DomainStateReason,
    };
    use virt::enumutil::Enum;

    use super::Presence;

    #[test]
    fn a_copy_that_a_migration_brings_is_not_there_yet() {
        let paused = |reason: DomainPausedReason| DomainStateReason::Paused(reason.into());
        let running = |reason: DomainRunningReason| DomainStateReason::Running(reason.into());
        for (reason, presence) in [
            (paused(DomainPausedReason::Migration), Presence::Unsettled),
            (paused(DomainPausedReason::PostCopy), Presence::Unsettled),
            (paused(DomainPausedReason::PostCopyFailed), Presence::Unsettled),
            (paused(DomainPausedReason::StartingUp), Presence::Unsettled),
            (paused(DomainPausedReason::ShuttingDown), Presence::Unsettled),
            (paused(DomainPausedReason::User), Presence::Settled),
            (paused(DomainPausedReason::IOError), Presence::Settled),
            (paused(DomainPausedReason::Unknown), Presence::Settled),
            (DomainStateReason::Paused(Enum::Unknown(99)), Presence::Unsettled),
            (running(DomainRunningReason::PostCopy), Presence::Unsettled),
            (running(DomainRunningReason::PostCopyFailed), Presence::Unsettled),
            (running(DomainRunningReason::Booted), Presence::Settled),
            (running(DomainRunningReason::Migrated), Presence::Settled),
            (DomainStateReason::Running(Enum::Unknown(99)), Presence::Settled),
            (DomainStateReason::Shutdown(DomainShutdownReason::User.into()), Presence::Unsettled),
            (DomainStateReason::Shutoff(DomainShutoffReason::Destroyed.into()), Presence::Unsettled),
        ] {
            assert_eq!(Presence::of_active(reason.into()), presence, "{reason:?}");
        }
        assert_eq!(Presence::of_active(Enum::Unknown(99)), Presence::Unsettled);
    }
}
