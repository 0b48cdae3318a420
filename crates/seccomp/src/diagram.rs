//! Functions of the six arguments of a system call, in a form in which equal functions are the
//! same node.
//!
//! A function is a reduced ordered decision diagram over the 384 bits of the arguments: first
//! argument first, highest bit first, and a return value at each end. Reduced diagrams are
//! canonical, so equality is a comparison of numbers, emptiness is having one end only, and a
//! path to an end is a witness. All six comparisons and the masked one are diagrams of at most 64
//! nodes, so no approximation is needed anywhere.
//!
//! What it costs: a comparison has at most 64 nodes, a conjunction the sum of its comparisons, and
//! a union of n rules on one argument at most 64 n. Rules on several arguments can multiply: at
//! the border between two arguments there may be as many functions as there are sets of rules that
//! hold together. Filters in use stay below a thousand nodes for each call; [`LIMIT`] ends what
//! does not, with an error.
//!
//! # Source
//!
//! Bryant, "Graph-Based Algorithms for Boolean Function Manipulation", IEEE Transactions on
//! Computers C-35 (1986).

use std::collections::{HashMap, HashSet};

use portcullis_hardening::{Comparison, Condition};

/// Most nodes, and most steps, that the functions of one call may take.
pub(crate) const LIMIT: usize = 1 << 18;
/// Bits of an argument.
pub(crate) const ARGUMENT_BITS: u16 = 64;

/// The six arguments.
pub(crate) type Arguments = [u64; 6];

/// A function, by number; of one [`Diagrams`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Function(u32);

/// A point of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    /// The value, whatever the remaining bits.
    End(u32),
    /// Where to go on, by one bit: argument times 64, plus 63 less the weight of the bit.
    Bit {
        /// Which bit.
        bit: u16,
        /// If it is 0.
        zero: Function,
        /// If it is 1.
        one: Function,
    },
}

/// There are too many different cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its rules make more than {LIMIT} cases")]
pub struct Complex;

/// All functions of one call.
#[derive(Debug, Default)]
pub(crate) struct Diagrams {
    nodes: Vec<Node>,
    numbers: HashMap<Node, Function>,
    steps: usize,
}

/// Where a bit of an argument stands in the order.
pub(crate) const fn position(argument: u16, weight: u16) -> u16 {
    argument * ARGUMENT_BITS + (ARGUMENT_BITS - 1 - weight)
}

/// The argument and the weight of the bit at a position.
pub(crate) const fn bit_at(position: u16) -> (usize, u64) {
    let weight = ARGUMENT_BITS - 1 - position % ARGUMENT_BITS;
    ((position / ARGUMENT_BITS) as usize, 1 << weight)
}

// === impl Diagrams ===

impl Diagrams {
    fn number(&mut self, node: Node) -> Result<Function, Complex> {
        self.steps = self.steps.saturating_add(1);
        if let Some(known) = self.numbers.get(&node) {
            return Ok(*known);
        }
        let number = u32::try_from(self.nodes.len()).map_err(|_too_many| Complex)?;
        // Steps can outnumber nodes by far: each pair of nodes may be visited once.
        if self.nodes.len() >= LIMIT || self.steps >= LIMIT * 16 {
            return Err(Complex);
        }
        self.nodes.push(node);
        self.numbers.insert(node, Function(number));
        Ok(Function(number))
    }

    /// The node of a function.
    pub(crate) fn node(&self, function: Function) -> Node {
        let index = usize::try_from(function.0).unwrap_or(usize::MAX);
        self.nodes.get(index).copied().unwrap_or(Node::End(0))
    }

    /// The function that is `value` everywhere.
    pub(crate) fn constant(&mut self, value: u32) -> Result<Function, Complex> {
        self.number(Node::End(value))
    }

    fn bit(&mut self, bit: u16, zero: Function, one: Function) -> Result<Function, Complex> {
        if zero == one {
            return Ok(zero);
        }
        self.number(Node::Bit { bit, zero, one })
    }

