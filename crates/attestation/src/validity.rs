//! The time for which a signed document counts: its claims `iat`, `nbf` and `exp`.

use crate::claims::{ClaimError, Claims};

/// When a document was signed, and from when until when it counts, in seconds since 1970.
///
/// # Source
///
/// RFC 7519, sections 4.1.4 to 4.1.6. Both ends are required here, and the time is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    /// `iat`.
    pub(crate) issued_at_s: u64,
    /// `nbf`: the first second of it.
    pub(crate) not_before_s: u64,
    /// `exp`: the first second after it; later than `not_before_s`.
    pub(crate) expires_s: u64,
}

// === impl Validity ===

impl Validity {
    /// Reads the three claims.
    ///
    /// # Errors
    ///
    /// [`ClaimError`] if one is missing or no number, or if the time would be empty.
    pub(crate) fn read(claims: &Claims<'_>) -> Result<Self, ClaimError> {
        let validity = Self {
            issued_at_s: claims.unsigned("iat")?,
            not_before_s: claims.unsigned("nbf")?,
            expires_s: claims.unsigned("exp")?,
        };
        if validity.expires_s <= validity.not_before_s {
            return Err(claims.malformed("exp", "a time after 'nbf'"));
        }
        Ok(validity)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(payload: &Value) -> Result<Validity, ClaimError> {
        Validity::read(&Claims::of(payload)?)
    }

    #[test]
    fn all_three_are_read_and_an_empty_time_and_a_missing_claim_are_refused() {
        let expected = Validity {
            issued_at_s: 4,
            not_before_s: 5,
            expires_s: 6,
        };
        let shortest = read(&json!({ "iat": 4, "nbf": 5, "exp": 6 }));
        assert_eq!(shortest, Ok(expected));
        for exp in [4, 5] {
            let error = read(&json!({ "iat": 4, "nbf": 5, "exp": exp })).unwrap_err();
            assert!(error.to_string().contains("'/exp'"), "{error}");
        }
        let whole = json!({ "iat": 4, "nbf": 5, "exp": 7 });
        for claim in ["iat", "nbf", "exp"] {
            let mut payload = whole.clone();
            payload.as_object_mut().unwrap().remove(claim);
            let missing = format!("/{claim}");
            assert_eq!(read(&payload), Err(ClaimError::Missing { claim: missing }));
        }
    }
}
