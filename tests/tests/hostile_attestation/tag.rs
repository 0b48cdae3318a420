//! Cases in which root, with the owner's authorization of the TPM, moves or restores asset tags.

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::refusal::Refusal;

use super::table::{Case, Scene};
use crate::authority::{
    OWNER_WRITTEN, SLOT, contents, define, hand_out, issue_foreign, issue_next, provision, store,
    undefine, write,
};

/// What is done to the tag.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "tag of another host in the place of this one's",
        expected: "refused [asset-tag-subject-mismatch]",
        attack: swapped,
        mend: tagged_anew,
    },
    Case {
        name: "tag index undefined",
        expected: "refused [asset-tag-missing]",
        attack: |scene| {
            undefine(&scene.node, SLOT)?;
            scene.node.refuses(&[])
        },
        mend: tagged_anew,
    },
    Case {
        name: "tag index undefined and defined anew",
        expected: "refused [asset-tag-tampered]",
        attack: defined_anew,
        mend: tagged_anew,
    },
    Case {
        name: "older tag of the same host restored",
        expected: "refused [asset-tag-replayed]",
        attack: restored,
        mend: tagged_anew,
    },
];

/// Slot and document of another host, with the authority's own signatures.
fn swapped(scene: &mut Scene) -> Outcome<Refusal> {
    let (foreign, other) = issue_foreign(&scene.node)?;
    store(&scene.node, &foreign, &other).doing("store a foreign digest")?;
    scene.without_carrier(|node| hand_out(node, &foreign.document))?;
    scene.node.refuses(&[])
}

/// An index of the same size that holds the right digest, and that the owner may write.
fn defined_anew(scene: &mut Scene) -> Outcome<Refusal> {
    let node = &scene.node;
    let digest = contents(node)?;
    undefine(node, SLOT)?;
    define(node, SLOT, OWNER_WRITTEN, &["-s", "48"])?;
    write(node, SLOT, "o", &digest)?;
    node.refuses(&[])
}

/// What the authority once signed for this TPM, stored and handed out again, and attested.
fn restored(scene: &mut Scene) -> Outcome<Refusal> {
    let old = issue_next(&scene.node, "old")?;
    provision(&scene.node, &old)?;
    scene.node.starts()?;
    provision(&scene.node, &issue_next(&scene.node, "new")?)?;
    scene.node.starts()?;
    let ueid = scene.node.ueid.clone();
    store(&scene.node, &old, &ueid).doing("store the old digest")?;
    scene.without_carrier(|node| hand_out(node, &old.document))?;
    scene.node.refuses(&[])
}

fn tagged_anew(scene: &mut Scene) -> Outcome {
    provision(&scene.node, &issue_next(&scene.node, "mend")?)?;
    scene.node.attest()
}