    /// Where `condition` holds `yes`, elsewhere `no`; both must be functions of later arguments.
    fn test(
        &mut self,
        condition: &Condition,
        bits: u16,
        yes: Function,
        no: Function,
    ) -> Result<Function, Complex> {
        let (yes, no, comparison) = match condition.comparison {
            Comparison::NotEqual(value) => (no, yes, Comparison::Equal(value)),
            Comparison::Less(value) => (no, yes, Comparison::GreaterOrEqual(value)),
            Comparison::LessOrEqual(value) => (no, yes, Comparison::Greater(value)),
            comparison => (yes, no, comparison),
        };
        let argument = u16::try_from(condition.index).unwrap_or_default();
        let (mask, value, if_equal, if_more) = match comparison {
            Comparison::Masked { mask, value } => (mask, value, yes, no),
            Comparison::GreaterOrEqual(value) => (u64::MAX, value, yes, yes),
            Comparison::Greater(value) => (u64::MAX, value, no, yes),
            Comparison::Equal(value)
            | Comparison::NotEqual(value)
            | Comparison::Less(value)
            | Comparison::LessOrEqual(value) => (u64::MAX, value, yes, no),
        };
        let mut rest = if_equal;
        for weight in 0..bits {
            if mask >> weight & 1 == 0 {
                continue;
            }
            let bit = position(argument, weight);
            rest = if value >> weight & 1 == 1 {
                self.bit(bit, no, rest)?
            } else {
                self.bit(bit, rest, if_more)?
            };
        }
        Ok(rest)
    }

    /// `yes` where all conditions hold, `no` elsewhere; each argument at most once.
    ///
    /// `bits` is how many low bits of an argument the filter sees: 32 or 64.
    pub(crate) fn conjunction(
        &mut self,
        conditions: &[Condition],
        bits: u16,
        yes: u32,
        no: u32,
    ) -> Result<Function, Complex> {
        let mut ordered: Vec<&Condition> = conditions.iter().collect();
        ordered.sort_by_key(|condition| condition.index);
        let no = self.constant(no)?;
        let mut rest = self.constant(yes)?;
        for condition in ordered.into_iter().rev() {
            rest = self.test(condition, bits, rest, no)?;
        }
        Ok(rest)
    }

    /// `operation` of the values of two functions, everywhere.
    pub(crate) fn combine(
        &mut self,
        left: Function,
        right: Function,
        operation: impl Fn(u32, u32) -> u32,
    ) -> Result<Function, Complex> {
        self.combine_below(left, right, &operation, &mut HashMap::new())
    }

    fn combine_below(
        &mut self,
        left: Function,
        right: Function,
        operation: &impl Fn(u32, u32) -> u32,
        done: &mut HashMap<(Function, Function), Function>,
    ) -> Result<Function, Complex> {
        if let Some(known) = done.get(&(left, right)) {
            return Ok(*known);
        }
        let (at_left, at_right) = (self.node(left), self.node(right));
        let combined = if let (Node::End(one), Node::End(other)) = (at_left, at_right) {
            self.constant(operation(one, other))?
        } else {
            let bit = bit_of(at_left).min(bit_of(at_right));
            let ((left_zero, left_one), (right_zero, right_one)) =
                (branches(left, at_left, bit), branches(right, at_right, bit));
            let zero = self.combine_below(left_zero, right_zero, operation, done)?;
            let one = self.combine_below(left_one, right_one, operation, done)?;
            self.bit(bit, zero, one)?
        };
        done.insert((left, right), combined);
        Ok(combined)
    }

    /// The function after all bits at the positions that `cleared` names are taken for 0.
    pub(crate) fn with_cleared(
        &mut self,
        function: Function,
        cleared: &impl Fn(u16) -> bool,
    ) -> Result<Function, Complex> {
        self.cleared_below(function, cleared, &mut HashMap::new())
    }

    fn cleared_below(
        &mut self,
        function: Function,
        cleared: &impl Fn(u16) -> bool,
        done: &mut HashMap<Function, Function>,
    ) -> Result<Function, Complex> {
        if let Some(known) = done.get(&function) {
            return Ok(*known);
        }
        let result = match self.node(function) {
            Node::End(_) => function,
            Node::Bit { bit, zero, .. } if cleared(bit) => {
                self.cleared_below(zero, cleared, done)?
            }
            Node::Bit { bit, zero, one } => {
                let zero = self.cleared_below(zero, cleared, done)?;
                let one = self.cleared_below(one, cleared, done)?;
                self.bit(bit, zero, one)?
            }
        };
        done.insert(function, result);
        Ok(result)
    }

    /// The function that has `operation` of the value.
    pub(crate) fn map(
        &mut self,
        function: Function,
        operation: impl Fn(u32) -> u32,
    ) -> Result<Function, Complex> {
        let any = self.constant(0)?;
        self.combine(function, any, |value, _| operation(value))
    }

