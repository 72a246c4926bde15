//! Packets, messages, the replay window, and what is told of each error.

use ipmi_rs::connection::{IpmiCommand, LogicalUnit, Message, Request, RequestTargetAddress};
use proptest::prelude::*;
use quorumfence_machine::{Doubt, Power, Refusal};
use zeroize::Zeroizing;

use super::commands::{BecomeOperator, ChassisControl, ChassisStatus, CloseSession, SystemGuid};
use super::error::{AccessError, Error, Stage, Verdict};
use super::message::{self, Question};
use super::packet::{self, Opened, Payload, Seal, Window};
use super::{Bmc, Suite};
use crate::order::DeviceAccess;
use crate::secret::Secret;

fn seal(suite: Suite) -> Seal {
    Seal {
        suite,
        integrity_key: Zeroizing::new(vec![0x11; suite.code_bytes()]),
        encryption_key: Zeroizing::new([0x22; 16]),
        ours: 0x0102_0304,
        theirs: 0x0506_0708,
    }
}

fn request(command: impl Into<Message>) -> Request {
    Request::new(command.into(), RequestTargetAddress::Bmc(LogicalUnit::Zero))
}

fn access() -> DeviceAccess {
    DeviceAccess {
        address: ([127, 0, 0, 1], 623).into(),
        user: "fence".into(),
        password: Secret::new("0perator"),
        kg: None,
        suite: Some(3),
    }
}

#[test]
fn commands_are_the_bytes_of_the_specification() {
    let bytes = |command: Message| {
        let request = request(command);
        message::encode(&request, Question::of(&request, 1))
    };
    assert_eq!(bytes(ChassisStatus.into()), [0x20, 0x00, 0xe0, 0x81, 0x04, 0x01, 0x7a]);
    assert_eq!(bytes(ChassisControl::PowerDown.into()), [0x20, 0x00, 0xe0, 0x81, 0x04, 0x02, 0x00, 0x79]);
    assert_eq!(bytes(SystemGuid.into()), [0x20, 0x18, 0xc8, 0x81, 0x04, 0x37, 0x44]);
    assert_eq!(bytes(BecomeOperator.into()), [0x20, 0x18, 0xc8, 0x81, 0x04, 0x3b, 0x03, 0x3d]);
    let close = bytes(CloseSession { session: 0x0403_0201 }.into());
    assert_eq!(close, [0x20, 0x18, 0xc8, 0x81, 0x04, 0x3c, 0x01, 0x02, 0x03, 0x04, 0x35]);
}

