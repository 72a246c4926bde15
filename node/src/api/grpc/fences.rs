//! Fences, and what fencing devices say when they are only read.

use std::time::Duration;

use quorumfence_drivers::order::{FenceDevice, FenceSession};
use quorumfence_machine::{Device, Fence, HostId, Outcome, Power, SystemUuid};
use quorumfence_proto::pb;
use quorumfence_raft::Clock;
use tonic::Status;

use super::super::Node;
use super::hosts;
use crate::environment::{Devices, Environment};

/// Time for one device to be logged in to and read: a person waits for it.
const READ_LIMIT: Duration = Duration::from_secs(4);

/// Returns the kept fences, oldest first.
pub(super) fn status<E: Environment>(node: &Node<E>, host: Option<&HostId>) -> Result<Vec<Fence>, Status> {
    node.controller.replica().read(|state| {
        if let Some(host) = host {
            hosts::known(state, host)?;
        }
        Ok(state.fences().filter(|fence| host.is_none_or(|host| fence.host == *host)).cloned().collect())
    })
}

/// Logs in to every fencing device of a host and reads identity and power. Switches nothing.
pub(super) async fn test<E: Environment>(node: &Node<E>, host: &HostId) -> Result<pb::FenceTestReply, Status> {
    let enrolment =
        node.controller.replica().read(|state| hosts::known(state, host).map(|host| host.enrolment.clone()))?;
    let mut levels = Vec::new();
    for level in enrolment.map(|enrolment| enrolment.levels).unwrap_or_default() {
        let mut devices = Vec::new();
        for device in &level.devices {
            devices.push(read_device(node, host, device).await);
        }
        levels.push(pb::LevelTest { devices });
    }
    Ok(pb::FenceTestReply { levels })
}

async fn read_device<E: Environment>(node: &Node<E>, host: &HostId, device: &Device) -> pb::DeviceTest {
    let began = node.clock.now();
    let seen = match node.devices.device(host, device) {
        Outcome::Observed(driver) => read(&driver).await,
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => Outcome::Unknown(doubt),
    };
    let identity = match &seen {
        Outcome::Observed((_, identity)) => *identity,
        Outcome::Refused(_) | Outcome::Unknown(_) => None,
    };
    pb::DeviceTest {
        driver: pb::Driver::from(device.driver).into(),
        address: device.address.clone(),
        power: Some(seen.map(|(power, _)| power).into()),
        identity: identity.map(|identity| identity.0.to_vec()),
        suite: device.suite.map(u32::from),
        took_ms: (node.clock.now() - began).0,
    }
}

async fn read<D: FenceDevice>(device: &D) -> Outcome<(Power, Option<SystemUuid>)> {
    let mut session = match device.open(READ_LIMIT).await {
        Outcome::Observed(session) => session,
        Outcome::Refused(refusal) => return Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => return Outcome::Unknown(doubt),
    };
    let identity = session.identity(READ_LIMIT).await;
    let power = session.power(READ_LIMIT).await;
    session.close().await;
    match identity {
        Outcome::Observed(identity) => power.map(|power| (power, identity)),
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => Outcome::Unknown(doubt),
    }
}
