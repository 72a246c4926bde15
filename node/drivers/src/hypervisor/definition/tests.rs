use proptest::prelude::*;

use super::*;

const UUID: &str = "6b8b4567-327b-43c6-8643-3c9869b39f2d";

fn domain(memory: &str, metadata: &str) -> String {
    format!("<domain type='kvm'><name>vm1</name><uuid>{UUID}</uuid>{memory}{metadata}</domain>")
}

fn check_tag(metadata: &str, expect: Result<Tag, TagError>) {
    let xml = domain("<memory>65536</memory>", metadata);
    let definition = Definition { instance: UUID.parse().unwrap(), name: "vm1".into(), memory_mib: 64, tag: expect };
    assert_eq!(parse(&xml), Ok(definition), "{metadata}");
}

fn check_memory(memory: &str, expect: Result<u64, Error>) {
    assert_eq!(parse(&domain(memory, "")).map(|definition| definition.memory_mib), expect, "{memory}");
}

#[test]
fn the_tag_opts_in_and_orders() {
    let vm = |attributes: &str| format!("<metadata><qf:vm xmlns:qf='{TAG_NAMESPACE}' {attributes}/></metadata>");
    let on = |priority| Ok(Tag { enabled: true, priority });
    let off = Tag { enabled: false, priority: 500 };
    check_tag("", Ok(off));
    check_tag("<metadata/>", Ok(off));
    check_tag(&vm(""), Ok(off));
    check_tag(&vm("enabled='true'"), on(500));
    check_tag(&vm("enabled='true' priority='900'"), on(900));
    check_tag(&vm("enabled='true' priority='0'"), on(0));
    check_tag(&vm("enabled='true' priority='1000'"), on(1000));
    check_tag(&vm("enabled='false' priority='7'"), Ok(Tag { enabled: false, priority: 7 }));
    check_tag(&vm("enabled='True'"), Err(TagError::Enabled { text: "True".into() }));
    check_tag(&vm("enabled='true' priority='1001'"), Err(TagError::Priority { text: "1001".into() }));
    check_tag(&vm("enabled='true' priority='-1'"), Err(TagError::Priority { text: "-1".into() }));
    check_tag("<metadata><vm enabled='true' xmlns='https://elsewhere.example/'/></metadata>", Ok(off));
}

#[test]
fn masakari_style_metadata_opts_in() {
    let on = Ok(Tag { enabled: true, priority: 500 });
    check_tag("<metadata><i xmlns='urn:x' HA_Enabled='True'/></metadata>", on.clone());
    check_tag("<metadata><x:HA_Enabled xmlns:x='urn:x'>true</x:HA_Enabled></metadata>", on.clone());
    check_tag("<metadata><i xmlns='urn:x'><meta name='HA_Enabled'>True</meta></i></metadata>", on);
    check_tag("<metadata><i xmlns='urn:x' HA_Enabled='False'/></metadata>", Ok(Tag { enabled: false, priority: 500 }));
}

#[test]
fn our_tag_wins_over_masakari_style_metadata() {
    check_tag(
        &format!(
            "<metadata><i xmlns='urn:x' HA_Enabled='True'/><vm xmlns='{TAG_NAMESPACE}' enabled='false'/></metadata>"
        ),
        Ok(Tag { enabled: false, priority: 500 }),
    );
}

#[test]
fn memory_is_rounded_up_to_whole_mib() {
    check_memory("<memory>65536</memory>", Ok(64));
    check_memory("<memory unit='KiB'>65537</memory>", Ok(65));
    check_memory("<memory unit='bytes'>1</memory>", Ok(1));
    check_memory("<memory unit='MB'>1</memory>", Ok(1));
    check_memory("<memory unit='GiB'>2</memory>", Ok(2048));
    let refused = |text: &str, unit: &str| Err(Error::Memory { text: text.into(), unit: unit.into() });
    check_memory("<memory unit='parsec'>2</memory>", refused("2", "parsec"));
    check_memory("<memory unit='TiB'>18446744073709551615</memory>", refused("18446744073709551615", "TiB"));
    check_memory("<memory>0</memory>", refused("0", "KiB"));
    check_memory("<memory>-4</memory>", refused("-4", "KiB"));
    check_memory("", Err(Error::Missing { element: "memory" }));
}

#[test]
fn what_is_no_domain_is_refused() {
    assert_eq!(parse("<network/>"), Err(Error::NotADomain { root: "network".into() }));
    assert_eq!(parse("<domain><name>a</name></domain>"), Err(Error::Missing { element: "uuid" }));
    assert_eq!(parse("<domain><uuid>x</uuid></domain>"), Err(Error::Uuid { text: "x".into() }));
    assert_eq!(
        parse(&format!("<domain><uuid>{UUID}</uuid><name> </name></domain>")),
        Err(Error::Missing { element: "name" })
    );
    assert!(matches!(parse("not xml"), Err(Error::Xml(_))));
    assert!(matches!(parse("<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>"), Err(Error::Xml(_))));
    assert_eq!(parse(&" ".repeat(DEFINITION_BYTES_MAX + 1)), Err(Error::TooLong { bytes: DEFINITION_BYTES_MAX + 1 }));
}

#[test]
fn endless_nesting_is_an_error() {
    assert!(matches!(parse(&"<domain>".repeat(DEFINITION_BYTES_MAX / "<domain>".len())), Err(Error::Xml(_))));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[<>/='\"!a-zA-Z0-9 &;-]{0,200}") {
        prop_assert!(parse(&text).is_err());
    }
}
