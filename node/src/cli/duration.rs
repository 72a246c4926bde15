//! Durations as people write them.

use std::time::Duration;

/// Longest duration that means anything here.
const DAYS_MAX: u64 = 3650;

/// Units, shortest name last, so that "ms" is not read as minutes.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Returns the duration that a text such as `500ms`, `30s`, `5m`, `1h` or `2d` means.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let help = || format!("'{text}' is no duration; write a whole number and a unit, such as 500ms, 30s, 5m, 1h or 2d");
    let digits = text.trim_end_matches(|character: char| character.is_ascii_lowercase());
    let unit = &text[digits.len()..];
    let millis_per_unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis).ok_or_else(help)?;
    let count: u64 = digits.parse().map_err(|_| help())?;
    let millis = count.checked_mul(millis_per_unit).ok_or_else(help)?;
    if millis == 0 || millis > DAYS_MAX * 86_400_000 {
        return Err(format!("'{text}' is out of range; a duration is from 1ms to {DAYS_MAX}d"));
    }
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit_is_a_duration() {
        let check = |text: &str, millis: u64| assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        check("1ms", 1);
        check("30s", 30_000);
        check("5m", 300_000);
        check("1h", 3_600_000);
        check("2d", 172_800_000);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "s", "30", "3 s", "-1s", "1.5s", "0s", "1w", "99999999999999999999s", "3651d", "+", "é"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
