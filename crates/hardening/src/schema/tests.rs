use serde_json::json;

use super::*;

#[test]
fn a_fault_names_its_place_with_escapes() {
    let value =
        json!({"linux": {"rdma": 1, "resources": {"rdma": {"a/b~c": {"hcaHandles": "x"}}}}});
    let fault = conform(&value, &SPEC).unwrap_err();
    assert_eq!(fault.pointer, "/linux/resources/rdma/a~1b~0c/hcaHandles");
    assert_eq!(fault.found, Found::Type("a string"));
}

#[test]
fn null_counts_as_absent() {
    assert_eq!(
        conform(&json!({"process": null, "mounts": null}), &SPEC),
        Ok(())
    );
}

#[test]
fn numbers_are_held_to_their_bounds() {
    let node = Node::Whole(-1, 5);
    for (number, fits) in [
        (json!(-1), true),
        (json!(5), true),
        (json!(-2), false),
        (json!(6), false),
    ] {
        assert_eq!(conform(&number, &node).is_ok(), fits, "{number}");
    }
    assert_eq!(conform(&json!(u64::MAX), &Node::Whole(0, u64::MAX)), Ok(()));
    let fault = conform(&json!(1.5), &node).unwrap_err();
    assert_eq!(fault.found, Found::Number("1.5".to_owned()));
}

#[test]
fn no_two_keys_of_one_object_fold_alike() {
    fn walk(node: &Node) {
        match node {
            Node::Object(known) => {
                let mut folded: Vec<_> = known.iter().map(|(name, _)| fold(name)).collect();
                folded.sort();
                folded.dedup();
                assert_eq!(folded.len(), known.len());
                known.iter().for_each(|(_, node)| walk(node));
            }
            Node::Map(node) | Node::List(node) => walk(node),
            Node::Text | Node::Flag | Node::Whole(..) | Node::Any => {}
        }
    }
    walk(&SPEC);
}
