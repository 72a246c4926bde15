//! The cluster's trust from end to end: certificates, directories, and real handshakes on loopback.

mod directories;
mod handshakes;
mod signing;

use std::time::{Duration, SystemTime};

use quorumfence_machine::{ClusterId, ControllerId};

use super::authority::Authority;
use super::identity::{Identity, Peer, PendingIdentity, SignedCertificate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn cluster() -> ClusterId {
    ClusterId([7; 16])
}

fn authority() -> Authority {
    Authority::create(&cluster(), SystemTime::now()).expect("an authority")
}

fn controller(id: u64) -> Peer {
    Peer::Controller(ControllerId(id))
}

fn peer(name: &str) -> Peer {
    name.parse().expect("a member's name")
}

fn member(authority: &Authority, peer: &Peer) -> Identity {
    let pending = PendingIdentity::generate().expect("a key");
    let certificate = authority.sign(pending.request_pem(), peer, SystemTime::now()).expect("a certificate");
    pending.complete(&reply(authority, &certificate), peer, SystemTime::now()).expect("an identity")
}

/// An identity whose certificate ended yesterday.
fn expired(authority: &Authority, peer: &Peer) -> Identity {
    let signed_at = SystemTime::now() - super::authority::MEMBER_LIFE - DAY;
    let pending = PendingIdentity::generate().expect("a key");
    let certificate = authority.sign(pending.request_pem(), peer, signed_at).expect("a certificate");
    pending.complete(&reply(authority, &certificate), peer, signed_at).expect("it was valid then")
}

fn reply<'a>(authority: &'a Authority, certificate_pem: &'a str) -> SignedCertificate<'a> {
    SignedCertificate { certificate_pem, authority_pem: authority.certificate_pem(), pinned: authority.fingerprint() }
}
