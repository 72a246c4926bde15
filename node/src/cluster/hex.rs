//! Bytes as lower-case hexadecimal digits, the one form that hashes and keys have in files and tokens.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Returns two digits for each byte.
pub(super) fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Returns the bytes, or nothing unless there are exactly `2 * N` lower-case digits.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| DIGITS.iter().zip(0_u8..).find_map(|(known, value)| (*known == digit).then_some(value));
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn bytes_survive_the_round_trip() {
        let bytes: [u8; 4] = [0, 0x0f, 0xa5, 0xff];
        assert_eq!(encode(&bytes), "000fa5ff");
        assert_eq!(decode("000fa5ff"), Some(bytes));
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        for text in ["", "000fa5f", "000fa5ff0", "000FA5FF", "000fa5fg", "+00fa5ff", "00é5ff"] {
            assert_eq!(decode::<4>(text), None, "{text}");
        }
    }
}
