//! What becomes of a workload that is against a rule.

use crate::{Kind, Refusal, Refusals, Rule};

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

    /// The mode of this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }

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

    /// Sets the mode of `rule`. One that [`Rule::may_be_loosened`] denies stays enforced.
    pub fn set(&mut self, rule: Rule, mode: RuleMode) {
        self.0.retain(|(known, _)| *known != rule);
        if mode != RuleMode::Enforce && rule.may_be_loosened() {
            self.0.push((rule, mode));
        }
    }

    /// Sets the mode of `rule` unless it is stricter: what a policy beside this one may do.
    pub fn tighten(&mut self, rule: Rule, mode: RuleMode) {
        self.set(rule, self.of(rule).max(mode));
    }

    /// Sets the mode of `rule` unless it is looser: what an exception may do.
    pub fn loosen(&mut self, rule: Rule, mode: RuleMode) {
        self.set(rule, self.of(rule).min(mode));
    }

    /// Applies the modes to what was found outside of hardening: the reasons that stand, and those
    /// of rules in audit, which stop nothing. What a rule that is off is about is dropped. A fault
    /// stands in any mode, and so does what is no rule's.
    #[must_use]
    pub fn sorted(&self, found: Vec<Refusal>) -> (Option<Refusals>, Vec<Refusal>) {
        let (mut standing, mut audited) = (Vec::new(), Vec::new());
        for refusal in found {
            let rule = refusal.rule.filter(|_| refusal.kind() != Kind::Fault);
            match rule.map_or(RuleMode::Enforce, |rule| self.of(rule)) {
                RuleMode::Enforce => standing.push(refusal),
                RuleMode::Audit => audited.push(refusal),
                RuleMode::Off => {}
            }
        }
        (Refusals::from_vec(standing), audited)
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
    use crate::{Code, Refusal, Rule};

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
    #[test]
    fn of_two_policies_the_stricter_holds_and_of_an_exception_the_looser() {
        let mut modes = RuleModes::from_iter([(Rule::NonRoot, RuleMode::Audit)]);
        modes.tighten(Rule::NonRoot, RuleMode::Off);
        assert_eq!(modes.of(Rule::NonRoot), RuleMode::Audit);
        modes.tighten(Rule::Seccomp, RuleMode::Off);
        assert_eq!(modes.of(Rule::Seccomp), RuleMode::Enforce);
        modes.loosen(Rule::Seccomp, RuleMode::Audit);
        assert_eq!(modes.of(Rule::Seccomp), RuleMode::Audit);
        modes.loosen(Rule::Seccomp, RuleMode::Enforce);
        assert_eq!(modes.of(Rule::Seccomp), RuleMode::Audit);
        modes.tighten(Rule::NonRoot, RuleMode::Enforce);
        modes.tighten(Rule::Seccomp, RuleMode::Enforce);
        assert_eq!(modes, RuleModes::enforced());
    }

    #[test]
    fn what_the_gate_rests_on_stays_enforced_whoever_asks() {
        let mut modes = RuleModes::from_iter([(Rule::RootFilesystem, RuleMode::Off)]);
        modes.loosen(Rule::RootFilesystem, RuleMode::Audit);
        assert_eq!(modes, RuleModes::enforced());
    }

    #[test]
    fn findings_are_sorted_by_the_modes_of_their_rules() {
        let modes = RuleModes::from_iter([
            (Rule::ImageDigest, RuleMode::Audit),
            (Rule::Sensitivity, RuleMode::Off),
        ]);
        let found = |code, rule| Refusal::new(code, "s", "e", "f").under(rule);
        let audited = found(Code::MountDenied, Some(Rule::ImageDigest));
        let standing = [
            found(Code::MountDenied, Some(Rule::ImageRegistry)),
            found(Code::MountDenied, None),
            found(Code::ConfigMalformed, Some(Rule::Sensitivity)),
        ];
        let mut all = standing.to_vec();
        all.push(audited.clone());
        all.push(found(Code::MountDenied, Some(Rule::Sensitivity)));
        let (stands, noted) = modes.sorted(all);
        let stands: Vec<Refusal> = stands.into_iter().flatten().collect();
        assert_eq!(stands, standing);
        assert_eq!(noted, [audited]);
        assert_eq!(modes.sorted(Vec::new()), (None, Vec::new()));
    }
}
