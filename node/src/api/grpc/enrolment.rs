//! Enrolment: a host gets its devices only after each of them was logged in to and named its machine.
//!
//! The password comes in clear over TLS, is tried once, sealed, and forgotten. What does not work is refused here and
//! now, when nothing burns.

use std::net::SocketAddr;
use std::time::Duration;

use quorumfence_drivers::fencing::identity::same_machine;
use quorumfence_drivers::fencing::ipmi::{self, Bmc};
use quorumfence_drivers::order::DeviceAccess;
use quorumfence_drivers::secret::{NONCE_BYTES, Purpose, Secret, SecretPart};
use quorumfence_machine::{
    Actor, Change, Device, Doubt, Driver, Enrolment, HostId, Level, Outcome, Refusal, Rejected, SystemUuid,
};
use quorumfence_proto::{convert, pb, status};
use tonic::Status;

use super::super::Node;
use super::cluster::{propose, request_id};
use super::{hosts, refusal};
use crate::environment::Environment;

/// Time for one BMC to be found, logged in to and read: some take seconds for each suite that they lack.
const ENROL_LIMIT: Duration = Duration::from_secs(8);

/// Time to find a BMC's address by its name.
const RESOLVE_LIMIT: Duration = Duration::from_secs(3);

/// Devices that one enrolment may bring; the log has a limit of its own.
const DEVICES_MAX: usize = 64;

pub(super) async fn enrol<E: Environment>(
    node: &Node<E>,
    by: Actor,
    request: pb::HostEnrolRequest,
) -> Result<pb::MutationReply, Status> {
    request_id(request.mutation.as_ref())?;
    let host: HostId = convert::name(request.host, "host")?;
    let segment = convert::name(request.segment, "segment")?;
    node.controller.replica().linearizable().await.map_err(refusal::of_read)?;
    let machine = node.controller.replica().read(|state| {
        let host = hosts::known(state, &host)?;
        if state.segment(&segment).is_none() {
            return Err(status::rejected(&Rejected::UnknownSegment(segment.clone())));
        }
        Ok(state.machine(host))
    })?;
    if request.levels.iter().map(|level| level.devices.len()).sum::<usize>() > DEVICES_MAX {
        return Err(Status::invalid_argument(format!("a host has at most {DEVICES_MAX} fencing devices")));
    }
    let mut levels = Vec::with_capacity(request.levels.len());
    for level in request.levels {
        let mut devices = Vec::with_capacity(level.devices.len());
        for device in level.devices {
            devices.push(learn(node, &host, machine, device).await?);
        }
        levels.push(Level { devices });
    }
    let enrolment = Enrolment { segment, ping: request.ping, health: request.health, levels };
    propose(node, by, request.mutation.as_ref(), Change::HostEnrol { host, enrolment }).await
}

async fn learn<E: Environment>(
    node: &Node<E>,
    host: &HostId,
    machine: Option<SystemUuid>,
    clear: pb::ClearDevice,
) -> Result<Device, Status> {
    let driver: Driver = convert::number::<pb::Driver, _>(clear.driver, "driver")?;
    match driver {
        Driver::Ipmi => {}
        Driver::Laboratory => {
            return Err(Status::failed_precondition("the laboratory driver is not part of this program; use ipmi"));
        }
    }
    let address = resolve(&clear.address).await?;
    let password = Secret::new(clear.password.into_bytes());
    let access = DeviceAccess { address, user: clear.user.clone(), password: password.clone(), kg: None, suite: None };
    let bmc = Bmc::new(access).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let learnt = answered(&clear.address, &clear.user, bmc.enrol(ENROL_LIMIT).await)?;
    if let (Some(found), Some(machine)) = (learnt.identity, machine)
        && !same_machine(found, machine)
    {
        return Err(status::rejected(&Rejected::WrongMachine { address: clear.address, host: host.clone() }));
    }
    let purpose = Purpose { host, address, part: SecretPart::Password };
    let sealed = node.cluster_key.seal(&purpose, &password, nonce::<E>());
    let sealed = sealed.map_err(|error| Status::internal(error.to_string()))?;
    Ok(Device {
        driver,
        address: address.to_string(),
        user: clear.user,
        sealed_password: sealed.0,
        suite: Some(learnt.suite.number()),
        // The machine's own name for itself where both are known: the BMC may send its bytes in another order.
        identity: learnt.identity.map(|found| machine.unwrap_or(found)),
    })
}

/// Finds the device's address once: the log holds a number, which nobody can point elsewhere.
async fn resolve(address: &str) -> Result<SocketAddr, Status> {
    let found = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host(address)).await;
    let first = found.ok().and_then(Result::ok).and_then(|mut addresses| addresses.next());
    first.ok_or_else(|| {
        Status::failed_precondition(format!(
            "the BMC's address {address} is not found, so nothing was changed; give its IP address and port"
        ))
    })
}

fn answered(address: &str, user: &str, learnt: Outcome<ipmi::Enrolment>) -> Result<ipmi::Enrolment, Status> {
    let words = match learnt {
        Outcome::Observed(learnt) => return Ok(learnt),
        Outcome::Refused(Refusal::Credentials) => format!(
            "the BMC at {address} refused user {user}, so nothing was changed; correct the name or the password file. \
             It was tried once only, because BMCs lock accounts"
        ),
        Outcome::Refused(why) => format!("the BMC at {address} cannot be used: {why}; nothing was changed"),
        Outcome::Unknown(Doubt::Timeout | Doubt::Unreachable) => format!(
            "the BMC at {address} did not answer, so nothing was changed; check its address, that IPMI over LAN is on, \
             and that every controller can reach UDP port 623"
        ),
        Outcome::Unknown(why) => {
            format!("the BMC at {address} gave no clear answer: {why}; nothing was changed, try again")
        }
    };
    Err(Status::failed_precondition(words))
}

fn nonce<E: Environment>() -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&E::random().to_be_bytes()));
    nonce
}
