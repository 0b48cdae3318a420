//! The newest policy bundle that was in force on this host: the memory by which an older one is
//! put back in vain.

use crate::{Code, Refusal};

/// First word of a memory in text, and its version.
const MAGIC: &str = "portcullis-policy 1";

/// A policy bundle, as far as its order is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestPolicy {
    /// Its sequence number.
    pub sequence: u64,
    /// SHA-256 of its claims, in lower-case hex.
    pub sha256: String,
}

// === impl NewestPolicy ===

impl NewestPolicy {
    /// Reads what [`NewestPolicy::to_text`] wrote; `None` if it is not such a text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.strip_suffix('\n')?.strip_prefix(MAGIC)?;
        let (sequence, sha256) = line.strip_prefix(' ')?.split_once(' ')?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        // Digits only: `parse` alone would take a sign.
        let plain = sequence.bytes().all(|byte| byte.is_ascii_digit())
            && sha256.len() == 64
            && sha256.bytes().all(is_hex);
        plain.then_some(())?;
        Some(Self {
            sequence: sequence.parse().ok()?,
            sha256: sha256.to_owned(),
        })
    }

    /// One line.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{MAGIC} {} {}\n", self.sequence, self.sha256)
    }

    /// Whether `offered` is newer than this one and has to be remembered instead.
    ///
    /// # Errors
    ///
    /// The refusal `policy-rolled-back`: it is older, or another one of the same number.
    pub fn is_succeeded_by(&self, offered: &Self) -> Result<bool, Refusal> {
        if offered.sequence > self.sequence {
            return Ok(true);
        }
        if offered == self {
            return Ok(false);
        }
        let digits = |policy: &Self| policy.sha256.get(..12).unwrap_or_default().to_owned();
        Err(Refusal::new(
            Code::PolicyRolledBack,
            "policy bundle",
            format!(
                "number {} ({}), or a newer one",
                self.sequence,
                digits(self)
            ),
            format!("number {} ({})", offered.sequence, digits(offered)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::NewestPolicy;
    use crate::Code;

    fn policy(sequence: u64, digit: char) -> NewestPolicy {
        NewestPolicy {
            sequence,
            sha256: digit.to_string().repeat(64),
        }
    }

    #[test]
    fn only_a_newer_one_or_the_very_same_follows() {
        let known = policy(7, 'a');
        assert_eq!(known.is_succeeded_by(&policy(8, 'b')), Ok(true));
        assert_eq!(known.is_succeeded_by(&known), Ok(false));
        for other in [policy(6, 'a'), policy(7, 'b'), policy(0, 'a')] {
            let refusal = known.is_succeeded_by(&other).expect_err("rolled back");
            assert_eq!(refusal.code, Code::PolicyRolledBack);
            assert!(refusal.to_string().contains("number 7"), "{refusal}");
        }
    }

    #[test]
    fn a_text_that_was_cut_or_changed_is_not_read() {
        let text = policy(7, 'a').to_text();
        assert_eq!(NewestPolicy::parse(&text), Some(policy(7, 'a')));
        for end in 0..text.len() {
            let cut = text.get(..end).expect("ASCII");
            assert_eq!(NewestPolicy::parse(cut), None, "{cut:?}");
        }
        for (from, to) in [
            (" 7", " +7"),
            (" 7", " 18446744073709551616"),
            (" 7", "  7"),
            ("policy 1", "policy 2"),
            ("aaa", "aaA"),
            ("\n", "\n\n"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_eq!(NewestPolicy::parse(&changed), None, "{changed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            if let Some(policy) = NewestPolicy::parse(&text) {
                prop_assert_eq!(policy.to_text(), text);
            }
        }
    }
}
