//! What is wrong with the asset tag, or with what is asked of it.

use super::*;

pub(super) const CASES: &[Case] = &[
    (
        "tags are asked for and there is no tag",
        launch,
        |it| {
            it.policy.require_tags = requirement("country=DE");
        },
        Code::AssetTagMissing,
        "no asset tag",
    ),
    (
        "the absence of a tag is asked for and there is no tag at all",
        launch,
        |it| {
            it.request.require_tags = vec![requirement("!lab")];
        },
        Code::AssetTagMissing,
        "no asset tag",
    ),
    (
        "the NV index is gone",
        tagged_launch,
        |it| {
            it.snapshot.live.tag = None;
        },
        Code::AssetTagMissing,
        "not defined",
    ),
    (
        "the agent has no document",
        tagged_launch,
        |it| {
            it.snapshot.tag_document = None;
        },
        Code::AssetTagMissing,
        "none",
    ),
    (
        "there is a document alone",
        launch,
        |it| {
            it.snapshot.tag_document = Some("a.b.c".to_owned());
        },
        Code::AssetTagMissing,
        "not defined",
    ),
    (
        "the NV index was written after the verdict",
        tagged_launch,
        |it| {
            let attester = it.attester().as_object_mut().expect("object");
            attester.retain(|name, _| !name.starts_with("tag_"));
        },
        Code::AssetTagTampered,
        "one",
    ),
    (
        "it is another NV index",
        tagged_launch,
        |it| {
            it.slot().nv_index += 1;
        },
        Code::AssetTagTampered,
        "0x01c10111",
    ),
    (
        "the NV index has other attributes",
        tagged_launch,
        |it| {
            it.slot().nv_name = TpmName::of_public_area(HashAlg::Sha256, b"other").expect("sha256");
        },
        Code::AssetTagTampered,
        "000b",
    ),
    (
        "the NV index holds something else",
        tagged_launch,
        |it| {
            it.slot().contents = vec![0xee; 48];
        },
        Code::AssetTagTampered,
        "eeeeeeeeeeee",
    ),
    (
        "the NV index holds too little",
        tagged_launch,
        |it| {
            it.slot().contents.truncate(47);
        },
        Code::AssetTagTampered,
        "",
    ),
    (
        "the document is another one",
        tagged_launch,
        |it| {
            let other = AssetTag {
                issued_at_s: 1,
                ..asset_tag()
            };
            it.snapshot.tag_document = Some(other.sign(&mut key(TAG_AUTHORITY)).expect("signed"));
        },
        Code::AssetTagTampered,
        "",
    ),
    (
        "another authority signed the tag",
        tagged_launch,
        |it| {
            let document = asset_tag().sign(&mut key(FOREIGN)).expect("signed");
            it.bind(document);
        },
        Code::AssetTagSignatureInvalid,
        "among the pinned keys",
    ),
    (
        "the verifier signed the tag",
        tagged_launch,
        |it| {
            let document = asset_tag().sign(&mut key(VERIFIER)).expect("signed");
            it.bind(document);
        },
        Code::AssetTagSignatureInvalid,
        "pinned for 'verdict'",
    ),
    (
        "the document is no tag",
        tagged_launch,
        |it| {
            let claims = json!({"iss": "x"});
            let document = jws::sign(Typ::Tag, &claims, &mut key(TAG_AUTHORITY)).expect("signed");
            it.bind(document);
        },
        Code::AssetTagMalformed,
        "cannot find claim",
    ),
    (
        "the tag is another TPM's",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.subject = Ueid::of_endorsement_key(b"other"));
        },
        Code::AssetTagSubjectMismatch,
        "",
    ),
    (
        "the tag is an older one of this TPM",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.counter -= 1);
        },
        Code::AssetTagReplayed,
        "one for counter 2",
    ),
    (
        "the TPM counted on after the tag",
        tagged_launch,
        |it| {
            it.attester()["tag_counter"] = json!(4);
        },
        Code::AssetTagReplayed,
        "one for counter 3",
    ),
    (
        "the tag is not valid yet",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.not_before_s = NOW + 6);
        },
        Code::AssetTagExpired,
        "now 1795290500",
    ),
    (
        "the tag is not valid any more",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.expires_s = NOW);
        },
        Code::AssetTagExpired,
        "0 s past it",
    ),
    (
        "the host was attested after its tag had expired",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.expires_s = NOW);
            let attester = it.attester().as_object_mut().expect("object");
            attester.retain(|name, _| !name.starts_with("tag_"));
        },
        Code::AssetTagExpired,
        "0 s past it",
    ),
    (
        "the slot holds something else than the tag that has expired",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.expires_s = NOW);
            let attester = it.attester().as_object_mut().expect("object");
            attester.retain(|name, _| !name.starts_with("tag_"));
            it.slot().contents = vec![0xee; 48];
        },
        Code::AssetTagTampered,
        "one",
    ),
    (
        "the node asks for another tag",
        tagged_launch,
        |it| {
            it.policy.require_tags = requirement("country in (FR,US), pool");
        },
        Code::AssetTagMismatch,
        "country=DE",
    ),
    (
        "the namespace asks for another tag",
        tagged_launch,
        |it| {
            it.policy.namespace_require_tags = vec![NamespaceDemand {
                pattern: "payments-*".to_owned(),
                requirement: requirement("pool=pci,site"),
            }];
        },
        Code::AssetTagMismatch,
        "no 'site'",
    ),
    (
        "the pod asks for another tag",
        tagged_launch,
        |it| {
            it.request.require_tags = vec![requirement("country=DE"), requirement("pool!=pci")];
        },
        Code::AssetTagMismatch,
        "pool=pci",
    ),
];
