//! IPMI messages (IPMI 2.0, section 13.8 and appendix G): requests, and the answers that need nobody.

use quorumfence_machine::{Power, SystemUuid};

use super::keys::Suite;

/// Completion codes (table 5-2).
pub(super) const DONE: u8 = 0x00;
pub(super) const EXCEEDS_LIMIT: u8 = 0x81;
pub(super) const NO_SUCH_SESSION: u8 = 0x87;
pub(super) const NODE_BUSY: u8 = 0xc0;
const UNKNOWN_COMMAND: u8 = 0xc1;
const TOO_SHORT: u8 = 0xc7;
const INVALID_FIELD: u8 = 0xcc;
pub(super) const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;

const APP: u8 = 0x06;
const CHASSIS: u8 = 0x00;

/// Privilege levels (table 22-18).
pub(super) const USER: u8 = 2;
pub(super) const OPERATOR: u8 = 3;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    netfn: u8,
    lun: u8,
    console: u8,
    sequence: u8,
    command: u8,
    data: Vec<u8>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    ChannelCapabilities,
    ChannelSuites {
        first: u8,
    },
    DeviceId,
    SystemGuid,
    SetPrivilege {
        level: u8,
    },
    CloseSession {
        session: u32,
    },
    ChassisStatus,
    PowerOff,
    PowerOn,
    /// Not served, with its completion code.
    Unserved {
        code: u8,
    },
}

impl Purpose {
    /// Returns the least level of a session that may ask for it; `None` where no session is needed.
    pub(super) const fn least_level(self) -> Option<u8> {
        match self {
            Self::ChannelCapabilities | Self::ChannelSuites { .. } | Self::SystemGuid => None,
            Self::DeviceId
            | Self::SetPrivilege { .. }
            | Self::CloseSession { .. }
            | Self::ChassisStatus
            | Self::Unserved { .. } => Some(USER),
            Self::PowerOff | Self::PowerOn => Some(OPERATOR),
        }
    }
}

impl Request {
    /// Reads a request whose checksums fit.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 7 || sum(&bytes[..3]) != 0 || sum(&bytes[3..]) != 0 {
            return None;
        }
        let [_, netfn, _, console, sequence, command, data @ .., _] = bytes else { return None };
        Some(Self {
            netfn: netfn >> 2,
            lun: netfn & 0x03,
            console: *console,
            sequence: *sequence,
            command: *command,
            data: data.to_vec(),
        })
    }

    pub(super) fn purpose(&self) -> Purpose {
        match (self.netfn, self.command, self.data.as_slice()) {
            (APP, 0x38, [_, _, ..]) => Purpose::ChannelCapabilities,
            (APP, 0x54, [_, _, list, ..]) => Purpose::ChannelSuites { first: list & 0x3f },
            (APP, 0x01, _) => Purpose::DeviceId,
            // Device GUID and System GUID: there is one machine and one BMC.
            (APP, 0x08 | 0x37, _) => Purpose::SystemGuid,
            (APP, 0x3b, [level, ..]) => Purpose::SetPrivilege { level: level & 0x0f },
            (APP, 0x3c, [a, b, c, d, ..]) => Purpose::CloseSession { session: u32::from_le_bytes([*a, *b, *c, *d]) },
            (CHASSIS, 0x01, _) => Purpose::ChassisStatus,
            (CHASSIS, 0x02, [order, ..]) => match order & 0x0f {
                0 => Purpose::PowerOff,
                1 => Purpose::PowerOn,
                _ => Purpose::Unserved { code: INVALID_FIELD },
            },
            (APP, 0x38 | 0x54 | 0x3b | 0x3c, _) | (CHASSIS, 0x02, []) => Purpose::Unserved { code: TOO_SHORT },
            _ => Purpose::Unserved { code: UNKNOWN_COMMAND },
        }
    }

    /// Writes the response to this request.
    pub(super) fn respond(&self, code: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![self.console, (self.netfn | 0x01) << 2 | self.sequence & 0x03];
        bytes.push(sum(&bytes));
        bytes.extend([0x20, self.sequence & 0xfc | self.lun, self.command, code]);
        bytes.extend(data);
        bytes.push(sum(&bytes[3..]));
        bytes
    }
}

/// Two's complement of the sum: a stretch and its checksum sum up to zero.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// IPMI 2.0 only; named users; a Kg where the account has one.
pub(super) fn channel_capabilities(has_kg: bool) -> [u8; 8] {
    let status = 0x04 | if has_kg { 0x20 } else { 0x00 };
    [0x01, 0x80, status, 0x02, 0, 0, 0, 0]
}

/// The suites' records from the sixteen bytes number `first` on.
pub(super) fn channel_suites(first: u8) -> Vec<u8> {
    let records = Suite::ALL.into_iter().flat_map(|suite| {
        let [authentication, integrity, confidentiality] = suite.algorithms();
        [0xc0, suite.number(), authentication, 0x40 | integrity, 0x80 | confidentiality]
    });
    std::iter::once(0x01).chain(records.skip(usize::from(first) * 16).take(16)).collect()
}

/// Revision 1, firmware 2.05, IPMI 2.0, chassis device, no maker.
pub(super) const DEVICE_ID: [u8; 15] = [0x20, 0x01, 0x02, 0x05, 0x02, 0x80, 0, 0, 0, 0x01, 0x00, 0, 0, 0, 0];

/// Get Chassis Status. After a power failure the machine stays off.
pub(super) fn chassis_status(power: Power) -> [u8; 4] {
    let on = match power {
        Power::On => 0x01,
        Power::Off => 0x00,
    };
    [on, 0, 0, 0]
}

/// Returns a UUID as table 20-10 has it: low byte first throughout. None is all zeros.
pub(super) fn guid(named: Option<SystemUuid>) -> [u8; 16] {
    let mut bytes = named.map_or([0; 16], |named| named.0);
    bytes.reverse();
    bytes
}
