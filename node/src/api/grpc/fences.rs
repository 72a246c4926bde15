//! Fences, and what fencing devices say when they are only read.

use quorumfence_drivers::fencing::sequence::{Expected, OffOrder, Reading, read_once};
use quorumfence_machine::{Device, Fence, HostId, Outcome};
use quorumfence_proto::pb;
use quorumfence_raft::Clock;
use tonic::Status;

use super::super::Node;
use super::hosts;
use crate::environment::{Devices, Environment};

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
///
/// Each device has the device deadline of the settings for the whole conversation, as the slow schedule gives it: what is
/// too slow for the real thing fails here too.
pub(super) async fn test<E: Environment>(node: &Node<E>, host: &HostId) -> Result<pb::FenceTestReply, Status> {
    let (row, settings) =
        node.controller.replica().read(|state| hosts::known(state, host).map(|row| (row.clone(), state.settings())))?;
    let reported = row.agent.and_then(|agent| agent.system_uuid);
    let mut levels = Vec::new();
    for level in row.enrolment.map(|enrolment| enrolment.levels).unwrap_or_default() {
        let mut devices = Vec::new();
        for device in &level.devices {
            let expected = Expected::of(device.identity, reported);
            let deadline = settings.device_deadline.into();
            let order = OffOrder { expected, deadline, answer: deadline };
            devices.push(read_device(node, host, device, order).await);
        }
        levels.push(pb::LevelTest { devices });
    }
    Ok(pb::FenceTestReply { levels })
}

async fn read_device<E: Environment>(
    node: &Node<E>,
    host: &HostId,
    device: &Device,
    order: OffOrder,
) -> pb::DeviceTest {
    let began = node.clock.now();
    let Reading { named, power } = match node.devices.device(host, device) {
        Outcome::Observed(driver) => read_once(&driver, order).await,
        Outcome::Refused(refusal) => Reading { named: None, power: Outcome::Refused(refusal) },
        Outcome::Unknown(doubt) => Reading { named: None, power: Outcome::Unknown(doubt) },
    };
    pb::DeviceTest {
        driver: pb::Driver::from(device.driver).into(),
        address: device.address.clone(),
        power: Some(power.into()),
        identity: named.map(|named| named.0.to_vec()),
        suite: device.suite.map(u32::from),
        took_ms: (node.clock.now() - began).0,
    }
}
