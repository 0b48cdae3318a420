//! One pass over the bytes before anything is built: nesting, and numbers that would change.
//!
//! A tree holds a number as `u64`, `i64` or `f64`. Written out again it may differ from what
//! stood in the input, and then the runtime acts on another value than the one that was checked.
//! Malformed input is not this module's business; the parser refuses it afterwards.
#![warn(clippy::arithmetic_side_effects)]

use std::fmt::Write as _;

/// What the scan refuses, with the offset in bytes where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Depth { offset: usize },
    Number { offset: usize, length: usize },
}

/// Refuses nesting beyond `max_depth` and numbers that do not survive reading and writing.
pub(crate) fn scan(input: &[u8], max_depth: usize) -> Result<(), Fault> {
    let mut depth = 0_usize;
    let mut offset = 0_usize;
    while let Some(byte) = input.get(offset) {
        let length = match byte {
            b'"' => string_length(input.get(offset..).unwrap_or_default()),
            b'-' | b'0'..=b'9' => {
                let token = number_token(input.get(offset..).unwrap_or_default());
                if !survives(token) {
                    return Err(Fault::Number {
                        offset,
                        length: token.len(),
                    });
                }
                token.len()
            }
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > max_depth {
                    return Err(Fault::Depth { offset });
                }
                1
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            _ => 1,
        };
        offset = offset.saturating_add(length);
    }
    Ok(())
}

/// Length of the string that `input` starts with, quotes included.
fn string_length(input: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in input.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index.saturating_add(1),
            _ => {}
        }
    }
    input.len()
}

fn number_token(input: &[u8]) -> &[u8] {
    let length = input
        .iter()
        .take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        .count();
    input.get(..length).unwrap_or_default()
}

/// Whether the number reads back as the same value, in the same class (whole or not).
fn survives(token: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(token) else {
        return false;
    };
    if !text.contains(['.', 'e', 'E']) {
        // "-0" is whole in Go and the float -0.0 here.
        return text != "-0" && (text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok());
    }
    let Ok(value) = text.parse::<f64>() else {
        return true; // not a number at all: the parser names what is wrong
    };
    if !value.is_finite() {
        return false;
    }
    let mut written = String::with_capacity(32);
    // Display prints the shortest digits that read back as the same value.
    write!(written, "{value:e}").is_ok() && decimal(text) == decimal(&written)
}

/// A decimal number as sign, digits without outer zeros, and the exponent of the last digit.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text
        .strip_prefix('-')
        .map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = String::with_capacity(mantissa.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    let mut exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    while digits.ends_with('0') {
        digits.pop();
        exponent = exponent.checked_add(1)?;
    }
    let digits = digits.trim_start_matches('0').to_owned();
    if digits.is_empty() {
        exponent = 0;
    }
    Some((negative, digits, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn kept(number: &str) {
        assert!(survives(number.as_bytes()), "{number} must survive");
    }

    #[track_caller]
    fn changed(number: &str) {
        assert!(!survives(number.as_bytes()), "{number} must be refused");
    }

    #[test]
    fn whole_numbers_survive_up_to_64_bits() {
        for number in ["0", "-1", "18446744073709551615", "-9223372036854775808"] {
            kept(number);
        }
        for number in [
            "18446744073709551616",
            "-9223372036854775809",
            "20000000000000000000",
        ] {
            changed(number);
        }
    }

    #[test]
    fn minus_zero_is_refused_as_a_whole_number_and_kept_as_a_fraction() {
        changed("-0");
        kept("-0.0");
    }

    #[test]
    fn fractions_survive_if_the_shortest_form_is_the_same_value() {
        for number in [
            "1.0", "0.1", "1e2", "1E+2", "100.50", "1e23", "5e-324", "0.0", "0e0",
        ] {
            kept(number);
        }
        for number in [
            "1e400",
            "1e-400",
            "1.0000000000000000001",
            "9007199254740993.0",
            "0.1e-9999999999",
        ] {
            changed(number);
        }
    }

    #[test]
    fn an_exponent_beyond_64_bits_is_refused() {
        changed("1e99999999999999999999");
        changed("0e99999999999999999999");
    }

    #[test]
    fn brackets_and_numbers_inside_strings_do_not_count() {
        assert_eq!(scan(br#"["\"[[[ -0 1e400", "\\"]"#, 1), Ok(()));
    }

    #[test]
    fn depth_is_refused_just_beyond_the_limit() {
        assert_eq!(scan(b"[[1]]", 2), Ok(()));
        assert_eq!(scan(b"[[[1]]]", 2), Err(Fault::Depth { offset: 2 }));
        assert_eq!(scan(b"[[],[],[]]", 2), Ok(()));
    }
}
