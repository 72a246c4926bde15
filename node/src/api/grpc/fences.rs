//! Fences, and what fencing devices say when they are only read.

use std::time::Duration;

use quorumfence_drivers::fencing::sequence::Expected;
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

/// Logs in to every fencing device of a host, compares its identity as a fence would, and reads the power. Switches
/// nothing.
pub(super) async fn test<E: Environment>(node: &Node<E>, host: &HostId) -> Result<pb::FenceTestReply, Status> {
    let row = node.controller.replica().read(|state| hosts::known(state, host).cloned())?;
    let reported = row.agent.and_then(|agent| agent.system_uuid);
    let mut levels = Vec::new();
    for level in row.enrolment.map(|enrolment| enrolment.levels).unwrap_or_default() {
        let mut devices = Vec::new();
        for device in &level.devices {
            let expected = Expected::of(device.identity, reported);
            devices.push(read_device(node, host, device, expected).await);
        }
        levels.push(pb::LevelTest { devices });
    }
    Ok(pb::FenceTestReply { levels })
}

async fn read_device<E: Environment>(
    node: &Node<E>,
    host: &HostId,
    device: &Device,
    expected: Expected,
) -> pb::DeviceTest {
    let began = node.clock.now();
    let mut identity = None;
    let power = match node.devices.device(host, device) {
        Outcome::Observed(driver) => read(&driver, expected, &mut identity).await,
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => Outcome::Unknown(doubt),
    };
    pb::DeviceTest {
        driver: pb::Driver::from(device.driver).into(),
        address: device.address.clone(),
        power: Some(power.into()),
        identity: identity.map(|identity| identity.0.to_vec()),
        suite: device.suite.map(u32::from),
        took_ms: (node.clock.now() - began).0,
    }
}

/// Returns the power, and in `identity` the machine that the device names, also where it is the wrong one.
async fn read<D: FenceDevice>(device: &D, expected: Expected, identity: &mut Option<SystemUuid>) -> Outcome<Power> {
    let mut session = match device.open(READ_LIMIT).await {
        Outcome::Observed(session) => session,
        Outcome::Refused(refusal) => return Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => return Outcome::Unknown(doubt),
    };
    let power = match session.identity(READ_LIMIT).await {
        Outcome::Observed(named) => {
            *identity = named;
            match expected.compare(named) {
                Ok(_) => session.power(READ_LIMIT).await,
                Err(refusal) => Outcome::Refused(refusal),
            }
        }
        Outcome::Refused(refusal) => Outcome::Refused(refusal),
        Outcome::Unknown(doubt) => Outcome::Unknown(doubt),
    };
    session.close().await;
    power
}
