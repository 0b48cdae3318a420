//! Quantities of Kubernetes: `500m`, `1.5`, `128Mi`, `1e3`.

/// A quantity in thousandths, rounded up, as the kubelet rounds it; `None` if it is none, if it is
/// negative, or if it does not fit.
///
/// # Source
///
/// Kubernetes API, "Quantity".
pub(super) fn thousandths(text: &str) -> Option<u128> {
    let digits_end = text
        .find(|one: char| !(one.is_ascii_digit() || one == '.'))
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') || part.len() > 20 {
        return None;
    }
    let mantissa: u128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let (up, down) = factor(suffix)?;
    let above = mantissa.checked_mul(up)?;
    Some(above.div_ceil(scale.checked_mul(down)?))
}

/// What one unit of `suffix` is, in thousandths, as a fraction.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    const UNIT: u128 = 1000;
    let decimal = |exponent: u32| Some((10_u128.checked_pow(exponent)?.checked_mul(UNIT)?, 1));
    let binary = |exponent: u32| Some(((1_u128.checked_shl(exponent)?).checked_mul(UNIT)?, 1));
    match suffix {
        "n" => Some((1, 1_000_000)),
        "u" => Some((1, 1000)),
        "m" => Some((1, 1)),
        "" => Some((UNIT, 1)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            match exponent.strip_prefix('-') {
                Some(down) => Some((UNIT, 10_u128.checked_pow(down.parse().ok()?)?)),
                None => decimal(
                    exponent
                        .strip_prefix('+')
                        .unwrap_or(exponent)
                        .parse()
                        .ok()?,
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::thousandths;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, expected) in [
            ("1", 1000),
            ("0", 0),
            ("500m", 500),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("128Mi", 128 * 1024 * 1024 * 1000),
            ("1.5Gi", 1536 * 1024 * 1024 * 1000),
            ("1k", 1_000_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1e-3", 1),
            ("1u", 1),
            ("1n", 1),
            ("2E", 2_000_000_000_000_000_000_000),
        ] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        for text in [
            "", ".", "-1", "Mi", "1 Mi", "1mi", "1.2.3", "1e", "1e99", "x", "1e-99",
        ] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }
}
