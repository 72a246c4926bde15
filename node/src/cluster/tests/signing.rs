use std::time::SystemTime;

use quorumfence_machine::HostId;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::authority::{self, Authority, Fingerprint, MEMBER_LIFE, REQUEST_BYTES_MAX};
use super::super::identity::{self, Peer, PendingIdentity};
use super::{DAY, authority, cluster, controller, expired, member, peer, reply};

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// A certificate that this program would never sign, for these names.
fn foreign_certificate(names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
    let key = KeyPair::generate().expect("a key");
    CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate").der().clone()
}

#[test]
fn each_role_has_one_name_that_is_read_back() {
    let authority = authority();
    let host: HostId = "rack_1.host-7".parse().expect("a host");
    for (peer, name) in [
        (controller(3), "controller-3"),
        (Peer::Agent(host), "rack_1.host-7.agent"),
        (Peer::Operator("ada".into()), "ada.operator"),
    ] {
        let identity = member(&authority, &peer);
        assert_eq!(peer.dns_name(), name);
        assert_eq!(Peer::from_certificate(&der(identity.certificate_pem())).expect("one member"), peer);
    }
}

#[test]
fn a_name_that_is_no_members_is_refused() {
    for name in
        ["controller-", "controller-07", "controller-+7", "7", "localhost", ".agent", "A.agent", "x.operator.", "x"]
    {
        let error = Peer::from_certificate(&foreign_certificate(&[name])).expect_err(name);
        assert!(matches!(&error, identity::Error::Name { name: found } if found == name), "{name}: {error}");
    }
    let error = Peer::from_certificate(&foreign_certificate(&["127.0.0.1"])).expect_err("an address is no name");
    assert!(matches!(error, identity::Error::Name { .. }), "{error}");
}

#[test]
fn a_certificate_for_several_or_for_nobody_is_refused() {
    for (names, count) in
        [(vec!["controller-1", "h1.agent"], 2), (vec!["controller-1", "controller-1"], 2), (vec![], 0)]
    {
        let error = Peer::from_certificate(&foreign_certificate(&names)).expect_err("not one name");
        assert!(matches!(error, identity::Error::NameCount { count: found } if found == count), "{names:?}: {error}");
    }
    let error = Peer::from_certificate(b"no certificate").expect_err("no certificate");
    assert!(matches!(error, identity::Error::NotACertificate { .. }), "{error}");
}

#[test]
fn a_request_cannot_choose_its_name_its_dates_or_its_powers() {
    let authority = authority();
    let key = KeyPair::generate().expect("a key");
    let mut greedy = CertificateParams::new(vec!["controller-1".into()]).expect("a name");
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    greedy.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let request = greedy.serialize_request(&key).and_then(|request| request.pem()).expect("a request");

    let signed = authority.sign(&request, &peer("ada.operator"), SystemTime::now()).expect("a certificate");
    let signed = der(&signed);
    assert_eq!(Peer::from_certificate(&signed).expect("one member"), peer("ada.operator"));
    let (_, parsed) = x509_parser::parse_x509_certificate(&signed).expect("a certificate");
    assert!(!parsed.is_ca());
    let usage = parsed.key_usage().expect("it is well formed").expect("it has usages").value;
    assert_eq!((usage.digital_signature(), usage.key_cert_sign()), (true, false));
    let purposes = parsed.extended_key_usage().expect("it is well formed").expect("it has purposes").value;
    assert_eq!((purposes.client_auth, purposes.server_auth), (true, false));
    let life = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    let skew = i64::try_from(authority::CLOCK_SKEW_MAX.as_secs()).expect("it is small");
    assert_eq!(life, i64::try_from(MEMBER_LIFE.as_secs()).expect("it is small") + skew);
}

#[test]
fn a_request_with_another_kind_of_key_or_size_is_refused() {
    let authority = authority();
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let request = CertificateParams::default().serialize_request(&key).and_then(|request| request.pem());
    let request = request.expect("a request");
    let sign = |request: &str| authority.sign(request, &controller(1), SystemTime::now()).expect_err("it is refused");
    assert!(matches!(sign(&request), authority::Error::RequestKey));
    assert!(matches!(sign(&" ".repeat(REQUEST_BYTES_MAX + 1)), authority::Error::RequestSize { .. }));
    assert!(matches!(sign("no request"), authority::Error::Certificate { .. }));
}

