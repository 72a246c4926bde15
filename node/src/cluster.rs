//! Who belongs to the cluster, and how each member proves it.
//!
//! ```text
//! token::JoinToken ──▶ pin::fetch_authority ──▶ trusting client ──▶ join ──▶ identity::Identity ──▶ mTLS everywhere
//!                       compares the CA's hash       CSR + secret      signed by authority::Authority
//! ```
//!
//! A certificate names exactly one member in its single DNS name, and that name is what both sides check: a dialled
//! node must be the addressed one, and a handler learns from [`identity::Peer`] who is calling. The authority fixes
//! the name; a signing request cannot ask for one.
//!
//! Start with [`identity`]; [`directory`] is where the files are.

pub mod authority;
pub mod directory;
mod file;
mod hex;
pub mod identity;
pub mod operator;
pub mod pin;
pub mod refusals;
pub mod token;

pub use file::Error as FileError;

/// Installs the process's TLS cryptography; calling it again changes nothing.
pub fn install_crypto() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let provider = rustls::crypto::ring::default_provider();
        assert!(
            provider.install_default().is_ok() || rustls::crypto::CryptoProvider::get_default().is_some(),
            "a failed installation means that one was installed before"
        );
    });
}

/// Returns bytes that nobody can guess, from the operating system.
///
/// Keys and secrets are the one kind of chance that does not come from the environment's seed.
fn unguessable<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| NoEntropy)?;
    Ok(bytes)
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes, so no key can be made; check that getrandom works here")]
pub struct NoEntropy;

#[cfg(test)]
mod tests;
