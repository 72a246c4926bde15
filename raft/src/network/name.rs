//! Whose certificate it is.

use quorumfence_machine::ControllerId;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Returns the controller that a certificate (DER) names as `controller-<id>`.
///
/// `None` when it names none, or more than one: such a certificate must not speak for anybody. The chain was checked
/// by TLS before; this only reads the name.
pub fn controller_in_certificate(der: &[u8]) -> Option<ControllerId> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut controllers = names.value.general_names.iter().filter_map(|name| {
        let GeneralName::DNSName(name) = name else { return None };
        let digits = name.strip_prefix(PREFIX)?;
        digits.parse().ok().map(ControllerId)
    });
    let first = controllers.next()?;
    controllers.next().is_none().then_some(first)
}

/// Returns the name that a controller's certificate must hold.
pub(super) fn server_name(id: ControllerId) -> String {
    format!("{PREFIX}{}", id.0)
}

const PREFIX: &str = "controller-";
