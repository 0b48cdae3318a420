//! Reading of claims from a JSON object, with errors that name the claim.

use std::fmt;

use serde_json::{Map, Value};

/// Characters of a claim's path that an error shows.
const POINTER_LIMIT: usize = 128;

/// A claim that a token lacks or that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The claim is not there.
    #[error("cannot find claim '{claim}'")]
    Missing {
        /// JSON pointer of the claim.
        claim: String,
    },
    /// The claim is there but is something else.
    #[error("cannot read claim '{claim}': expected {expected}")]
    Malformed {
        /// JSON pointer of the claim.
        claim: String,
        /// What it has to be.
        expected: &'static str,
    },
}

/// A JSON object of claims and where it stands in its token.
#[derive(Clone, Copy)]
pub(crate) struct Claims<'a> {
    members: &'a Map<String, Value>,
    place: Place<'a>,
}

/// Path of an object: the chain of the objects around it.
#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    Below(&'a str, &'a str),
}

// === impl Claims ===

impl<'a> Claims<'a> {
    /// The claims of a whole payload.
    pub(crate) fn of(payload: &'a Value) -> Result<Self, ClaimError> {
        let members = payload.as_object().ok_or(ClaimError::Malformed {
            claim: "/".to_owned(),
            expected: "an object",
        })?;
        Ok(Self {
            members,
            place: Place::Root,
        })
    }

    /// Names an object by a path of at most two steps; deeper ones keep the last two.
    pub(crate) const fn at(
        members: &'a Map<String, Value>,
        outer: &'a str,
        inner: &'a str,
    ) -> Self {
        Self {
            members,
            place: Place::Below(outer, inner),
        }
    }

    pub(crate) const fn members(&self) -> &'a Map<String, Value> {
        self.members
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// Refuses a claim that is not in `known`: a demand that nobody checks is one that everybody
    /// meets.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ClaimError> {
        match self
            .members
            .keys()
            .find(|key| !known.contains(&key.as_str()))
        {
            Some(key) => Err(self.malformed(key, "no such claim")),
            None => Ok(()),
        }
    }

    pub(crate) fn malformed(&self, key: &str, expected: &'static str) -> ClaimError {
        ClaimError::Malformed {
            claim: self.pointer(key),
            expected,
        }
    }

    /// A claim that may be absent, through `read`. JSON `null` is not absence.
    pub(crate) fn optional<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ClaimError> {
        let Some(value) = self.members.get(key) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| self.malformed(key, expected))
    }

    /// A claim that must be there, through `read`.
    pub(crate) fn required<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, ClaimError> {
        self.optional(key, expected, read)?
            .ok_or_else(|| ClaimError::Missing {
                claim: self.pointer(key),
            })
    }

    pub(crate) fn text(&self, key: &str) -> Result<&'a str, ClaimError> {
        self.required(key, "a text", Value::as_str)
    }

    pub(crate) fn unsigned(&self, key: &str) -> Result<u64, ClaimError> {
        self.required(key, "a whole number, 0 or more", Value::as_u64)
    }

    pub(crate) fn unsigned_32(&self, key: &str) -> Result<u32, ClaimError> {
        self.required(key, "a whole number of 32 bits", |value| {
            value.as_u64()?.try_into().ok()
        })
    }

    pub(crate) fn object(&self, key: &'a str) -> Result<Self, ClaimError> {
        let members = self.required(key, "an object", Value::as_object)?;
        let outer = match self.place {
            Place::Root => "",
            Place::Below(_, inner) => inner,
        };
        Ok(Self {
            members,
            place: Place::Below(outer, key),
        })
    }

    /// Names may come from outside, so they are escaped and cut.
    fn pointer(&self, key: &str) -> String {
        format!("{}/{key}", self.place)
            .escape_debug()
            .take(POINTER_LIMIT)
            .collect()
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Root => Ok(()),
            Self::Below("", inner) => write!(formatter, "/{inner}"),
            Self::Below(outer, inner) => write!(formatter, "/{outer}/{inner}"),
        }
    }
}
