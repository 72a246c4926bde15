use quorumfence_machine::HostId;

use super::{ClusterKey, Error, Purpose, SealedSecret, Secret, SecretPart};

const NONCE: [u8; 24] = [7; 24];

fn key(byte: u8) -> ClusterKey {
    ClusterKey::from_bytes(&[byte; 32]).expect("32 bytes are a key")
}

fn host(name: &str) -> HostId {
    name.parse().expect("a name")
}

fn password_of<'a>(host: &'a HostId, address: &str) -> Purpose<'a> {
    Purpose { host, address: address.parse().expect("an address"), part: SecretPart::Password }
}

#[test]
fn a_sealed_secret_opens_for_its_own_purpose_only() {
    let (host1, host2) = (host("host1"), host("host2"));
    let purpose = password_of(&host1, "10.0.0.1:623");
    let secret = Secret::new("s3cret");
    let sealed = key(1).seal(&purpose, &secret, NONCE).expect("short enough");

    assert_eq!(key(1).open(&purpose, &sealed), Ok(secret));
    assert_eq!(key(2).open(&purpose, &sealed), Err(Error::Closed));
    assert_eq!(key(1).open(&password_of(&host2, "10.0.0.1:623"), &sealed), Err(Error::Closed));
    assert_eq!(key(1).open(&password_of(&host1, "10.0.0.2:623"), &sealed), Err(Error::Closed));
    assert_eq!(key(1).open(&Purpose { part: SecretPart::Kg, ..purpose }, &sealed), Err(Error::Closed));
}

#[test]
fn a_changed_byte_anywhere_keeps_it_closed() {
    let host = host("host1");
    let purpose = password_of(&host, "10.0.0.1:623");
    let sealed = key(1).seal(&purpose, &Secret::new("s3cret"), NONCE).expect("short enough");
    for position in 0..sealed.0.len() {
        let mut changed = sealed.clone();
        changed.0[position] ^= 1;
        let expected = if position == 0 { Error::Format } else { Error::Closed };
        assert_eq!(key(1).open(&purpose, &changed), Err(expected), "byte {position}");
    }
    for length in 0..sealed.0.len() {
        let cut = SealedSecret(sealed.0[..length].to_vec());
        assert!(key(1).open(&purpose, &cut).is_err(), "cut to {length} bytes");
    }
}

/// Computed with libsodium's XChaCha20-Poly1305 (PyNaCl `crypto_aead_xchacha20poly1305_ietf_encrypt`).
#[test]
fn the_sealed_form_is_frozen() {
    let host = host("host1");
    let sealed = key(1).seal(&password_of(&host, "10.0.0.1:623"), &Secret::new("s3cret"), NONCE).expect("short enough");
    let hex: String = sealed.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, format!("01{}ee1feb9ad8bebf9ca161f682d6987f6480fa2aa3dd66", "07".repeat(24)));
}

#[test]
fn a_key_of_another_length_is_refused() {
    assert_eq!(ClusterKey::from_bytes(&[0; 31]).map(|_| ()), Err(Error::KeyLength { bytes: 31 }));
}

#[test]
fn nothing_secret_is_printed() {
    let host = host("host1");
    let sealed = key(1).seal(&password_of(&host, "10.0.0.1:623"), &Secret::new("s3cret"), NONCE).expect("short enough");
    let printed = format!("{:?} {:?} {sealed:?}", Secret::new("s3cret"), key(1));
    assert_eq!(printed, "Secret(…) ClusterKey(…) SealedSecret(47 bytes)");
}
