//! The kinds of findings.

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $text:literal,)*) => {
        /// A kind of finding; its text is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[$doc])* $rule,)*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// The id, for programs and for the page that explains it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$rule => $text,)*
                }
            }
        }
    };
}

rules! {
    /// A key that no runtime knows.
    UnknownKey = "unknown-key",
    /// Calls that no entry names are permitted.
    DefaultPermits = "default-permits",
    /// The list has ABIs other than the processor's own.
    ForeignAbi = "foreign-abi",
    /// The list leaves out the processor's own ABI, which libseccomp adds.
    NativeAbiMissing = "native-abi-missing",
    /// `SCMP_ACT_KILL` ends a thread, not the process.
    KillsThread = "kills-thread",
    /// An errno that the action does not take, or that libseccomp refuses, or that means success.
    ErrnoUnusable = "errno-unusable",
    /// A supervisor is asked where the runtime cannot.
    NotifyUnusable = "notify-unusable",
    /// A name that no ABI of Linux has.
    UnknownCall = "unknown-call",
    /// A name that the listed ABIs do not have.
    ForeignCall = "foreign-call",
    /// An entry without calls.
    NoCalls = "no-calls",
    /// Conditions on one argument that become alternatives.
    ConditionsBecomeOr = "conditions-become-or",
    /// More conditions than crun reads.
    ConditionsDropped = "conditions-dropped",
    /// Bits of `valueTwo` that the mask takes away.
    MaskedAway = "masked-away",
    /// A condition that always holds.
    AlwaysHolds = "always-holds",
    /// A condition that never holds.
    NeverHolds = "never-holds",
    /// An entry that does what the default does; runtimes leave it out.
    SameAsDefault = "same-as-default",
    /// A rule that changes nothing.
    DeadRule = "dead-rule",
    /// A rule with conditions that gives way to one without.
    RuleLost = "rule-lost",
    /// Two rules with different actions that hold together.
    ConflictingRules = "conflicting-rules",
    /// Rules that older libseccomp may compile to something else.
    MergedRanges = "merged-ranges",
    /// A comparison of 64 bits that can be passed by, because the kernel takes 32.
    WideCompareBypass = "wide-compare-bypass",
    /// A comparison of 64 bits of an argument of 32.
    WideCompare = "wide-compare",
    /// A call is permitted for whatever arguments a comparison does not name.
    OpenEndedCompare = "open-ended-compare",
    /// A call that hands on to others, where the filter does not see them.
    Multiplexer = "multiplexer",
    /// A newer call that is denied otherwise than with `ENOSYS`.
    FallbackBroken = "fallback-broken",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kebab_case_and_stand_once() {
        let mut ids: Vec<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
        assert!(
            ids.iter()
                .all(|id| id.chars().all(|it| it.is_ascii_lowercase() || it == '-'))
        );
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Rule::ALL.len());
    }
}
