//! The words that people read, and the names that they write.

use std::time::Duration;

use crate::{
    Actor, BootId, ClusterTime, ControllerId, Doubt, HostId, InstanceId, LogIndex, Millis, NAME_BYTES_MAX, Outcome,
    Parking, ParseError, Power, Proof, Refusal, Token, Uncertainty, Verdict,
};

fn boot(number: u8) -> BootId {
    BootId([number; 16])
}

#[test]
fn everything_that_is_said_has_words_of_its_own() {
    let proof = |ordered| Proof::PowerOffVerified { level: 0, ordered };
    let table: [(&dyn std::fmt::Display, &str); 45] = [
        (&Actor::Controller(ControllerId(2)), "controller-2"),
        (&Actor::Agent("host1".parse().expect("a name")), "agent host1"),
        (&Actor::Operator("ada".into()), "operator ada"),
        (&Verdict::Alive { boot: boot(1) }, "alive"),
        (&Verdict::Unreachable, "unreachable"),
        (&Verdict::PoweredOff, "powered off"),
        (&Verdict::CannotTell(Uncertainty::CutOff), "cannot tell (this controller is cut off)"),
        (&Verdict::CannotTell(Uncertainty::AgentSilent), "cannot tell (agent silent, host answers)"),
        (&Verdict::CannotTell(Uncertainty::NeverSeen), "cannot tell (never seen alive)"),
        (&Parking::NoHost, "no healthy host in the segment"),
        (&Parking::NoRoom, "no healthy host with enough memory"),
        (&Parking::Refused(Refusal::Hypervisor), "every start was refused: the hypervisor refused"),
        (&Parking::EvacuationDisabled, "evacuation is switched off for the segment"),
        (&Refusal::Credentials, "wrong user name, password or Kg"),
        (&Refusal::Privilege, "the account's privilege is too low"),
        (&Refusal::Insecure, "no safe cipher suite (17 or 3)"),
        (&Refusal::WrongMachine, "the device belongs to another machine"),
        (&Refusal::Unsupported, "the device does not know the order"),
        (&Refusal::OldToken, "the order's token is older than one already seen"),
        (&Refusal::WrongBoot, "the order names another boot of this host"),
        (&Refusal::NotAssigned, "the log does not give this instance to this host and token"),
        (&Refusal::Quarantined, "the host is quarantined until it is admitted"),
        (&Refusal::Hypervisor, "the hypervisor refused"),
        (&Refusal::PermitEnded, "the executor's permit has ended"),
        (&Doubt::Timeout, "no answer before the deadline"),
        (&Doubt::Unreachable, "could not be reached"),
        (&Doubt::Busy, "no session free"),
        (&Doubt::Garbled, "the answer could not be understood"),
        (&Doubt::Ambiguous, "the answer was neither on nor off"),
        (&Doubt::Internal, "the driver failed"),
        (&Power::On, "on"),
        (&Power::Off, "off"),
        (&proof(true), "powered off and read off twice, level 1"),
        (&proof(false), "found off and read off twice, level 1"),
        (&Proof::NewBootId { boot: boot(0x1a) }, "it reports a new boot 1a1a1a1a-1a1a-1a1a-1a1a-1a1a1a1a1a1a"),
        (&Proof::Human { operator: "ada".into(), reason: "seen".into() }, "ada vouches: seen"),
        (&LogIndex(7), "#7"),
        (&Token(LogIndex(7)), "#7"),
        (&Millis(61_007), "61.007 s"),
        (&ControllerId(3), "controller-3"),
        (&InstanceId([0xf0; 16]), "f0f0f0f0-f0f0-f0f0-f0f0-f0f0f0f0f0f0"),
        (&"host1".parse::<HostId>().expect("a name"), "host1"),
        (&ParseError::Length { text: String::new() }, "'' has 0 bytes; a name has 1 to 63"),
        (&ParseError::Uuid { text: "x".into() }, "'x' is not a UUID such as 6b8b4567-327b-43c6-8643-3c9869b39f2d"),
        (&ParseError::Number { text: "x".into() }, "'x' is not a number"),
    ];
    for (value, words) in table {
        assert_eq!(value.to_string(), words);
    }
}

#[test]
fn what_stands_in_tables_can_be_padded() {
    assert_eq!(format!("{:>9}|{:<5}|{:<4}|", Millis(1500), LogIndex(7), Power::On), "  1.500 s|#7   |on  |");
}

#[test]
fn a_bytes_own_name_is_its_hexadecimal_digits_for_debugging_too() {
    assert_eq!(format!("{:?}", boot(0x0b)), "0b0b0b0b-0b0b-0b0b-0b0b-0b0b0b0b0b0b");
}

