//! What a host can be fenced with, in the words of scripts and of a story's `cluster.toml`.

use std::fmt;
use std::str::FromStr;

use quorumfence_machine::HostId;

/// One fencing device, as the person who enrols it means it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gear {
    /// The host's own BMC.
    Bmc,
    /// The outlet that the host draws its power from. It knows no machine and never fails by itself.
    Pdu,
    /// A device whose driver this world refuses.
    Ipmi,
    /// The BMC of another host of the cluster, enrolled a second time by mistake.
    BmcOf(HostId),
    /// The BMC of a machine that is none of the cluster's hosts, which it says.
    StrangeBmc,
    /// The host's own BMC by its address, and another host's by its cable. It named no machine at enrolment.
    CabledTo(HostId),
}

/// Fencing levels in the order in which they are tried; all devices of one level must be off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Levels(pub Vec<Vec<Gear>>);

impl Levels {
    /// Reads one level from each word; the word `none` alone says that there is none.
    pub(crate) fn read<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let words: Vec<&str> = words.into_iter().collect();
        match words.as_slice() {
            [] => Err("a level such as bmc or bmc+pdu, or 'none', is missing".into()),
            ["none"] => Ok(Self::default()),
            words => words.iter().map(|word| level(word)).collect::<Result<_, _>>().map(Self),
        }
    }
}

fn level(word: &str) -> Result<Vec<Gear>, String> {
    word.split('+').map(str::parse).collect()
}

impl FromStr for Gear {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let host = |name: &str| name.parse().map_err(|_| format!("'{name}' is no host's name"));
        match word {
            "bmc" => Ok(Self::Bmc),
            "pdu" => Ok(Self::Pdu),
            "ipmi" => Ok(Self::Ipmi),
            "strange-bmc" => Ok(Self::StrangeBmc),
            other => match (other.strip_prefix("bmc-of-"), other.strip_prefix("cabled-to-")) {
                (Some(name), _) => host(name).map(Self::BmcOf),
                (None, Some(name)) => host(name).map(Self::CabledTo),
                (None, None) => {
                    let known = "bmc, pdu, ipmi, strange-bmc, bmc-of-HOST or cabled-to-HOST";
                    Err(format!("'{other}' is no fencing device: {known}"))
                }
            },
        }
    }
}

impl fmt::Display for Gear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bmc => f.write_str("bmc"),
            Self::Pdu => f.write_str("pdu"),
            Self::Ipmi => f.write_str("ipmi"),
            Self::StrangeBmc => f.write_str("strange-bmc"),
            Self::BmcOf(host) => write!(f, "bmc-of-{host}"),
            Self::CabledTo(host) => write!(f, "cabled-to-{host}"),
        }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let words: Vec<String> =
            self.0.iter().map(|level| level.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")).collect();
        f.write_str(&words.join(" "))
    }
}
