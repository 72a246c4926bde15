//! Frozen bytes of the whole handshake, and what must not get through it.
//!
//! The bytes were printed by `fixtures/ipmi_sim/rakp_vectors.py`, which shares no code with the driver.

use proptest::prelude::*;

use super::{Attempt, Counterpart};
use crate::fencing::ipmi::error::{Error, Stage};
use crate::fencing::ipmi::packet::Seal;
use crate::fencing::ipmi::suite::Suite;
use crate::order::DeviceAccess;
use crate::secret::Secret;

const THEIRS: u32 = 0xa1b2_c3d4;

struct Vectors {
    open_session: &'static str,
    rakp1: &'static str,
    rakp2: &'static str,
    rakp3: &'static str,
    rakp4: &'static str,
    /// Get Chassis Status with session sequence 9.
    sealed: &'static str,
}

const SUITE_3: Vectors = Vectors {
    open_session: "5a03000044332211000000080100000001000008010000000200000801000000",
    rakp1: "5a000000d4c3b2a1101112131415161718191a1b1c1d1e1f1300000566656e6365",
    rakp2: "5a00000044332211808182838485868788898a8b8c8d8e8fe0e1e2e3e4e5e6e7e8e9eaebecedeeefe2302b57206961b62b990dceeacde46fa299e470",
    rakp3: "5a000000d4c3b2a1140a8e933124eb497d4beba3d9512f10072c6808",
    rakp4: "5a00000044332211b270e44802c1251296e16128",
    sealed: "0600ff0706c0d4c3b2a1090000002000404142434445464748494a4b4c4d4e4f19951bedd7165cd0404eef0524b53ef8ffff02079c9acb967f29fc24e4030b88",
};

const SUITE_3_WITH_KG: Vectors = Vectors {
    open_session: "5a03000044332211000000080100000001000008010000000200000801000000",
    rakp1: "5a000000d4c3b2a1101112131415161718191a1b1c1d1e1f1300000566656e6365",
    rakp2: "5a00000044332211808182838485868788898a8b8c8d8e8fe0e1e2e3e4e5e6e7e8e9eaebecedeeefe2302b57206961b62b990dceeacde46fa299e470",
    rakp3: "5a000000d4c3b2a1140a8e933124eb497d4beba3d9512f10072c6808",
    rakp4: "5a00000044332211e31ae376524006e530bc6111",
    sealed: "0600ff0706c0d4c3b2a1090000002000404142434445464748494a4b4c4d4e4fdfe60ce50bea861b0fdf923d57e981a5ffff02072ba102651a0e736888c3080a",
};

const SUITE_17: Vectors = Vectors {
    open_session: "5a03000044332211000000080300000001000008040000000200000801000000",
    rakp1: "5a000000d4c3b2a1101112131415161718191a1b1c1d1e1f1300000566656e6365",
    rakp2: "5a00000044332211808182838485868788898a8b8c8d8e8fe0e1e2e3e4e5e6e7e8e9eaebecedeeef42f2c0d3af69f6bd489d4e3d136c92798317fae32c098d2f682233f60588f258",
    rakp3: "5a000000d4c3b2a164e0ec8e6b16d23c22295f6b88d180f671bca7cdaf7f722aba6300c6a46affca",
    rakp4: "5a0000004433221111f61e8b23b98666483c0b44c404146b",
    sealed: "0600ff0706c0d4c3b2a1090000002000404142434445464748494a4b4c4d4e4f0c2defe936f666a222705e05da13ed62ffff020754548549e7958d236abb88fb9e741899",
};

const SUITE_17_WITH_KG: Vectors = Vectors {
    open_session: "5a03000044332211000000080300000001000008040000000200000801000000",
    rakp1: "5a000000d4c3b2a1101112131415161718191a1b1c1d1e1f1300000566656e6365",
    rakp2: "5a00000044332211808182838485868788898a8b8c8d8e8fe0e1e2e3e4e5e6e7e8e9eaebecedeeef42f2c0d3af69f6bd489d4e3d136c92798317fae32c098d2f682233f60588f258",
    rakp3: "5a000000d4c3b2a164e0ec8e6b16d23c22295f6b88d180f671bca7cdaf7f722aba6300c6a46affca",
    rakp4: "5a0000004433221145d0deb389b69c3f282e7597caa14666",
    sealed: "0600ff0706c0d4c3b2a1090000002000404142434445464748494a4b4c4d4e4f48ca897eed38f6fafec89a5507b5d6c1ffff020750b3ef0fb78308a81527427248c15c78",
};