#[test]
fn only_a_whole_chassis_status_is_a_power_state() {
    assert_eq!(ChassisStatus::parse_success_response(&[0x21, 0x10, 0x40]), Ok(Power::On));
    assert_eq!(ChassisStatus::parse_success_response(&[0x60, 0x10, 0x40, 0x70]), Ok(Power::Off));
    for length in 0..3 {
        assert!(ChassisStatus::parse_success_response(&[0x00, 0x00, 0x00][..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_sealed_message_opens_on_the_other_side_only() {
    for suite in [Suite::Three, Suite::Seventeen] {
        let seal = seal(suite);
        for length in 0..40 {
            let message = vec![0xab; length];
            let datagram = seal.close_as_bmc(7, [0x33; 16], &message);
            assert_eq!(seal.open(&datagram), Some(Opened { sequence: 7, message: message.clone() }));
            assert_eq!(seal.open(&seal.close(7, [0x33; 16], &message)), None, "our own packet came back");
        }
    }
}

#[test]
fn a_sealed_packet_with_any_changed_or_missing_byte_stays_shut() {
    for suite in [Suite::Three, Suite::Seventeen] {
        let seal = seal(suite);
        let datagram = seal.close_as_bmc(7, [0x33; 16], &[0x81, 0x04, 0x7b, 0x20, 0x04, 0x01, 0x00, 0x00]);
        // The reserved byte and the RMCP sequence number are the sender's to choose and protect nothing.
        for position in (0..datagram.len()).filter(|position| !matches!(position, 1 | 2)) {
            let mut changed = datagram.clone();
            changed[position] ^= 0x01;
            assert_eq!(seal.open(&changed), None, "suite {}, byte {position}", suite.number());
        }
        for length in 0..datagram.len() {
            assert_eq!(seal.open(&datagram[..length]), None, "suite {}, {length} bytes", suite.number());
        }
    }
}

#[test]
fn a_packet_of_another_kind_is_not_read_as_this_one() {
    let datagram = packet::plain(Payload::Rakp2, &[1, 2, 3]);
    assert_eq!(packet::parse_plain(&datagram, Payload::Rakp2), Some(&[1, 2, 3][..]));
    assert_eq!(packet::parse_plain(&datagram, Payload::Rakp4), None);
    for length in 0..datagram.len() {
        assert_eq!(packet::parse_plain(&datagram[..length], Payload::Rakp2), None, "{length} bytes");
    }
}

#[test]
fn a_response_must_answer_this_question() {
    let question = Question { netfn: 0x00, command: 0x01, sequence: 5 };
    let bytes = message::encode_response(question, &[0x00, 0x01, 0x00, 0x00]);
    let response = message::parse(&bytes, question).expect("it answers");
    assert_eq!((response.cc(), response.data()), (0x00, &[0x01, 0x00, 0x00][..]));
    let others = [
        Question { sequence: 4, ..question },
        Question { command: 0x02, ..question },
        Question { netfn: 0x06, ..question },
    ];
    for other in others {
        assert_eq!(message::parse(&bytes, other), None, "{other:?}");
    }
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 0x10;
        assert_eq!(message::parse(&changed, question), None, "byte {position}");
    }
    for length in 0..bytes.len() {
        assert_eq!(message::parse(&bytes[..length], question), None, "{length} bytes");
    }
}

#[test]
fn a_request_is_no_response() {
    let request = request(ChassisStatus);
    let question = Question::of(&request, 1);
    assert_eq!(message::parse(&message::encode(&request, question), question), None);
}

#[test]
fn each_sequence_number_is_admitted_once_and_none_from_behind_the_window() {
    let mut window = Window::default();
    let admitted: Vec<bool> =
        [100, 100, 98, 98, 101, 99, 37, 38, 38, 200, 101, 137, 136, 200].map(|number| window.admit(number)).into();
    let expected = [true, false, true, false, true, true, false, true, false, true, false, true, false, false];
    assert_eq!(admitted, expected);
}

#[test]
fn the_window_starts_and_ends_anywhere() {
    let mut window = Window::default();
    assert_eq!([0, 0, u32::MAX, 0, u32::MAX].map(|number| window.admit(number)), [true, false, true, false, false]);
}

#[test]
fn each_error_is_a_refusal_or_a_doubt() {
    let cases = [
        (Error::Timeout, Verdict::Unknown(Doubt::Timeout)),
        (Error::Over, Verdict::Unknown(Doubt::Timeout)),
        (Error::Network(std::io::Error::other("no route")), Verdict::Unknown(Doubt::Unreachable)),
        (Error::Setup { stage: Stage::OpenSession, status: 0x01 }, Verdict::Unknown(Doubt::Busy)),
        (Error::Setup { stage: Stage::Rakp2, status: 0x0b }, Verdict::Unknown(Doubt::Busy)),
        (Error::Setup { stage: Stage::Rakp2, status: 0x0a }, Verdict::Refused(Refusal::Privilege)),
        (Error::Setup { stage: Stage::Rakp2, status: 0x0d }, Verdict::Refused(Refusal::Credentials)),
        (Error::Setup { stage: Stage::Rakp4, status: 0x0f }, Verdict::Unknown(Doubt::Garbled)),
        (Error::SuiteRefused { suite: Suite::Three, status: 0x11 }, Verdict::Refused(Refusal::Insecure)),
        (Error::Downgraded { suite: Suite::Three }, Verdict::Refused(Refusal::Insecure)),
        (Error::Password, Verdict::Refused(Refusal::Credentials)),
        (Error::BmcKey, Verdict::Refused(Refusal::Credentials)),
        (Error::Privilege { granted: 2 }, Verdict::Refused(Refusal::Privilege)),
        (Error::Completion { code: 0xc0 }, Verdict::Unknown(Doubt::Busy)),
        (Error::Completion { code: 0xc1 }, Verdict::Refused(Refusal::Unsupported)),
        (Error::Completion { code: 0xd4 }, Verdict::Refused(Refusal::Privilege)),
        (Error::Completion { code: 0xd5 }, Verdict::Unknown(Doubt::Ambiguous)),
        (Error::Completion { code: 0xff }, Verdict::Unknown(Doubt::Garbled)),
        (Error::Truncated, Verdict::Unknown(Doubt::Garbled)),
    ];
    for (error, expected) in cases {
        assert_eq!(error.verdict(), expected, "{error}");
    }
}

#[test]
fn an_access_that_no_bmc_could_accept_is_refused() {
    let refused = |access| Bmc::new(access).map(|_| ()).expect_err("no BMC could accept it");
    let long_user = DeviceAccess { user: "a".repeat(17), ..access() };
    assert_eq!(refused(long_user), AccessError::UserLength { bytes: 17 });
    assert_eq!(refused(DeviceAccess { password: Secret::new([1; 21]), ..access() }), AccessError::KeyLength);
    assert_eq!(refused(DeviceAccess { kg: Some(Secret::new([1; 21])), ..access() }), AccessError::KeyLength);
    for number in (0..=255).filter(|number| !matches!(number, 3 | 17)) {
        assert_eq!(refused(DeviceAccess { suite: Some(number), ..access() }), AccessError::Suite { number });
    }
}

#[test]
fn no_debug_output_holds_a_secret() {
    let kg = Some(Secret::new("bmc key"));
    let bmc = Bmc::new(DeviceAccess { kg, ..access() }).expect("a usable access");
    let printed = format!("{bmc:?} {:?}", seal(Suite::Three));
    let forbidden = ["0perator", "bmc key", "48, 112", "98, 109", "0x11", "17, 17", "34, 34"];
    for secret in forbidden {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

proptest! {
    #[test]
    fn no_datagram_makes_a_parser_panic_or_believe(datagram in proptest::collection::vec(any::<u8>(), 0..256)) {
        for suite in [Suite::Three, Suite::Seventeen] {
            prop_assert_eq!(seal(suite).open(&datagram), None);
        }
        prop_assert!(packet::parse_plain(&datagram, Payload::Rakp4).is_none_or(|body| body.len() <= 240));
        let question = Question { netfn: 0x00, command: 0x01, sequence: 1 };
        prop_assert!(message::parse(&datagram, question).is_none_or(|_| datagram.len() >= 8));
    }

    #[test]
    fn a_changed_datagram_never_opens(at in 3usize..64, flip in 1u8..) {
        let seal = seal(Suite::Seventeen);
        let mut datagram = seal.close_as_bmc(7, [0x33; 16], &[0x44; 12]);
        let at = at % datagram.len();
        prop_assume!(!matches!(at, 1 | 2));
        datagram[at] ^= flip;
        prop_assert_eq!(seal.open(&datagram), None);
    }

    #[test]
    fn a_payload_that_is_authentic_and_nonsense_is_not_a_panic(
        payload in proptest::collection::vec(any::<u8>(), 0..80),
        length: u16,
    ) {
        let seal = seal(Suite::Three);
        let mut datagram = vec![0x06, 0x00, 0xff, 0x07, 0x06, 0xc0, 4, 3, 2, 1, 1, 0, 0, 0];
        datagram.extend(length.to_le_bytes());
        datagram.extend(payload);
        let code = seal.suite.code(&seal.integrity_key, &[&datagram[4..]]);
        datagram.extend(&code[..12]);
        prop_assert!(seal.open(&datagram).is_none_or(|opened| opened.message.len() <= 64));
    }

    #[test]
    fn data_that_is_no_answer_is_not_a_panic(data in proptest::collection::vec(any::<u8>(), 0..32)) {
        prop_assert_eq!(ChassisStatus::parse_success_response(&data).is_ok(), data.len() >= 3);
        prop_assert_eq!(SystemGuid::parse_success_response(&data).is_ok(), data.len() >= 16);
        prop_assert_eq!(BecomeOperator::parse_success_response(&data).is_ok(), data.first() == Some(&3));
        let device = ipmi_rs::app::GetDeviceId::parse_success_response(&data);
        prop_assert_eq!(device.is_ok(), data.len() >= 11);
    }

    #[test]
    fn the_window_admits_what_a_list_of_seen_numbers_admits(numbers in proptest::collection::vec(0u32..300, 1..200)) {
        let mut window = Window::default();
        let mut seen = Vec::new();
        for number in numbers {
            let highest = seen.iter().max().copied();
            let fresh = !seen.contains(&number) && highest.is_none_or(|highest: u32| number + 64 > highest);
            prop_assert_eq!(window.admit(number), fresh, "{} after {:?}", number, seen);
            seen.push(number);
        }
    }
}
