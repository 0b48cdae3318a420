//! What becomes of a workload that is against a rule.

use crate::Rule;

/// What becomes of a workload that is against one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleMode {
    /// The rule is not looked at.
    Off,
    /// Nothing is changed for it and nothing is refused; the record says what would have been.
    Audit,
    /// What was defaulted is changed, what was asked for is refused.
    Enforce,
}

/// The modes of all rules. A rule of which nothing is said is enforced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleModes(Vec<(Rule, RuleMode)>);

// === impl RuleMode ===

impl RuleMode {
    /// All modes, loosest first.
    pub const ALL: [Self; 3] = [Self::Off, Self::Audit, Self::Enforce];

    /// The word for it in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }
}

// === impl RuleModes ===

impl RuleModes {
    /// Every rule is enforced.
    #[must_use]
    pub const fn enforced() -> Self {
        Self(Vec::new())
    }

    /// The mode of `rule`.
    #[must_use]
    pub fn of(&self, rule: Rule) -> RuleMode {
        let mut known = self.0.iter();
        known
            .find(|(known, _)| *known == rule)
            .map_or(RuleMode::Enforce, |(_, mode)| *mode)
    }

    /// Sets the mode of `rule`.
    pub fn set(&mut self, rule: Rule, mode: RuleMode) {
        self.0.retain(|(known, _)| *known != rule);
        if mode != RuleMode::Enforce {
            self.0.push((rule, mode));
        }
    }

    /// The rules that are not enforced, with their modes.
    pub fn loosened(&self) -> impl Iterator<Item = (Rule, RuleMode)> {
        self.0.iter().copied()
    }
}

impl FromIterator<(Rule, RuleMode)> for RuleModes {
    /// Of two modes for one rule the later one holds.
    fn from_iter<I: IntoIterator<Item = (Rule, RuleMode)>>(modes: I) -> Self {
        let mut all = Self::enforced();
        for (rule, mode) in modes {
            all.set(rule, mode);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{RuleMode, RuleModes};
    use crate::Rule;

    #[test]
    fn what_is_not_mentioned_is_enforced() {
        let mut modes = RuleModes::enforced();
        assert_eq!(modes.of(Rule::NonRoot), RuleMode::Enforce);
        modes.set(Rule::NonRoot, RuleMode::Audit);
        assert_eq!(modes.of(Rule::NonRoot), RuleMode::Audit);
        modes.set(Rule::NonRoot, RuleMode::Enforce);
        assert_eq!(modes, RuleModes::enforced());
        assert!(RuleMode::Off < RuleMode::Audit && RuleMode::Audit < RuleMode::Enforce);
    }
}
