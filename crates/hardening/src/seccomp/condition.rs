//! Conditions on the arguments of a system call, and what follows from what.
//!
//! # Source
//!
//! OCI runtime-spec, "Seccomp"; libseccomp, `seccomp_rule_add(3)` for the comparisons.

use serde_json::{Map, Value};

/// The kernel passes six arguments.
const ARGUMENTS: u64 = 6;

/// How an argument is compared, as 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// `SCMP_CMP_NE`
    NotEqual(u64),
    /// `SCMP_CMP_LT`
    Less(u64),
    /// `SCMP_CMP_LE`
    LessOrEqual(u64),
    /// `SCMP_CMP_EQ`
    Equal(u64),
    /// `SCMP_CMP_GE`
    GreaterOrEqual(u64),
    /// `SCMP_CMP_GT`
    Greater(u64),
    /// `SCMP_CMP_MASKED_EQ`: the argument under `mask` equals `value`.
    Masked {
        /// The bits that count.
        mask: u64,
        /// What they must be; no others are set.
        value: u64,
    },
}

/// One argument and its comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Which argument, from 0; at most 5.
    pub index: u64,
    /// What it is compared with.
    pub comparison: Comparison,
}

/// Conditions that must all hold; each argument at most once. None at all always holds.
pub type Conjunction = Vec<Condition>;

/// The `args` of an entry as alternatives; `None` if one cannot be read.
///
/// If an argument stands twice, runc, crun and youki make every condition a rule of its own:
/// the entry then means "or" (opencontainers/runc#2735).
pub fn alternatives(args: &[Value]) -> Option<Vec<Conjunction>> {
    let mut conditions = args
        .iter()
        .map(Condition::from_oci)
        .collect::<Option<Conjunction>>()?;
    conditions.sort_unstable();
    let repeated = conditions.windows(2).any(|pair| match pair {
        [left, right] => left.index == right.index,
        _ => false,
    });
    if repeated {
        return Some(conditions.into_iter().map(|it| vec![it]).collect());
    }
    Some(vec![conditions])
}

/// True if whatever satisfies `narrow` satisfies `wide`. May be false where it could be true.
pub(super) fn implies(narrow: &[Condition], wide: &[Condition]) -> bool {
    wide.iter()
        .all(|weak| narrow.iter().any(|strong| strong.implies(weak)))
}

/// True if nothing satisfies both. May be false where it could be true.
pub(super) fn excludes(one: &[Condition], other: &[Condition]) -> bool {
    one.iter()
        .any(|left| other.iter().any(|right| left.excludes(right)))
}

/// A conjunction that holds exactly if both hold; `None` if OCI rules cannot express it, because
/// an argument may stand only once in an entry.
pub(super) fn both(one: &[Condition], other: &[Condition]) -> Option<Conjunction> {
    if implies(one, other) {
        return Some(one.to_vec());
    }
    if implies(other, one) {
        return Some(other.to_vec());
    }
    if one
        .iter()
        .any(|left| other.iter().any(|right| left.index == right.index))
    {
        return None;
    }
    let mut all = [one, other].concat();
    all.sort_unstable();
    Some(all)
}

// === impl Comparison ===

impl Comparison {
    /// True if `argument` satisfies it.
    pub const fn holds(self, argument: u64) -> bool {
        match self {
            Self::NotEqual(value) => argument != value,
            Self::Less(value) => argument < value,
            Self::LessOrEqual(value) => argument <= value,
            Self::Equal(value) => argument == value,
            Self::GreaterOrEqual(value) => argument >= value,
            Self::Greater(value) => argument > value,
            Self::Masked { mask, value } => argument & mask == value,
        }
    }

    const fn implies(self, weak: Self) -> bool {
        match (self, weak) {
            (Self::Equal(value), _) => weak.holds(value),
            (Self::Masked { mask, value }, Self::NotEqual(other)) => other & mask != value,
            (
                Self::Masked { mask, value },
                Self::Masked {
                    mask: weak_mask,
                    value: weak_value,
                },
            ) => weak_mask & !mask == 0 && value & weak_mask == weak_value,
            (Self::Less(value), Self::Less(other))
            | (Self::LessOrEqual(value), Self::LessOrEqual(other)) => value <= other,
            (Self::Greater(value), Self::Greater(other))
            | (Self::GreaterOrEqual(value), Self::GreaterOrEqual(other)) => value >= other,
            (Self::NotEqual(value), Self::NotEqual(other)) => value == other,
            _ => false,
        }
    }

    const fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Equal(value), it) | (it, Self::Equal(value)) => !it.holds(value),
            (
                Self::Masked { mask, value },
                Self::Masked {
                    mask: other_mask,
                    value: other_value,
                },
            ) => {
                let common = mask & other_mask;
                value & common != other_value & common
            }
            _ => false,
        }
    }
}

// === impl Condition ===

impl Condition {
    fn implies(&self, weak: &Self) -> bool {
        self.index == weak.index && self.comparison.implies(weak.comparison)
    }

    fn excludes(&self, other: &Self) -> bool {
        self.index == other.index && self.comparison.excludes(other.comparison)
    }