    /// True if the value depends on a bit that `asked` names.
    pub(crate) fn depends_on(&self, function: Function, asked: impl Fn(u16) -> bool) -> bool {
        let mut seen = HashSet::new();
        let mut left = vec![function];
        while let Some(next) = left.pop() {
            if let Node::Bit { bit, zero, one } = self.node(next)
                && seen.insert(next)
            {
                if asked(bit) {
                    return true;
                }
                left.extend([zero, one]);
            }
        }
        false
    }

    /// The values that a function has.
    pub(crate) fn ends(&self, function: Function) -> HashSet<u32> {
        let mut seen = HashSet::new();
        let mut found = HashSet::new();
        let mut left = vec![function];
        while let Some(next) = left.pop() {
            match self.node(next) {
                Node::End(value) => {
                    found.insert(value);
                }
                Node::Bit { zero, one, .. } if seen.insert(next) => left.extend([zero, one]),
                Node::Bit { .. } => {}
            }
        }
        found
    }

    /// The functions of later arguments that `function` can become, by the bits of `argument`.
    pub(crate) fn beyond(&self, function: Function, argument: usize) -> Vec<Function> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        let mut left = vec![function];
        while let Some(next) = left.pop() {
            if seen.insert(next) {
                match self.node(next) {
                    Node::Bit { bit, zero, one } if bit_at(bit).0 == argument => {
                        left.extend([one, zero]);
                    }
                    _ => found.push(next),
                }
            }
        }
        found
    }

    /// 1 where the bits of `argument` lead from `function` to `wanted`, elsewhere 0.
    pub(crate) fn leading(
        &mut self,
        function: Function,
        argument: usize,
        wanted: Function,
    ) -> Result<Function, Complex> {
        self.leading_below(function, argument, wanted, &mut HashMap::new())
    }

    fn leading_below(
        &mut self,
        function: Function,
        argument: usize,
        wanted: Function,
        done: &mut HashMap<Function, Function>,
    ) -> Result<Function, Complex> {
        if let Some(known) = done.get(&function) {
            return Ok(*known);
        }
        let result = match self.node(function) {
            Node::Bit { bit, zero, one } if bit_at(bit).0 == argument => {
                let zero = self.leading_below(zero, argument, wanted, done)?;
                let one = self.leading_below(one, argument, wanted, done)?;
                self.bit(bit, zero, one)?
            }
            _ => self.constant(u32::from(function == wanted))?,
        };
        done.insert(function, result);
        Ok(result)
    }

    /// The smallest arguments, the first one counting most, for which the value is `wanted`.
    pub(crate) fn witness(
        &self,
        function: Function,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<Arguments> {
        let mut arguments = [0; 6];
        let mut hopeless = HashSet::new();
        self.reach(function, &wanted, &mut arguments, &mut hopeless)
            .then_some(arguments)
    }

    fn reach(
        &self,
        function: Function,
        wanted: &impl Fn(u32) -> bool,
        arguments: &mut Arguments,
        hopeless: &mut HashSet<Function>,
    ) -> bool {
        if hopeless.contains(&function) {
            return false;
        }
        let reached = match self.node(function) {
            Node::End(value) => wanted(value),
            Node::Bit { bit, zero, one } => {
                self.reach(zero, wanted, arguments, hopeless) || {
                    let found = self.reach(one, wanted, arguments, hopeless);
                    let (argument, weight) = bit_at(bit);
                    if let Some(argument) = arguments.get_mut(argument).filter(|_| found) {
                        *argument |= weight;
                    }
                    found
                }
            }
        };
        if !reached {
            hopeless.insert(function);
        }
        reached
    }

    /// The value for `arguments`.
    pub(crate) fn value(&self, function: Function, arguments: &Arguments) -> u32 {
        let mut at = function;
        loop {
            match self.node(at) {
                Node::End(value) => return value,
                Node::Bit { bit, zero, one } => {
                    let (argument, weight) = bit_at(bit);
                    at = if arguments.get(argument).is_none_or(|it| it & weight == 0) {
                        zero
                    } else {
                        one
                    };
                }
            }
        }
    }
}

const fn bit_of(node: Node) -> u16 {
    match node {
        Node::End(_) => u16::MAX,
        Node::Bit { bit, .. } => bit,
    }
}

/// Where a function goes on after `bit`; where it was if it does not look at that bit.
const fn branches(function: Function, node: Node, bit: u16) -> (Function, Function) {
    match node {
        Node::Bit {
            bit: own,
            zero,
            one,
        } if own == bit => (zero, one),
        _ => (function, function),
    }
}

#[cfg(test)]
mod tests;
