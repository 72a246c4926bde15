//! The RMCP+ handshake (IPMI 2.0, sections 13.17 to 13.24 and 13.31 to 13.33), as pure functions of bytes.
//!
//! ```text
//! Open Session Request ─▶            ours, the algorithms
//!                      ◀─ Response   theirs, the same algorithms or nothing
//! RAKP 1               ─▶            our challenge, role, user name
//!                      ◀─ RAKP 2     its challenge, its GUID, proof that it knows the password
//! RAKP 3               ─▶            proof that we know it
//!                      ◀─ RAKP 4     proof that it has the same session key (so: the same Kg)
//! ```
//!
//! Readers return `Ok(None)` for what is not the answer (wait on), and an error for an answer that ends the attempt.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::commands::OPERATOR;
use super::error::{self, Error, Stage};
use super::packet::Seal;
use super::suite::{AES_CBC_128, Suite};
use crate::order::DeviceAccess;

/// Look the user up by name alone: with the other way BMCs refuse an account whose level is not exactly the role.
const NAME_ONLY_LOOKUP: u8 = 0x10;

const ROLE: u8 = NAME_ONLY_LOOKUP | OPERATOR;

/// The value that K1 and K2 are made of, repeated (section 13.32): 20 bytes with every hash.
const KEY_CONSTANT_BYTES: usize = 20;

/// Tag, status, two reserved bytes and our session come first in every answer but a refusal.
const ANSWER_HEADER_BYTES: usize = 8;

/// What one attempt drew by chance, and what the BMC named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) suite: Suite,
    /// Marks the answers to this attempt.
    pub(super) tag: u8,
    /// The session as we name it. Not zero, which means no session.
    pub(super) ours: u32,
    /// Our challenge.
    pub(super) challenge: [u8; 16],
}

/// What RAKP 2 told, once its proof was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counterpart {
    /// The session as the BMC names it.
    pub(super) theirs: u32,
    /// Its challenge.
    pub(super) challenge: [u8; 16],
    /// Its GUID, which only the proofs use: the machine's identity is asked for inside the session.
    pub(super) guid: [u8; 16],
}

