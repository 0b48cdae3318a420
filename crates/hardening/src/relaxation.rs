//! Named exceptions from a profile that node policy grants to one container.

use std::collections::BTreeSet;

/// The names of the relaxations that apply to one container.
///
/// Names come from node policy, never from the workload. A relaxation does not grant anything:
/// it lets something stay that was asked for, or leaves a restriction out. What a name means
/// stands in the profile; a name that the profile does not know has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relaxations(BTreeSet<String>);

impl Relaxations {
    /// No exceptions.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// True if the relaxation called `name` applies.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<S> for Relaxations {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}