fn attempt(suite: Suite) -> Attempt {
    Attempt { suite, tag: 0x5a, ours: 0x1122_3344, challenge: counted_from(0x10) }
}

fn counterpart() -> Counterpart {
    Counterpart { theirs: THEIRS, challenge: counted_from(0x80), guid: counted_from(0xe0) }
}

fn access(kg: Option<&str>) -> DeviceAccess {
    DeviceAccess {
        address: ([127, 0, 0, 1], 623).into(),
        user: "fence".into(),
        password: Secret::new("0perator"),
        kg: kg.map(Secret::new),
        suite: None,
    }
}

fn counted_from(first: u8) -> [u8; 16] {
    std::array::from_fn(|position| first + u8::try_from(position).expect("below 16"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |text: &[u8]| u8::from_str_radix(std::str::from_utf8(text).expect("ASCII"), 16).expect("hex");
    hex.as_bytes().chunks(2).map(digit).collect()
}

fn check(suite: Suite, kg: Option<&str>, vectors: &Vectors) {
    let (attempt, access) = (attempt(suite), access(kg));
    assert_eq!(hex(&attempt.open_session()), vectors.open_session);
    assert_eq!(hex(&attempt.rakp1(THEIRS, "fence")), vectors.rakp1);
    let read = attempt.read_rakp2(&bytes(vectors.rakp2), THEIRS, &access).expect("the proof is right");
    assert_eq!(read, Some(counterpart()));
    assert_eq!(hex(&attempt.rakp3(&counterpart(), &access)), vectors.rakp3);
    let seal = seal(suite, kg, vectors);
    let message = [0x20, 0x00, 0xe0, 0x81, 0x04, 0x01, 0x7a];
    assert_eq!(hex(&seal.close(9, counted_from(0x40), &message)), vectors.sealed);
}

fn seal(suite: Suite, kg: Option<&str>, vectors: &Vectors) -> Seal {
    attempt(suite)
        .read_rakp4(&bytes(vectors.rakp4), &counterpart(), &access(kg))
        .expect("the proof is right")
        .expect("it is the answer")
}

#[test]
fn suite_3_speaks_the_frozen_bytes() {
    check(Suite::Three, None, &SUITE_3);
}

#[test]
fn suite_3_with_a_kg_speaks_the_frozen_bytes() {
    check(Suite::Three, Some("bmc key"), &SUITE_3_WITH_KG);
}

#[test]
fn suite_17_speaks_the_frozen_bytes() {
    check(Suite::Seventeen, None, &SUITE_17);
}

#[test]
fn suite_17_with_a_kg_speaks_the_frozen_bytes() {
    check(Suite::Seventeen, Some("bmc key"), &SUITE_17_WITH_KG);
}

fn opened(status: u8, algorithms: [u8; 3]) -> Vec<u8> {
    let mut body = vec![0x5a, status, 3, 0];
    body.extend(0x1122_3344u32.to_le_bytes());
    body.extend(THEIRS.to_le_bytes());
    for (kind, algorithm) in (0..).zip(algorithms) {
        body.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    body
}

#[test]
fn other_algorithms_than_asked_for_are_a_downgrade() {
    assert_eq!(attempt(Suite::Seventeen).read_open_session(&opened(0, [3, 4, 1])).expect("as asked"), Some(THEIRS));
    for weaker in [[1, 1, 1], [3, 4, 0], [3, 0, 1], [0, 0, 0], [3, 1, 1], [1, 4, 1]] {
        let answer = attempt(Suite::Seventeen).read_open_session(&opened(0, weaker));
        assert!(matches!(answer, Err(Error::Downgraded { suite: Suite::Seventeen })), "{weaker:?}: {answer:?}");
    }
}

#[test]
fn a_refused_suite_is_told_from_a_full_device() {
    for status in [0x04, 0x05, 0x06, 0x07, 0x10, 0x11] {
        let answer = attempt(Suite::Seventeen).read_open_session(&[0x5a, status, 0, 0]);
        assert!(matches!(answer, Err(Error::SuiteRefused { suite: Suite::Seventeen, status: told }) if told == status));
    }
    let answer = attempt(Suite::Three).read_open_session(&[0x5a, 0x01, 0, 0]);
    assert!(matches!(answer, Err(Error::Setup { stage: Stage::OpenSession, status: 0x01 })), "{answer:?}");
}

#[test]
fn answers_to_another_attempt_are_not_answers() {
    let mut other_tag = bytes(SUITE_3.rakp2);
    other_tag[0] ^= 1;
    let mut other_session = bytes(SUITE_3.rakp2);
    other_session[4] ^= 1;
    for body in [other_tag, other_session] {
        assert_eq!(attempt(Suite::Three).read_rakp2(&body, THEIRS, &access(None)).expect("ignored"), None);
    }
}

#[test]
fn a_changed_byte_in_a_proof_is_refused() {
    for position in 8..bytes(SUITE_17.rakp2).len() {
        let mut body = bytes(SUITE_17.rakp2);
        body[position] ^= 0x80;
        let answer = attempt(Suite::Seventeen).read_rakp2(&body, THEIRS, &access(None));
        assert!(matches!(answer, Err(Error::Password)), "byte {position}: {answer:?}");
    }
    for position in 8..bytes(SUITE_17.rakp4).len() {
        let mut body = bytes(SUITE_17.rakp4);
        body[position] ^= 0x80;
        let answer = attempt(Suite::Seventeen).read_rakp4(&body, &counterpart(), &access(None));
        assert!(matches!(answer, Err(Error::BmcKey)), "byte {position}: {answer:?}");
    }
}

#[test]
fn another_kg_is_refused() {
    let answer = attempt(Suite::Three).read_rakp4(&bytes(SUITE_3.rakp4), &counterpart(), &access(Some("bmc key")));
    assert!(matches!(answer, Err(Error::BmcKey)), "{answer:?}");
}

#[test]
fn a_refusing_rakp_3_carries_no_proof() {
    assert_eq!(hex(&attempt(Suite::Three).rakp3_refusing(THEIRS)), "5a0f0000d4c3b2a1");
}

#[test]
fn truncated_answers_are_not_answers() {
    let attempt = attempt(Suite::Seventeen);
    let (rakp2, rakp4, open) = (bytes(SUITE_17.rakp2), bytes(SUITE_17.rakp4), opened(0, [3, 4, 1]));
    for length in 0..rakp2.len() {
        assert_eq!(attempt.read_rakp2(&rakp2[..length], THEIRS, &access(None)).expect("ignored"), None);
    }
    for length in 0..rakp4.len() {
        assert!(attempt.read_rakp4(&rakp4[..length], &counterpart(), &access(None)).expect("ignored").is_none());
    }
    for length in 0..open.len() {
        assert_eq!(attempt.read_open_session(&open[..length]).expect("ignored"), None);
    }
}

proptest! {
    #[test]
    fn no_answer_makes_a_reader_panic_or_believe(tail in proptest::collection::vec(any::<u8>(), 0..96), tagged: bool) {
        let mut body = tail;
        if tagged && !body.is_empty() {
            body[0] = 0x5a;
        }
        for suite in [Suite::Three, Suite::Seventeen] {
            let attempt = attempt(suite);
            prop_assert!(!matches!(attempt.read_rakp2(&body, THEIRS, &access(None)), Ok(Some(_))));
            prop_assert!(!matches!(attempt.read_rakp4(&body, &counterpart(), &access(None)), Ok(Some(_))));
            prop_assert!(!matches!(attempt.read_open_session(&body), Ok(Some(_))));
        }
    }
}