impl Attempt {
    /// Proposes exactly one algorithm of each kind.
    pub(super) fn open_session(&self) -> Vec<u8> {
        let mut body = vec![self.tag, OPERATOR, 0, 0];
        body.extend(self.ours.to_le_bytes());
        for (kind, algorithm) in self.algorithms() {
            body.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        body
    }

    /// Returns the session as the BMC names it, if the BMC took the proposal as it stands.
    pub(super) fn read_open_session(&self, body: &[u8]) -> Result<Option<u32>, Error> {
        match self.status(body) {
            None => return Ok(None),
            Some(0) => {}
            Some(status) if error::is_about_the_suite(status) => {
                return Err(Error::SuiteRefused { suite: self.suite, status });
            }
            Some(status) => return Err(Error::Setup { stage: Stage::OpenSession, status }),
        }
        let Some((theirs, algorithms)) = self.after_header(body).and_then(|rest| rest.split_first_chunk::<4>()) else {
            return Ok(None);
        };
        let Some(chosen) = algorithms.first_chunk::<24>() else { return Ok(None) };
        let as_asked = self
            .algorithms()
            .iter()
            .zip(chosen.chunks_exact(8))
            .all(|((kind, algorithm), payload)| payload[0] == *kind && payload[4] == *algorithm);
        if as_asked { Ok(Some(u32::from_le_bytes(*theirs))) } else { Err(Error::Downgraded { suite: self.suite }) }
    }

    /// Names the user, and challenges the BMC.
    pub(super) fn rakp1(&self, theirs: u32, user: &str) -> Vec<u8> {
        let mut body = vec![self.tag, 0, 0, 0];
        body.extend(theirs.to_le_bytes());
        body.extend(self.challenge);
        body.extend([ROLE, 0, 0, name_bytes(user)]);
        body.extend(user.as_bytes());
        body
    }

    /// Returns what the BMC answered, if it knows the password.
    pub(super) fn read_rakp2(
        &self,
        body: &[u8],
        theirs: u32,
        access: &DeviceAccess,
    ) -> Result<Option<Counterpart>, Error> {
        match self.status(body) {
            None => return Ok(None),
            Some(0) => {}
            Some(status) => return Err(Error::Setup { stage: Stage::Rakp2, status }),
        }
        let Some((challenge, rest)) = self.after_header(body).and_then(|rest| rest.split_first_chunk::<16>()) else {
            return Ok(None);
        };
        let Some((guid, rest)) = rest.split_first_chunk::<16>() else { return Ok(None) };
        let Some(proof) = rest.get(..self.suite.code_bytes()) else { return Ok(None) };
        let expected = self.suite.code(
            access.password.expose(),
            &[
                &self.ours.to_le_bytes(),
                &theirs.to_le_bytes(),
                &self.challenge,
                challenge,
                guid,
                &[ROLE, name_bytes(&access.user)],
                access.user.as_bytes(),
            ],
        );
        if !bool::from(expected.ct_eq(proof)) {
            return Err(Error::Password);
        }
        Ok(Some(Counterpart { theirs, challenge: *challenge, guid: *guid }))
    }

    /// Proves that we know the password.
    pub(super) fn rakp3(&self, counterpart: &Counterpart, access: &DeviceAccess) -> Vec<u8> {
        let proof = self.suite.code(
            access.password.expose(),
            &[
                &counterpart.challenge,
                &self.ours.to_le_bytes(),
                &[ROLE, name_bytes(&access.user)],
                access.user.as_bytes(),
            ],
        );
        let mut body = vec![self.tag, 0, 0, 0];
        body.extend(counterpart.theirs.to_le_bytes());
        body.extend(proof.iter());
        body
    }

    /// Tells the BMC that its proof was wrong, so that it frees the slot at once. It carries no proof of ours.
    pub(super) fn rakp3_refusing(&self, theirs: u32) -> Vec<u8> {
        let mut body = vec![self.tag, error::INVALID_INTEGRITY_CHECK, 0, 0];
        body.extend(theirs.to_le_bytes());
        body
    }

    /// Returns the session's seal, if the BMC has the same session key.
    pub(super) fn read_rakp4(
        &self,
        body: &[u8],
        counterpart: &Counterpart,
        access: &DeviceAccess,
    ) -> Result<Option<Seal>, Error> {
        match self.status(body) {
            None => return Ok(None),
            Some(0) => {}
            Some(status) => return Err(Error::Setup { stage: Stage::Rakp4, status }),
        }
        let Some(proof) = self.after_header(body).and_then(|rest| rest.get(..self.suite.tag_bytes())) else {
            return Ok(None);
        };
        let session_key = self.session_key(counterpart, access);
        let expected =
            self.suite.code(&session_key, &[&self.challenge, &counterpart.theirs.to_le_bytes(), &counterpart.guid]);
        if !bool::from(expected[..self.suite.tag_bytes()].ct_eq(proof)) {
            return Err(Error::BmcKey);
        }
        Ok(Some(self.seal(&session_key, counterpart.theirs)))
    }

    /// SIK: made with Kg, or with the password where no Kg is set.
    fn session_key(&self, counterpart: &Counterpart, access: &DeviceAccess) -> Zeroizing<Vec<u8>> {
        self.suite.code(
            access.kg.as_ref().unwrap_or(&access.password).expose(),
            &[&self.challenge, &counterpart.challenge, &[ROLE, name_bytes(&access.user)], access.user.as_bytes()],
        )
    }

    fn seal(&self, session_key: &[u8], theirs: u32) -> Seal {
        let second = self.suite.code(session_key, &[&[2; KEY_CONSTANT_BYTES]]);
        let encryption_key = *second.first_chunk().expect("a code has at least 20 bytes");
        Seal {
            suite: self.suite,
            integrity_key: self.suite.code(session_key, &[&[1; KEY_CONSTANT_BYTES]]),
            encryption_key: Zeroizing::new(encryption_key),
            ours: self.ours,
            theirs,
        }
    }

    /// Kind and number of each algorithm, in the order in which both sides list them.
    const fn algorithms(&self) -> [(u8, u8); 3] {
        [(0, self.suite.authentication()), (1, self.suite.integrity()), (2, AES_CBC_128)]
    }

    /// Returns the status, if this is an answer to this attempt. A refusal may be as short as its status.
    fn status(&self, body: &[u8]) -> Option<u8> {
        match body {
            [tag, status, ..] if *tag == self.tag => Some(*status),
            _ => None,
        }
    }

    /// Returns what follows our session in an answer that names it.
    fn after_header<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let (header, rest) = body.split_first_chunk::<ANSWER_HEADER_BYTES>()?;
        (header[4..] == self.ours.to_le_bytes()).then_some(rest)
    }
}

fn name_bytes(user: &str) -> u8 {
    u8::try_from(user.len()).expect("the user name was checked to be short")
}

#[cfg(test)]
mod tests;
