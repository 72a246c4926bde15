//! IPMI messages inside a packet (IPMI 2.0, section 13.8): addresses, netfn, sequence, command, data, two checksums.

use ipmi_rs::connection::{Message, Request, Response};

/// The BMC's address on its own bus.
const BMC: u8 = 0x20;

/// The address of remote console software.
const CONSOLE: u8 = 0x81;

/// Header and checksums around the data, completion code included.
const RESPONSE_BYTES_MIN: usize = 8;

/// Which request a response must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) netfn: u8,
    pub(super) command: u8,
    /// Six bits.
    pub(super) sequence: u8,
}

impl Question {
    pub(super) fn of(request: &Request, sequence: u8) -> Self {
        Self { netfn: request.netfn_raw(), command: request.cmd(), sequence }
    }
}

/// Writes a request.
pub(super) fn encode(request: &Request, question: Question) -> Vec<u8> {
    let mut bytes = vec![BMC, (question.netfn << 2) | request.target().lun().value()];
    bytes.push(checksum(&bytes));
    let body = bytes.len();
    bytes.extend([CONSOLE, question.sequence << 2, question.command]);
    bytes.extend(request.data());
    bytes.push(checksum(&bytes[body..]));
    bytes
}

/// Returns the response to the question; `None` for anything else, whoever sent it.
pub(super) fn parse(bytes: &[u8], question: Question) -> Option<Response> {
    if bytes.len() < RESPONSE_BYTES_MIN || checksum(&bytes[..3]) != 0 || checksum(&bytes[3..]) != 0 {
        return None;
    }
    let [_, netfn, _, _, sequence, command, data @ .., _] = bytes else { return None };
    let answers =
        netfn >> 2 == question.netfn | 0x01 && sequence >> 2 == question.sequence && *command == question.command;
    let message = answers.then(|| Message::new_raw(netfn >> 2, *command, data.to_vec()))?;
    Response::new(message, i64::from(question.sequence))
}

/// Two's complement of the sum: a stretch and its checksum sum up to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
pub(super) fn encode_response(question: Question, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![CONSOLE, (question.netfn | 0x01) << 2];
    bytes.push(checksum(&bytes));
    bytes.extend([BMC, question.sequence << 2, question.command]);
    bytes.extend(data);
    bytes.push(checksum(&bytes[3..]));
    bytes
}
