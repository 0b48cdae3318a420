//! A finding: one thing an appraisal has against the evidence.

use serde_json::{Value, json};

/// One thing that is not as it has to be. A relying party turns it into a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable, kebab-case, one of [`CODES`].
    pub code: &'static str,
    /// What it is about, a noun phrase; outside text is escaped.
    pub subject: String,
    /// What it had to be.
    pub expected: String,
    /// What it is, in the same form.
    pub found: String,
}

/// Every code an appraisal may use, in alphabetic order.
pub const CODES: [&str; 34] = [
    "ak-unknown",
    "asset-tag-expired",
    "asset-tag-malformed",
    "asset-tag-mismatch",
    "asset-tag-missing",
    "asset-tag-replayed",
    "asset-tag-signature-invalid",
    "asset-tag-tampered",
    "event-log-malformed",
    "event-log-mismatch",
    "event-log-missing",
    "event-missing",
    "event-unexpected",
    "evidence-malformed",
    "host-quarantined",
    "ima-file-unknown",
    "ima-list-malformed",
    "ima-list-mismatch",
    "ima-list-missing",
    "ima-violation",
    "nonce-mismatch",
    "pcr-bank-missing",
    "pcr-mismatch",
    "pcr-uncovered",
    "quote-selection-short",
    "quote-signature-invalid",
    "reference-values-expired",
    "reference-values-malformed",
    "reference-values-missing",
    "reference-values-signature-invalid",
    "secure-boot-key-unknown",
    "secure-boot-off",
    "verdict-latched",
    "verdict-withheld",
];

// === impl Finding ===

impl Finding {
    pub(crate) fn new(
        code: &'static str,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            code,
            subject: subject.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The finding as a JSON object with the four fields.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "code": self.code,
            "subject": self.subject,
            "expected": self.expected,
            "found": self.found,
        })
    }
}
