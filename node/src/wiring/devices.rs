//! Enrolled fencing devices, with their passwords opened.

use std::net::SocketAddr;
use std::sync::Arc;

use quorumfence_drivers::fencing::{self, ipmi};
use quorumfence_drivers::order::DeviceAccess;
use quorumfence_drivers::secret::{ClusterKey, Purpose, SealedSecret, SecretPart};
use quorumfence_machine::{Device, Doubt, Driver, HostId, Outcome, Refusal};

use crate::environment::Devices;

/// Makes drivers with the cluster key, which never leaves this node.
#[derive(Debug, Clone)]
pub struct SealedDevices {
    key: Arc<ClusterKey>,
}

impl SealedDevices {
    /// Takes the key that opens the passwords.
    pub fn new(key: ClusterKey) -> Self {
        Self { key: Arc::new(key) }
    }
}

impl Devices for SealedDevices {
    type Device = fencing::Device;

    fn device(&self, host: &HostId, device: &Device) -> Outcome<fencing::Device> {
        match device.driver {
            Driver::Ipmi => {}
            Driver::Laboratory => return Outcome::Refused(Refusal::Unsupported),
        }
        let Ok(address) = device.address.parse::<SocketAddr>() else {
            tracing::error!(%host, address = device.address, "a fencing device's address is no IP address and port; enrol the host again");
            return Outcome::Refused(Refusal::Unsupported);
        };
        let purpose = Purpose { host, address, part: SecretPart::Password };
        let password = match self.key.open(&purpose, &SealedSecret(device.sealed_password.clone())) {
            Ok(password) => password,
            Err(error) => {
                tracing::error!(%host, %address, %error, "a fencing device's password cannot be opened here; if no controller can, enrol the host again");
                // Another controller may have the key that it was sealed with.
                return Outcome::Unknown(Doubt::Internal);
            }
        };
        let access = DeviceAccess { address, user: device.user.clone(), password, kg: None, suite: device.suite };
        match ipmi::Bmc::new(access) {
            Ok(bmc) => Outcome::Observed(fencing::Device::Ipmi(bmc)),
            Err(error) => {
                tracing::error!(%host, %address, %error, "a fencing device cannot be used; enrol the host again");
                Outcome::Refused(Refusal::Unsupported)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorumfence_drivers::secret::Secret;

    use super::*;

    fn key(byte: u8) -> ClusterKey {
        ClusterKey::from_bytes(&[byte; 32]).expect("a key's length")
    }

    fn host(name: &str) -> HostId {
        name.parse().expect("a name")
    }

    fn sealed_for(name: &str) -> Device {
        let address: SocketAddr = "192.0.2.1:623".parse().expect("an address");
        let purpose = Purpose { host: &host(name), address, part: SecretPart::Password };
        let sealed = key(1).seal(&purpose, &Secret::new("s3cret"), [9; 24]).expect("it is short");
        Device {
            driver: Driver::Ipmi,
            address: address.to_string(),
            user: "admin".into(),
            sealed_password: sealed.0,
            suite: Some(17),
            identity: None,
        }
    }

    fn outcome(devices: &SealedDevices, name: &str, device: &Device) -> Outcome<()> {
        devices.device(&host(name), device).map(|_| ())
    }

    #[test]
    fn a_password_opens_only_with_its_key_and_for_its_host_and_address() {
        let device = sealed_for("host1");
        let moved = Device { address: "192.0.2.2:623".into(), ..device.clone() };
        assert_eq!(outcome(&SealedDevices::new(key(1)), "host1", &device), Outcome::Observed(()));
        let refused = Outcome::Unknown(Doubt::Internal);
        assert_eq!(outcome(&SealedDevices::new(key(2)), "host1", &device), refused);
        assert_eq!(outcome(&SealedDevices::new(key(1)), "host2", &device), refused);
        assert_eq!(outcome(&SealedDevices::new(key(1)), "host1", &moved), refused);
    }

    #[test]
    fn a_laboratory_device_is_refused() {
        let device = Device { driver: Driver::Laboratory, ..sealed_for("host1") };
        assert_eq!(outcome(&SealedDevices::new(key(1)), "host1", &device), Outcome::Refused(Refusal::Unsupported));
    }
}
