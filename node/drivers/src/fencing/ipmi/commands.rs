//! The commands that `ipmi-rs` lacks, in its terms.

use ipmi_rs::connection::{CompletionErrorCode, IpmiCommand, Message, NetFn, NotEnoughData};
use quorumfence_machine::{Power, SystemUuid};

use super::error::Error;

/// Privilege level of an operator: the least that may switch power. Sessions never ask for more.
pub(super) const OPERATOR: u8 = 0x03;

/// Get Chassis Status (IPMI 2.0, section 28.2): whether the power is on.
pub(super) struct ChassisStatus;

impl From<ChassisStatus> for Message {
    fn from(_: ChassisStatus) -> Self {
        Self::new_request(NetFn::Chassis, 0x01, Vec::new())
    }
}

impl IpmiCommand for ChassisStatus {
    type Output = Power;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<Power, NotEnoughData> {
        // Power state, last power event and chassis state are mandatory; less is not this answer.
        let [power_state, _, _, ..] = data else { return Err(NotEnoughData) };
        Ok(if power_state & 0x01 == 0x01 { Power::On } else { Power::Off })
    }
}

/// Chassis Control (IPMI 2.0, section 28.3). Power up, cycle, reset and soft shutdown are deliberately absent.
pub(super) enum ChassisControl {
    PowerDown,
}

impl From<ChassisControl> for Message {
    fn from(control: ChassisControl) -> Self {
        let order = match control {
            ChassisControl::PowerDown => 0x00,
        };
        Self::new_request(NetFn::Chassis, 0x02, vec![order])
    }
}

impl IpmiCommand for ChassisControl {
    type Output = ();
    type Error = NotEnoughData;

    fn parse_success_response(_: &[u8]) -> Result<(), NotEnoughData> {
        Ok(())
    }
}

/// Get System GUID (IPMI 2.0, section 22.14), in the order in which the BMC sends it.
pub(super) struct SystemGuid;

impl From<SystemGuid> for Message {
    fn from(_: SystemGuid) -> Self {
        Self::new_request(NetFn::App, 0x37, Vec::new())
    }
}

impl IpmiCommand for SystemGuid {
    type Output = SystemUuid;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<SystemUuid, NotEnoughData> {
        data.first_chunk().copied().map(SystemUuid).ok_or(NotEnoughData)
    }
}

/// Set Session Privilege Level (IPMI 2.0, section 22.18). Without it a session stays at User, which may not switch.
pub(super) struct BecomeOperator;

impl From<BecomeOperator> for Message {
    fn from(_: BecomeOperator) -> Self {
        Self::new_request(NetFn::App, 0x3b, vec![OPERATOR])
    }
}

impl IpmiCommand for BecomeOperator {
    type Output = ();
    type Error = Error;

    fn handle_completion_code(code: CompletionErrorCode, _: &[u8]) -> Option<Error> {
        // 0x80: not available to this user; 0x81: above the limit of the channel or user.
        matches!(code, CompletionErrorCode::CommandSpecific(0x80 | 0x81)).then_some(Error::Privilege { granted: 0 })
    }

    fn parse_success_response(data: &[u8]) -> Result<(), Error> {
        match data {
            [OPERATOR, ..] => Ok(()),
            [granted, ..] => Err(Error::Privilege { granted: *granted }),
            [] => Err(Error::Truncated),
        }
    }
}

/// Close Session (IPMI 2.0, section 22.19), by the identifier that the BMC gave it.
pub(super) struct CloseSession {
    pub(super) session: u32,
}

impl From<CloseSession> for Message {
    fn from(close: CloseSession) -> Self {
        Self::new_request(NetFn::App, 0x3c, close.session.to_le_bytes().to_vec())
    }
}

impl IpmiCommand for CloseSession {
    type Output = ();
    type Error = NotEnoughData;

    fn parse_success_response(_: &[u8]) -> Result<(), NotEnoughData> {
        Ok(())
    }
}