#[test]
fn a_name_fits_into_a_label_and_begins_with_a_letter_or_digit() {
    let long = "a".repeat(NAME_BYTES_MAX);
    for good in ["a", "0", "a-b_c.d-9", &long] {
        let name: HostId = good.parse().expect(good);
        assert_eq!((name.as_str(), String::from(name.clone())), (good, good.to_string()));
        assert_eq!(HostId::try_from(good.to_string()), Ok(name));
    }
    let length = |text: &str| Err(ParseError::Length { text: text.into() });
    let character = |text: &str, character| Err(ParseError::Character { text: text.into(), character });
    let longer = "a".repeat(NAME_BYTES_MAX + 1);
    for text in ["", &longer] {
        assert_eq!(text.parse::<HostId>(), length(text));
    }
    for (text, wrong) in
        [("-a", '-'), ("_a", '_'), (".a", '.'), ("aB", 'B'), ("a b", ' '), ("a/b", '/'), ("\u{e4}", '\u{e4}')]
    {
        assert_eq!(text.parse::<HostId>(), character(text, wrong));
    }
}

#[test]
fn a_uuid_is_read_with_its_dashes_or_without_any() {
    let bytes = [0x00, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd];
    let id = InstanceId(bytes);
    let text = "00123456-789a-bcde-f001-23456789abcd";
    assert_eq!(id.to_string(), text);
    for good in [text, "00123456789abcdef00123456789abcd", "00123456-789A-BCDE-F001-23456789ABCD"] {
        assert_eq!(good.parse(), Ok(id), "{good}");
    }
    let wrong = [
        "",
        "0012",
        "00123456-789a-bcde-f001-23456789abc",
        "00123456-789a-bcde-f001-23456789abcde",
        "001234567-89a-bcde-f001-23456789abcd",
        "00123456-789abcde-f001-2345-6789abcd",
        "00123456-789abc-de-f001-23456789abcd",
        "00123456-789a-bcdef-001-23456789abcd",
        "00123456-789a-bcde-f0012-3456789abcd",
        "00123456-789a-bcde-f001-23456789abcg",
        "--------------------------------",
        "00123456-789abcdef00123456789abcd",
        "----00123456789abcdef00123456789",
    ];
    for text in wrong {
        assert_eq!(text.parse::<InstanceId>(), Err(ParseError::Uuid { text: text.into() }), "{text}");
    }
}

#[test]
fn a_controller_is_named_by_its_number_with_or_without_its_title() {
    for text in ["controller-12", "12"] {
        assert_eq!(text.parse(), Ok(ControllerId(12)));
    }
    for text in ["", "controller-", "12a", "-1"] {
        assert_eq!(text.parse::<ControllerId>(), Err(ParseError::Number { text: text.into() }));
    }
}

#[test]
fn times_stop_at_their_ends_and_never_wrap() {
    let most = Millis(u64::MAX);
    assert_eq!((Millis(3) + Millis(4), most + Millis(1)), (Millis(7), most));
    assert_eq!((Millis(7) - Millis(4), Millis(4) - Millis(7)), (Millis(3), Millis::ZERO));
    assert_eq!((Millis(7).times(3), most.times(2)), (Millis(21), most));
    assert_eq!(Duration::from(Millis(1500)), Duration::from_millis(1500));
    let noon = ClusterTime(1000);
    assert_eq!((noon.after(Millis(5)), noon.after(most)), (ClusterTime(1005), ClusterTime(u64::MAX)));
    assert_eq!((ClusterTime(1005).since(noon), noon.since(ClusterTime(1005))), (Millis(5), Millis::ZERO));
}

#[test]
fn only_what_was_observed_is_changed() {
    let double = |outcome: Outcome<u8>| outcome.map(|seen| seen * 2);
    assert_eq!(double(Outcome::Observed(4)), Outcome::Observed(8));
    assert_eq!(double(Outcome::Refused(Refusal::Privilege)), Outcome::Refused(Refusal::Privilege));
    assert_eq!(double(Outcome::Unknown(Doubt::Busy)), Outcome::Unknown(Doubt::Busy));
}

#[test]
fn only_verdicts_of_death_condemn() {
    let table = [
        (Verdict::Alive { boot: boot(1) }, false),
        (Verdict::Unreachable, true),
        (Verdict::PoweredOff, true),
        (Verdict::CannotTell(Uncertainty::CutOff), false),
    ];
    for (verdict, condemns) in table {
        assert_eq!(verdict.condemns(), condemns, "{verdict}");
    }
}