#[test]
fn a_name_that_no_client_could_dial_is_refused() {
    let pending = PendingIdentity::generate().expect("a key");
    let host: HostId = "h1..".parse().expect("host names may hold dots");
    let error =
        authority().sign(pending.request_pem(), &Peer::Agent(host), SystemTime::now()).expect_err("no DNS name");
    assert!(matches!(&error, authority::Error::Name { name } if name == "h1...agent"), "{error}");
}

#[test]
fn an_authority_survives_its_files() {
    let first = authority();
    let second = Authority::from_pem(first.certificate_pem(), &first.key_pem()).expect("its own files");
    assert_eq!(second.fingerprint(), first.fingerprint());
    assert_eq!(Fingerprint::of_pem(first.certificate_pem()).expect("a certificate"), first.fingerprint());
    assert_eq!(first.fingerprint().to_string().parse(), Ok(first.fingerprint()));

    let pending = PendingIdentity::generate().expect("a key");
    let signed = second.sign(pending.request_pem(), &controller(1), SystemTime::now()).expect("a certificate");
    pending.complete(&reply(&first, &signed), &controller(1), SystemTime::now()).expect("the first vouches for it");
}

#[test]
fn an_authority_with_the_key_of_another_is_refused() {
    let error = Authority::from_pem(authority().certificate_pem(), &authority().key_pem()).expect_err("another key");
    assert!(matches!(error, authority::Error::KeyMismatch), "{error}");
    let debug = format!("{:?}", authority());
    assert!(!debug.contains("PRIVATE"), "{debug}");
}

#[test]
fn a_reply_for_another_member_key_or_authority_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let now = SystemTime::now();
    let sign = |by: &Authority, request: &str| by.sign(request, &controller(1), now).expect("a certificate");
    let pending = || PendingIdentity::generate().expect("a key");

    let asked = pending();
    let signed = sign(&ours, asked.request_pem());
    let error = asked.complete(&reply(&ours, &signed), &controller(2), now).expect_err("another member");
    assert!(matches!(error, identity::Error::OtherPeer { .. }), "{error}");

    let signed = sign(&ours, pending().request_pem());
    let error = pending().complete(&reply(&ours, &signed), &controller(1), now).expect_err("another key");
    assert!(matches!(error, identity::Error::KeyMismatch), "{error}");

    let asked = pending();
    let signed = sign(&theirs, asked.request_pem());
    let mut swapped = reply(&theirs, &signed);
    swapped.pinned = ours.fingerprint();
    let error = asked.complete(&swapped, &controller(1), now).expect_err("another authority");
    assert!(matches!(error, identity::Error::OtherAuthority { found, .. } if found == theirs.fingerprint()), "{error}");

    let asked = pending();
    let signed = sign(&theirs, asked.request_pem());
    let error = asked.complete(&reply(&ours, &signed), &controller(1), now).expect_err("signed by another");
    assert!(matches!(error, identity::Error::NotValid { .. }), "{error}");
}

#[test]
fn a_certificate_is_valid_for_two_years_and_due_for_renewal_after_two_thirds() {
    let authority = authority();
    let identity = member(&authority, &controller(1));
    let now = SystemTime::now();
    for (days, valid, due) in
        [(0, true, false), (486, true, false), (488, true, true), (729, true, true), (731, false, true)]
    {
        let then = now + days * DAY;
        assert_eq!(identity.verify(then).is_ok(), valid, "day {days}");
        assert_eq!(identity.renewal_is_due(then).expect("it has dates"), due, "day {days}");
    }
    let error = expired(&authority, &controller(1)).verify(now).expect_err("it ended yesterday");
    let identity::Error::NotValid { source: rustls::Error::InvalidCertificate(reason), .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(reason, CertificateError::ExpiredContext { .. }), "{reason}");
}

#[test]
fn the_authority_outlives_its_members_and_signs_no_other_authority() {
    let made = Authority::create(&cluster(), SystemTime::now()).expect("an authority");
    let certificate = der(made.certificate_pem());
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
    let constraints = parsed.basic_constraints().expect("it is well formed").expect("it has constraints").value;
    assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
    let days = (parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp()) / (24 * 60 * 60);
    assert_eq!(days, 3650);
}