    /// Reads an element of `args`; `None` if it is not one.
    ///
    /// Of the value of a masked comparison libseccomp takes the bits under the mask only.
    pub fn from_oci(arg: &Value) -> Option<Self> {
        let number = |key| arg.get(key).map_or(Some(0), Value::as_u64);
        let (index, value, second) = (number("index")?, number("value")?, number("valueTwo")?);
        let comparison = match arg.get("op")?.as_str()? {
            "SCMP_CMP_NE" => Comparison::NotEqual(value),
            "SCMP_CMP_LT" => Comparison::Less(value),
            "SCMP_CMP_LE" => Comparison::LessOrEqual(value),
            "SCMP_CMP_EQ" => Comparison::Equal(value),
            "SCMP_CMP_GE" => Comparison::GreaterOrEqual(value),
            "SCMP_CMP_GT" => Comparison::Greater(value),
            "SCMP_CMP_MASKED_EQ" => Comparison::Masked {
                mask: value,
                value: second & value,
            },
            _ => return None,
        };
        (index < ARGUMENTS).then_some(Self { index, comparison })
    }

    /// Writes an element of `args`.
    pub fn to_oci(self) -> Value {
        let (op, value, second) = match self.comparison {
            Comparison::NotEqual(value) => ("SCMP_CMP_NE", value, None),
            Comparison::Less(value) => ("SCMP_CMP_LT", value, None),
            Comparison::LessOrEqual(value) => ("SCMP_CMP_LE", value, None),
            Comparison::Equal(value) => ("SCMP_CMP_EQ", value, None),
            Comparison::GreaterOrEqual(value) => ("SCMP_CMP_GE", value, None),
            Comparison::Greater(value) => ("SCMP_CMP_GT", value, None),
            Comparison::Masked { mask, value } => ("SCMP_CMP_MASKED_EQ", mask, Some(value)),
        };
        let mut arg = Map::new();
        arg.insert("index".to_owned(), self.index.into());
        arg.insert("value".to_owned(), value.into());
        if let Some(second) = second {
            arg.insert("valueTwo".to_owned(), second.into());
        }
        arg.insert("op".to_owned(), op.into());
        Value::Object(arg)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn comparison() -> impl Strategy<Value = Comparison> {
        let small = 0..6_u64;
        prop_oneof![
            small.clone().prop_map(Comparison::NotEqual),
            small.clone().prop_map(Comparison::Less),
            small.clone().prop_map(Comparison::LessOrEqual),
            small.clone().prop_map(Comparison::Equal),
            small.clone().prop_map(Comparison::GreaterOrEqual),
            small.clone().prop_map(Comparison::Greater),
            (small.clone(), small).prop_map(|(mask, value)| Comparison::Masked {
                mask,
                value: value & mask
            }),
        ]
    }

    fn conjunction() -> impl Strategy<Value = Conjunction> {
        (
            proptest::option::of(comparison()),
            proptest::option::of(comparison()),
        )
            .prop_map(|(first, second)| {
                let condition = |index, comparison| Condition { index, comparison };
                let first = first.map(|it| condition(0, it));
                first
                    .into_iter()
                    .chain(second.map(|it| condition(1, it)))
                    .collect()
            })
    }

    fn holds(conditions: &[Condition], arguments: [u64; 2]) -> bool {
        conditions.iter().all(|it| {
            it.comparison
                .holds(arguments[usize::try_from(it.index).unwrap()])
        })
    }

    fn arguments() -> impl Iterator<Item = [u64; 2]> {
        (0..9).flat_map(|first| (0..9).map(move |second| [first, second]))
    }

    proptest! {
        #[test]
        fn what_is_said_to_follow_does_follow(one in conjunction(), other in conjunction()) {
            if implies(&one, &other) {
                for it in arguments().filter(|it| holds(&one, *it)) {
                    prop_assert!(holds(&other, it), "{it:?}");
                }
            }
        }

        #[test]
        fn what_is_said_to_exclude_does_exclude(one in conjunction(), other in conjunction()) {
            if excludes(&one, &other) {
                prop_assert!(!arguments().any(|it| holds(&one, it) && holds(&other, it)));
            }
        }

        #[test]
        fn both_is_exact_and_names_an_argument_once(one in conjunction(), other in conjunction()) {
            if let Some(all) = both(&one, &other) {
                for it in arguments() {
                    prop_assert_eq!(holds(&all, it), holds(&one, it) && holds(&other, it));
                }
                prop_assert!(all.iter().filter(|it| it.index == 0).count() <= 1);
            }
        }

        #[test]
        fn a_condition_survives_writing_and_reading(index in 0..6_u64, comparison in comparison()) {
            let condition = Condition { index, comparison };
            prop_assert_eq!(Condition::from_oci(&condition.to_oci()), Some(condition));
        }
    }

    #[test]
    fn bits_outside_a_mask_do_not_count() {
        let arg = serde_json::json!(
            {"index": 0, "value": 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}
        );
        let condition = Condition::from_oci(&arg).unwrap();
        assert!(condition.comparison.holds(1));
        let stop = Condition {
            index: 0,
            comparison: Comparison::Equal(1),
        };
        assert!(!excludes(&[stop], &[condition]));
    }

    #[test]
    fn a_masked_family_is_none_of_the_refused_ones() {
        let unix = Comparison::Masked {
            mask: 0xffff_ffff,
            value: 1,
        };
        assert!(unix.implies(Comparison::NotEqual(40)));
        assert!(unix.excludes(Comparison::Equal(16)));
        assert!(Comparison::Equal(1).implies(unix));
        assert!(!unix.implies(Comparison::Equal(1)));
    }
}
