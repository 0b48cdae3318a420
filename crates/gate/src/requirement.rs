//! Tag requirements in the grammar of Kubernetes label selectors.
//!
//! `country in (DE, FR), pool, tier!=spot, !lab, rack>12`: every term must hold. A term with `!=`
//! or `notin` holds where the tag is absent, exactly as a label selector does. The decision asks
//! for a verified asset tag before it looks at any term, so a host without one never profits.
//!
//! Whatever Kubernetes reads is read here, with the same meaning. The other way round there is one
//! gap: Kubernetes refuses a set that ends in an even number of commas, `(a,,)`, which is read here
//! as what `(a,)` is.
//!
//! # Source
//! Kubernetes, "Labels and Selectors", and `labels.Parse` of k8s.io/apimachinery.

mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use parse::Malformed;

/// Longest requirement that is read, in bytes.
pub const REQUIREMENT_LIMIT_BYTES: usize = 4096;

/// Terms that must all hold; without a term it asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirement {
    terms: Vec<Term>,
}

/// One term: what it asks of one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    /// `=`, `==` and `in`.
    In(BTreeSet<String>),
    /// `!=` and `notin`.
    NotIn(BTreeSet<String>),
    Greater(i64),
    Less(i64),
}

// === impl Requirement ===

impl Requirement {
    /// Reads a requirement; empty text asks nothing.
    ///
    /// # Errors
    /// Names the column, what the grammar wants there and what stands there instead.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse::terms(text).map(|terms| Self { terms })
    }

    /// Whether every term holds for `tags`.
    pub fn matches(&self, tags: &BTreeMap<String, String>) -> bool {
        self.unmet(tags).next().is_none()
    }

    /// The terms that do not hold for `tags`.
    pub fn unmet<'a>(
        &'a self,
        tags: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Term> {
        self.terms
            .iter()
            .filter(|term| !term.holds(tags.get(&term.key).map(String::as_str)))
    }

    /// Whether nothing is asked.
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl fmt::Display for Requirement {
    /// A form that reads back as the same requirement.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, term) in self.terms.iter().enumerate() {
            if position > 0 {
                formatter.write_str(",")?;
            }
            term.fmt(formatter)?;
        }
        Ok(())
    }
}

// === impl Term ===

impl Term {
    /// The name of the tag that is looked at.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|text| text.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(set) => value.is_some_and(|value| set.contains(value)),
            Test::NotIn(set) => value.is_none_or(|value| !set.contains(value)),
            Test::Greater(bound) => number().is_some_and(|number| number > *bound),
            Test::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let (set, one, many) = match &self.test {
            Test::Exists => return write!(formatter, "{key}"),
            Test::Absent => return write!(formatter, "!{key}"),
            Test::Greater(bound) => return write!(formatter, "{key}>{bound}"),
            Test::Less(bound) => return write!(formatter, "{key}<{bound}"),
            Test::In(set) => (set, "=", "in"),
            Test::NotIn(set) => (set, "!=", "notin"),
        };
        let mut values = set.iter();
        if let (Some(value), None) = (values.next(), values.next()) {
            return write!(formatter, "{key}{one}{value}");
        }
        write!(formatter, "{key} {many} (")?;
        for (position, value) in set.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(formatter, "{comma}{value}")?;
        }
        formatter.write_str(")")
    }
}

#[cfg(test)]
mod tests;
