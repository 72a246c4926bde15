//! Which machine a device belongs to. The wrong host is the worst fault of a fencer.

use quorumfence_machine::SystemUuid;

/// Returns whether a device's answer names the machine that is meant.
///
/// `expected` is what the host's firmware prints (`/sys/class/dmi/id/product_uuid`), in RFC 4122 order. BMCs disagree
/// about the order in which Get System GUID sends the same sixteen bytes, so three are accepted:
///
/// ```text
/// 33221100-5544-7766-8899-aabbccddeeff    the machine
/// 33 22 11 00 55 44 77 66 88 99 aa .. ff  RFC 4122: as printed
/// 00 11 22 33 44 55 66 77 88 99 aa .. ff  SMBIOS: the first three fields have their low byte first
/// ff ee dd cc bb aa 99 88 66 77 44 .. 33  IPMI 2.0, table 20-10: low byte first throughout
/// ```
///
/// Two machines whose UUIDs are each other's rearrangement would be taken for one; vendors draw them at random.
pub fn same_machine(reported: SystemUuid, expected: SystemUuid) -> bool {
    [expected.0, smbios_order(expected.0), ipmi_order(expected.0)].contains(&reported.0)
}

/// Returns an identity only if it is one: firmware that was never given a UUID reports all zeros or all ones.
pub fn known(reported: SystemUuid) -> Option<SystemUuid> {
    let unset = reported.0.iter().all(|byte| *byte == 0x00) || reported.0.iter().all(|byte| *byte == 0xff);
    (!unset).then_some(reported)
}

fn smbios_order(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

fn ipmi_order(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes.reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use quorumfence_machine::SystemUuid;

    use super::{known, same_machine};

    fn uuid(text: &str) -> SystemUuid {
        text.parse().expect("a UUID")
    }

    #[test]
    fn a_machine_is_known_in_each_order_that_bmcs_send() {
        let machine = uuid("33221100-5544-7766-8899-aabbccddeeff");
        for sent in
            ["33221100554477668899aabbccddeeff", "00112233445566778899aabbccddeeff", "ffeeddccbbaa99886677445500112233"]
        {
            assert!(same_machine(uuid(sent), machine), "{sent}");
        }
    }

    #[test]
    fn one_other_byte_is_another_machine() {
        let machine = uuid("33221100-5544-7766-8899-aabbccddeeff");
        for position in 0..16 {
            let mut other = machine;
            other.0[position] ^= 0x01;
            assert!(!same_machine(other, machine), "byte {position}");
        }
    }

    #[test]
    fn firmware_without_a_uuid_has_no_identity() {
        assert_eq!(known(SystemUuid([0x00; 16])), None);
        assert_eq!(known(SystemUuid([0xff; 16])), None);
        assert_eq!(known(SystemUuid([0x01; 16])), Some(SystemUuid([0x01; 16])));
    }
}
