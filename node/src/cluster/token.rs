//! Join tokens: one line that lets one machine in, and tells it which cluster it is talking to.
//!
//! ```text
//! QF1<SHA-256 of the authority's certificate>::<id>.<secret>
//! ```
//!
//! The joiner compares the hash before it sends the secret, so an impostor at the cluster's address learns nothing.

use std::fmt;
use std::str::FromStr;

use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{JoinTokenId, ParseError};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::authority::{Fingerprint, FingerprintError};
use super::{NoEntropy, hex, unguessable};

const VERSION: &str = "QF1";
const SECRET_BYTES: usize = 20;
const ID_BYTES: usize = 4;

/// Why a text is not a join token. No text of a token stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another beginning.
    #[error("a join token begins with {VERSION}; copy the whole line that 'quorumfence token create' printed")]
    Version,
    /// A separator is missing.
    #[error(
        "a join token has the form {VERSION}<hash>::<id>.<secret>; copy the whole line that 'quorumfence token create' printed"
    )]
    Form,
    /// The hash is none.
    #[error("the join token's first part is no hash of an authority; copy the whole line again")]
    Authority(#[source] FingerprintError),
    /// The id is none.
    #[error("the join token's id is no name; copy the whole line again")]
    Id(#[source] ParseError),
    /// The secret is cut or misspelt.
    #[error("the join token's secret does not have {} hexadecimal digits; copy the whole line again", 2 * SECRET_BYTES)]
    Secret,
}

/// A join token with its secret. Debug hides the secret; the log gets only [`JoinToken::secret_hash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The authority that the joiner must find.
    pub authority: Fingerprint,
    /// The public half, under which the cluster finds the hash of the secret.
    pub id: JoinTokenId,
    secret: Secret,
}

impl JoinToken {
    /// Draws a token with a secret of 160 bits.
    pub fn generate(authority: Fingerprint) -> Result<Self, NoEntropy> {
        let id = hex::encode(&unguessable::<ID_BYTES>()?);
        let id = id.parse().expect("hexadecimal digits are a name");
        Ok(Self { authority, id, secret: Secret::new(hex::encode(&unguessable::<SECRET_BYTES>()?)) })
    }

    /// Returns the token that the cluster's reply describes.
    pub fn from_parts(authority: Fingerprint, id: JoinTokenId, secret: &str) -> Result<Self, Error> {
        hex::decode::<SECRET_BYTES>(secret).ok_or(Error::Secret)?;
        Ok(Self { authority, id, secret: Secret::new(secret) })
    }

    /// Returns the secret as text, for the join request. Callers MUST NOT log or store it.
    pub fn expose_secret(&self) -> &str {
        std::str::from_utf8(self.secret.expose()).expect("the secret was checked to be hexadecimal digits")
    }

    /// Returns the whole line, to be shown once. Callers MUST NOT log or store it.
    pub fn expose(&self) -> String {
        format!("{VERSION}{}::{}.{}", self.authority, self.id, self.expose_secret())
    }

    /// Returns what the cluster stores of the secret.
    pub fn secret_hash(&self) -> SecretHash {
        SecretHash::of(self.expose_secret())
    }
}

impl FromStr for JoinToken {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let rest = text.trim().strip_prefix(VERSION).ok_or(Error::Version)?;
        let (authority, rest) = rest.split_once("::").ok_or(Error::Form)?;
        let (id, secret) = rest.rsplit_once('.').ok_or(Error::Form)?;
        Self::from_parts(authority.parse().map_err(Error::Authority)?, id.parse().map_err(Error::Id)?, secret)
    }
}

/// The SHA-256 of a token's secret: enough to check it, useless to join with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// Returns the hash of a secret as it stands in the token.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Returns whether the secret is the right one, in a time that does not tell how much of it is right.
    pub fn matches(&self, secret: &str) -> bool {
        self.0.ct_eq(&Self::of(secret).0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const SECRET: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_token_survives_printing_and_parsing() {
        let authority = HASH.parse().expect("a hash");
        let token = JoinToken::generate(authority).expect("entropy");
        let other = JoinToken::generate(authority).expect("entropy");
        assert_eq!(token.expose().parse(), Ok(token.clone()));
        assert_ne!(token.secret_hash(), other.secret_hash());
        assert_ne!(token.id, other.id);
    }

    #[test]
    fn a_written_token_is_read_part_by_part() {
        let line = format!("  QF1{HASH}::rack.7.{SECRET}\n");
        let token: JoinToken = line.parse().expect("it is well formed");
        assert_eq!(token.authority.to_string(), HASH);
        assert_eq!(token.id.as_str(), "rack.7");
        assert_eq!(token.expose_secret(), SECRET);
    }

    #[test]
    fn a_damaged_token_is_refused_with_the_damaged_part() {
        let check = |text: String, expect: Error| assert_eq!(text.parse::<JoinToken>(), Err(expect), "{text}");
        check(String::new(), Error::Version);
        check(format!("QF2{HASH}::a.{SECRET}"), Error::Version);
        check(format!("QF1{HASH}:a.{SECRET}"), Error::Form);
        check(format!("QF1{HASH}::a{SECRET}"), Error::Form);
        check(format!("QF1{HASH}::.{SECRET}"), Error::Id(ParseError::Length { text: String::new() }));
        check(format!("QF1{HASH}::A.{SECRET}"), Error::Id(ParseError::Character { text: "A".into(), character: 'A' }));
        check(format!("QF1{HASH}::a.{}", &SECRET[1..]), Error::Secret);
        check(format!("QF1{HASH}::a.{}", SECRET.to_uppercase()), Error::Secret);
        let short = &HASH[1..];
        check(
            format!("QF1{short}::a.{SECRET}"),
            Error::Authority(short.parse::<Fingerprint>().expect_err("too short")),
        );
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let token: JoinToken = format!("QF1{HASH}::a.{SECRET}").parse().expect("it is well formed");
        assert!(!format!("{token:?}").contains(SECRET));
        let error = format!("QF1{HASH}::a.{SECRET}0").parse::<JoinToken>().expect_err("one digit too many");
        assert!(!format!("{error:?} {error}").contains(SECRET));
    }

    #[test]
    fn only_the_right_secret_matches_its_hash() {
        let hash = SecretHash::of(SECRET);
        assert!(hash.matches(SECRET));
        assert!(!hash.matches(&SECRET.replace('7', "8")));
        assert!(!hash.matches(""));
    }
}
