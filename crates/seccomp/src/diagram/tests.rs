use proptest::prelude::*;

use super::*;

fn comparison() -> impl Strategy<Value = Comparison> {
    let value = || prop_oneof![0..6_u64, any::<u64>(), Just(u64::MAX), Just(1 << 32)];
    prop_oneof![
        value().prop_map(Comparison::NotEqual),
        value().prop_map(Comparison::Less),
        value().prop_map(Comparison::LessOrEqual),
        value().prop_map(Comparison::Equal),
        value().prop_map(Comparison::GreaterOrEqual),
        value().prop_map(Comparison::Greater),
        (value(), value()).prop_map(|(mask, value)| Comparison::Masked {
            mask,
            value: value & mask
        }),
    ]
}

fn near(comparison: Comparison) -> Vec<u64> {
    let value = match comparison {
        Comparison::NotEqual(value)
        | Comparison::Less(value)
        | Comparison::LessOrEqual(value)
        | Comparison::Equal(value)
        | Comparison::GreaterOrEqual(value)
        | Comparison::Greater(value)
        | Comparison::Masked { value, .. } => value,
    };
    vec![
        0,
        value.wrapping_sub(1),
        value,
        value.wrapping_add(1),
        u64::MAX,
    ]
}

proptest! {
    #[test]
    fn a_comparison_is_itself_at_every_border(comparison in comparison(), other in any::<u64>()) {
        let mut diagrams = Diagrams::default();
        let condition = Condition { index: 2, comparison };
        let function = diagrams.conjunction(&[condition], 64, 7, 3).unwrap();
        for argument in near(comparison).into_iter().chain([other]) {
            let expected = if comparison.holds(argument) { 7 } else { 3 };
            let arguments = [9, 9, argument, 9, 9, 9];
            prop_assert_eq!(diagrams.value(function, &arguments), expected);
        }
        prop_assert!(diagrams.nodes.len() <= 66);
    }

    #[test]
    fn thirty_two_bits_are_all_that_a_32_bit_filter_sees(value in any::<u64>()) {
        let mut diagrams = Diagrams::default();
        let condition = Condition { index: 0, comparison: Comparison::Equal(value) };
        let function = diagrams.conjunction(&[condition], 32, 1, 0).unwrap();
        let low = value & u64::from(u32::MAX);
        prop_assert_eq!(diagrams.value(function, &[low, 0, 0, 0, 0, 0]), 1);
        prop_assert_eq!(diagrams.value(function, &[low ^ 1, 0, 0, 0, 0, 0]), 0);
    }

    #[test]
    fn equal_functions_are_one_node(one in comparison(), other in comparison()) {
        let mut diagrams = Diagrams::default();
        let mut make = |index, comparison| {
            diagrams.conjunction(&[Condition { index, comparison }], 64, 1, 0).unwrap()
        };
        let (one, other) = (make(0, one), make(1, other));
        let either = diagrams.combine(one, other, |one, other| one | other).unwrap();
        let not = |diagrams: &mut Diagrams, it| diagrams.map(it, |value| 1 - value).unwrap();
        let (no_one, no_other) = (not(&mut diagrams, one), not(&mut diagrams, other));
        let neither = diagrams.combine(no_one, no_other, |one, other| one & other).unwrap();
        prop_assert_eq!(not(&mut diagrams, neither), either);
    }

    #[test]
    fn a_witness_is_one_and_the_smallest(one in comparison(), other in comparison()) {
        let mut diagrams = Diagrams::default();
        let both = [
            Condition { index: 0, comparison: one },
            Condition { index: 3, comparison: other },
        ];
        let function = diagrams.conjunction(&both, 64, 1, 0).unwrap();
        match diagrams.witness(function, |value| value == 1) {
            Some(arguments) => {
                prop_assert!(one.holds(arguments[0]) && other.holds(arguments[3]));
                prop_assert!(arguments[0] == 0 || !one.holds(arguments[0] - 1));
                prop_assert!(arguments[3] == 0 || !other.holds(arguments[3] - 1));
            }
            None => prop_assert_eq!(diagrams.node(function), Node::End(0)),
        }
    }
}

#[test]
fn cleared_bits_are_taken_for_zero() {
    let mut diagrams = Diagrams::default();
    let above = Condition {
        index: 0,
        comparison: Comparison::Greater(5),
    };
    let function = diagrams.conjunction(&[above], 64, 1, 0).unwrap();
    let upper = |bit| bit_at(bit).1 > u64::from(u32::MAX);
    let small = diagrams.with_cleared(function, &upper).unwrap();
    assert_eq!(diagrams.value(function, &[1 << 40, 0, 0, 0, 0, 0]), 1);
    assert_eq!(diagrams.value(small, &[1 << 40, 0, 0, 0, 0, 0]), 0);
    assert!(!diagrams.depends_on(small, upper));
    assert!(diagrams.depends_on(function, upper));
}

#[test]
fn too_many_cases_end_with_an_error() {
    let mut diagrams = Diagrams::default();
    // An odd number of equal bits in two arguments, of which the first is read whole before the
    // second: the border between them needs a function for each of its values.
    let mut all = diagrams.constant(0).unwrap();
    let mut outcome = Ok(());
    for weight in 0..64 {
        let bit = |index| Condition {
            index,
            comparison: Comparison::Masked {
                mask: 1 << weight,
                value: 1 << weight,
            },
        };
        let both = [bit(0), bit(1)];
        let next = diagrams
            .conjunction(&both, 64, 1, 0)
            .and_then(|own| diagrams.combine(all, own, |one, other| one ^ other));
        match next {
            Ok(next) => all = next,
            Err(complex) => {
                outcome = Err(complex);
                break;
            }
        }
    }
    assert_eq!(outcome, Err(Complex));
}
