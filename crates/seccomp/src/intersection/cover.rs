//! Rules of OCI that make a given function.
//!
//! An entry may compare each argument once, so a set of values of one argument is written as the
//! union of comparisons. Where those of the sections themselves suffice they are taken; otherwise
//! every path of the diagram is one masked comparison, which is always exact and may be long.
//!
//! libseccomp before 2.6.1 may compile several rules for one call to another function if they
//! have ranges (GHSA-4q85-33p6-j5g6), so ranges and "not equal" are written only where one rule
//! is all there is.

use portcullis_hardening::{Comparison, Condition, Conjunction};

use crate::diagram::{Complex, Diagrams, Function, Node, bit_at};

/// Most rules that one call may take: a filter may have 4096 instructions in all.
pub(super) const RULES_LIMIT: usize = 128;

/// Rules, each with the value where it holds.
pub(super) type Rules = Vec<(Conjunction, u32)>;

/// How a function is to be written.
#[derive(Debug)]
pub(super) struct Cover<'a> {
    /// Comparisons to try.
    pool: &'a [Condition],
    /// The value that needs no rule.
    default: u32,
}

// === impl Cover ===

impl<'a> Cover<'a> {
    pub(super) const fn new(pool: &'a [Condition], default: u32) -> Self {
        Self { pool, default }
    }

    /// The rules; `None` if they would be too many.
    pub(super) fn rules(
        &self,
        diagrams: &mut Diagrams,
        function: Function,
    ) -> Result<Option<Rules>, Complex> {
        match self.written_with(diagrams, function, |_| true)? {
            Some(rules) if rules.len() == 1 => Ok(Some(rules)),
            _ => self.written_with(diagrams, function, is_one_value),
        }
    }

    /// The rules, with those comparisons of the pool that `usable` accepts. Rules with different values never hold
    /// together, so that it does not matter in which order libseccomp asks.
    fn written_with(
        &self,
        diagrams: &mut Diagrams,
        function: Function,
        usable: fn(Comparison) -> bool,
    ) -> Result<Option<Rules>, Complex> {
        let argument = match diagrams.node(function) {
            Node::End(value) if value == self.default => return Ok(Some(Vec::new())),
            Node::End(value) => return Ok(Some(vec![(Vec::new(), value)])),
            Node::Bit { bit, .. } => bit_at(bit).0,
        };
        let mut rules: Rules = Vec::new();
        for beyond in diagrams.beyond(function, argument) {
            let Some(rest) = self.written_with(diagrams, beyond, usable)? else {
                return Ok(None);
            };
            if rest.is_empty() {
                continue;
            }
            let leading = diagrams.leading(function, argument, beyond)?;
            let alternatives = match self.pooled(diagrams, argument, leading, usable)? {
                Some(alternatives) => alternatives,
                None => match paths(diagrams, leading) {
                    Some(paths) => paths,
                    None => return Ok(None),
                },
            };
            for comparison in alternatives {
                let condition = Condition {
                    index: u64::try_from(argument).unwrap_or_default(),
                    comparison,
                };
                for (conditions, value) in &rest {
                    let mut all = vec![condition];
                    all.extend(conditions.iter().copied());
                    rules.push((all, *value));
                }
            }
            if rules.len() > RULES_LIMIT {
                return Ok(None);
            }
        }
        Ok(Some(rules))
    }

    /// Comparisons of the pool whose union is `set`; `None` if there are none.
    fn pooled(
        &self,
        diagrams: &mut Diagrams,
        argument: usize,
        set: Function,
        usable: fn(Comparison) -> bool,
    ) -> Result<Option<Vec<Comparison>>, Complex> {
        let mut within = Vec::new();
        let own = |it: &&Condition| usize::try_from(it.index).is_ok_and(|it| it == argument);
        let empty = diagrams.constant(0)?;
        for condition in self.pool.iter().filter(own) {
            for comparison in [condition.comparison, opposite(condition.comparison)] {
                if !usable(comparison) {
                    continue;
                }
                let condition = Condition {
                    index: condition.index,
                    comparison,
                };
                let function = diagrams.conjunction(&[condition], 64, 1, 0)?;
                let outside = diagrams.combine(function, set, |one, set| one & !set)?;
                if outside == empty && function != empty {
                    within.push((comparison, function));
                }
            }
        }
        let union = |diagrams: &mut Diagrams, parts: &[(Comparison, Function)]| {
            let mut all = empty;
            for (_, part) in parts {
                all = diagrams.combine(all, *part, |one, other| one | other)?;
            }
            Ok(all)
        };
        if union(diagrams, &within)? != set {
            return Ok(None);
        }
        // What the others cover is not needed.
        let mut index = 0;
        while index < within.len() {
            let mut fewer = within.clone();
            fewer.remove(index);
            if union(diagrams, &fewer)? == set {
                within = fewer;
            } else {
                index = index.saturating_add(1);
            }
        }
        Ok(Some(
            within
                .into_iter()
                .map(|(comparison, _)| comparison)
                .collect(),
        ))
    }
}

/// True if the bits that are compared have one value.
const fn is_one_value(comparison: Comparison) -> bool {
    matches!(comparison, Comparison::Equal(_) | Comparison::Masked { .. })
}

/// Holds where the other does not. Of masked comparisons it is not a comparison; the same again.
const fn opposite(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::NotEqual(value) => Comparison::Equal(value),
        Comparison::Equal(value) => Comparison::NotEqual(value),
        Comparison::Less(value) => Comparison::GreaterOrEqual(value),
        Comparison::GreaterOrEqual(value) => Comparison::Less(value),
        Comparison::LessOrEqual(value) => Comparison::Greater(value),
        Comparison::Greater(value) => Comparison::LessOrEqual(value),
        Comparison::Masked { .. } => comparison,
    }
}

/// The paths to 1, each as a masked comparison; `None` if they are too many.
fn paths(diagrams: &Diagrams, set: Function) -> Option<Vec<Comparison>> {
    let mut found = Vec::new();
    let mut left = vec![(set, 0, 0)];
    while let Some((at, mask, value)) = left.pop() {
        match diagrams.node(at) {
            Node::End(1) => found.push(Comparison::Masked { mask, value }),
            Node::End(_) => {}
            Node::Bit { bit, zero, one } => {
                let weight = bit_at(bit).1;
                left.push((one, mask | weight, value | weight));
                left.push((zero, mask | weight, value));
            }
        }
        // In a reduced diagram every point leads to 1, so this is soon known.
        if found.len() > RULES_LIMIT {
            return None;
        }
    }
    Some(found)
}
