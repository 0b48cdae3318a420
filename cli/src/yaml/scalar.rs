//! What a scalar without quotes means.

use serde_json::{Number, Value};

/// Resolves a plain scalar by YAML 1.1, as Kubernetes does; the error says what it is that cannot
/// be accepted.
///
/// # Source
///
/// yaml.org/type: "null", "bool", "int", "float". Not followed are numbers to base 60, which
/// Kubernetes takes for text, and `y` and `n`, which it has read both ways.
pub(super) fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Ok(true.into());
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Ok(false.into());
        }
        "y" | "Y" | "n" | "N" => {
            return Err(format!("'{text}', which may be a text or not; quote it"));
        }
        _ => {}
    }
    let body = text.trim_start_matches(['+', '-']);
    if matches!(body, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Err("a number that JSON has not".to_owned());
    }
    if !body.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Ok(text.into());
    }
    if let Some(whole) = whole(text) {
        return Ok(Value::Number(whole));
    }
    if is_decimal(body) && text.len() <= body.len().saturating_add(1) {
        let number = text.parse().ok().filter(|it: &f64| it.is_finite());
        return number
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| "a number that JSON has not".to_owned());
    }
    Ok(text.into())
}

/// A whole number in base 10, 16, 8 or 2, with underscores anywhere.
fn whole(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (negative, body) = match plain.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (radix, digits) = match body.get(..2) {
        Some("0x" | "0X") => (16, body.get(2..)?),
        Some("0o" | "0O") => (8, body.get(2..)?),
        Some("0b" | "0B") => (2, body.get(2..)?),
        // A leading zero is base 8: the mode 0644.
        Some(_) if body.starts_with('0') => (8, body.get(1..)?),
        _ => (10, body),
    };
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(size).map(Number::from);
    }
    Some(Number::from(size))
}

fn is_decimal(body: &str) -> bool {
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, part)) => {
            digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty())
        }
        None => digits(mantissa) && !mantissa.is_empty(),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let body = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !body.is_empty() && digits(body)
    });
    mantissa_fits && exponent_fits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scalar_means_what_it_means_to_kubernetes() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("nobody", json!("nobody")),
            ("0", json!(0)),
            ("-1", json!(-1)),
            ("0644", json!(0o644)),
            ("0o644", json!(0o644)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("08", json!(8.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("0.5", json!(0.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("1.2.3", json!("1.2.3")),
            ("128Mi", json!("128Mi")),
            ("12:30:00", json!("12:30:00")),
            ("2026-11-22", json!("2026-11-22")),
            ("--1", json!("--1")),
            ("-", json!("-")),
            (".", json!(".")),
            ("1e", json!("1e")),
        ] {
            assert_eq!(plain(text).unwrap(), expected, "{text}");
        }
        for text in ["y", "N", ".inf", "-.INF", ".nan", "1e999"] {
            assert!(plain(text).is_err(), "{text}");
        }
    }
}
