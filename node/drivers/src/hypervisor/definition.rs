//! What a libvirt domain definition says: who it is, how much memory it needs, and whether it opted in.
//!
//! Pure: text in, facts out. Definitions come from operators and from other hosts, so every text must end in facts or in
//! an [`Error`], never in a panic.

use quorumfence_machine::InstanceId;
use roxmltree::{Document, Node, ParsingOptions};

/// The XML namespace of the metadata tag `<vm enabled="true" priority="900"/>`.
pub const TAG_NAMESPACE: &str = "https://quorumfence.dev/xmlns/vm/1";

/// The key under which libvirt shows the tag (`virsh metadata VM NAMESPACE --key qf`).
pub const TAG_KEY: &str = "qf";

/// The highest recovery priority.
pub const PRIORITY_MAX: u16 = 1000;

/// The recovery priority of a tag that names none.
pub const PRIORITY_DEFAULT: u16 = 500;

/// Longest accepted definition. Libvirt's own limit for a string in a remote call is 4 MiB; real definitions have 10 KiB.
pub const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// Most XML nodes in one definition. The parser itself does not recurse.
const NODES_MAX: u32 = 100_000;

/// What a definition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The domain's UUID.
    pub instance: InstanceId,
    /// The domain's name.
    pub name: String,
    /// The memory it needs, rounded up to whole MiB.
    pub memory_mib: u64,
    /// The tag, or why it cannot be read. A wrong tag does not hide the domain.
    pub tag: Result<Tag, TagError>,
}

/// The operator's wish for one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Restart it elsewhere when its host is fenced. Off unless asked for.
    pub enabled: bool,
    /// Recovery order: higher first. 0 to [`PRIORITY_MAX`].
    pub priority: u16,
}

/// Why a definition was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`DEFINITION_BYTES_MAX`].
    #[error("the definition has {bytes} bytes, more than {DEFINITION_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not XML.
    #[error("the definition is not well-formed XML")]
    Xml(#[source] roxmltree::Error),
    /// XML, but of something else.
    #[error("the definition is of a <{root}>, not of a <domain>")]
    NotADomain {
        /// The root element.
        root: String,
    },
    /// A part is missing.
    #[error("the definition has no <{element}>")]
    Missing {
        /// The element that should be there.
        element: &'static str,
    },
    /// The UUID is not one.
    #[error("the definition's <uuid> '{text}' is not a UUID")]
    Uuid {
        /// What stands there.
        text: String,
    },
    /// The memory cannot be counted.
    #[error("the definition's <memory> '{text}' in '{unit}' is not an amount of memory")]
    Memory {
        /// The number that stands there.
        text: String,
        /// Its unit.
        unit: String,
    },
}

/// Why a tag was not understood. Its domain counts as not opted in until somebody corrects it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// `enabled` is neither true nor false.
    #[error("the tag's enabled=\"{text}\" is neither \"true\" nor \"false\"")]
    Enabled {
        /// What stands there.
        text: String,
    },
    /// `priority` is not a number in range.
    #[error("the tag's priority=\"{text}\" is not a number from 0 to {PRIORITY_MAX}")]
    Priority {
        /// What stands there.
        text: String,
    },
}

/// Reads a domain definition.
pub fn parse(xml: &str) -> Result<Definition, Error> {
    if xml.len() > DEFINITION_BYTES_MAX {
        return Err(Error::TooLong { bytes: xml.len() });
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(xml, options).map_err(Error::Xml)?;
    let domain = document.root_element();
    if domain.tag_name().name() != "domain" {
        return Err(Error::NotADomain { root: domain.tag_name().name().into() });
    }
    let uuid = text_of(domain, "uuid")?;
    let instance = uuid.parse().map_err(|_| Error::Uuid { text: uuid.into() })?;
    Ok(Definition {
        instance,
        name: text_of(domain, "name")?.into(),
        memory_mib: memory_mib(domain)?,
        tag: tag(domain),
    })
}

fn text_of<'a>(domain: Node<'a, '_>, element: &'static str) -> Result<&'a str, Error> {
    let node = domain.children().find(|child| child.has_tag_name(element)).ok_or(Error::Missing { element })?;
    match node.text().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) | None => Err(Error::Missing { element }),
    }
}

fn memory_mib(domain: Node<'_, '_>) -> Result<u64, Error> {
    let text = text_of(domain, "memory")?;
    let unit = domain
        .children()
        .find(|child| child.has_tag_name("memory"))
        .and_then(|node| node.attribute("unit"))
        .unwrap_or("KiB");
    let unit_bytes = match unit {
        "b" | "bytes" => Some(1),
        "KB" => Some(1_000),
        "k" | "K" | "KiB" => Some(1 << 10),
        "MB" => Some(1_000_000),
        "m" | "M" | "MiB" => Some(1 << 20),
        "GB" => Some(1_000_000_000),
        "g" | "G" | "GiB" => Some(1 << 30),
        "TB" => Some(1_000_000_000_000),
        "t" | "T" | "TiB" => Some(1 << 40),
        _ => None,
    };
    let amount: Option<u64> = text.parse().ok().filter(|amount| *amount > 0);
    unit_bytes
        .zip(amount)
        .and_then(|(unit_bytes, amount)| amount.checked_mul(unit_bytes))
        .map(|bytes| bytes.div_ceil(1 << 20))
        .ok_or_else(|| Error::Memory { text: text.into(), unit: unit.into() })
}

/// Reads the tag; without one, Masakari's `HA_Enabled` anywhere in the metadata; without that, not opted in.
fn tag(domain: Node<'_, '_>) -> Result<Tag, TagError> {
    let off = Tag { enabled: false, priority: PRIORITY_DEFAULT };
    let Some(metadata) = domain.children().find(|child| child.has_tag_name("metadata")) else {
        return Ok(off);
    };
    if let Some(vm) = metadata.children().find(|child| child.has_tag_name((TAG_NAMESPACE, "vm"))) {
        return Ok(Tag { enabled: enabled(vm.attribute("enabled"))?, priority: priority(vm.attribute("priority"))? });
    }
    Ok(Tag { enabled: metadata.descendants().any(says_ha_enabled), ..off })
}

fn enabled(text: Option<&str>) -> Result<bool, TagError> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(text) => Err(TagError::Enabled { text: text.into() }),
    }
}

fn priority(text: Option<&str>) -> Result<u16, TagError> {
    let Some(text) = text else { return Ok(PRIORITY_DEFAULT) };
    match text.parse() {
        Ok(priority) if priority <= PRIORITY_MAX => Ok(priority),
        Ok(_) | Err(_) => Err(TagError::Priority { text: text.into() }),
    }
}

/// Accepts `<any HA_Enabled="True"/>`, `<HA_Enabled>True</HA_Enabled>` and `<any name="HA_Enabled">True</any>`.
fn says_ha_enabled(node: Node<'_, '_>) -> bool {
    let as_attribute = node.attributes().find(|attribute| attribute.name() == "HA_Enabled").map(|found| found.value());
    let named = node.tag_name().name() == "HA_Enabled" || node.attribute("name") == Some("HA_Enabled");
    let as_text = if named { node.text() } else { None };
    as_attribute.or(as_text).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests;
