use portcullis_attestation::jwk::{KeyUse, PublicKey, TrustedKey};
use portcullis_gate::{Code, Refusal};
use serde_json::json;

use super::{load_from, reference_values_from, trusted_keys_from};
use crate::config::Mode;
use crate::paths;
use crate::trusted_file::tests::{scratch, write};

/// A point on P-256: its generator, and the double of it.
const POINTS: [(&str, &str); 2] = [
    (
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
    (
        "7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978",
        "07775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1",
    ),
];

fn jwk(point: usize, key_use: KeyUse) -> String {
    let (x, y) = POINTS[point];
    let coordinate = |text| portcullis_attestation::hex::decode_array::<32>(text).expect("hex");
    let key = PublicKey::from_coordinates(coordinate(x), coordinate(y)).expect("on the curve");
    TrustedKey::new(key, key_use).to_value().to_string()
}

fn codes(faults: &[Refusal]) -> Vec<Code> {
    faults.iter().map(|fault| fault.code).collect()
}

#[test]
fn a_missing_policy_is_a_fault() {
    let (_directory, root) = scratch();
    let faults: Vec<Refusal> = load_from(&root)
        .expect_err("no policy")
        .into_iter()
        .collect();
    assert_eq!(codes(&faults), [Code::ConfigMissing]);
}

#[test]
fn drop_ins_replace_values_and_add_tables() {
    let (directory, root) = scratch();
    write(
        &directory,
        paths::CONFIG,
        "mode = \"enforce\"\nnode_name = \"a\"\n[exec]\nallow = false\n[[namespace]]\nname = \"one\"\n[mounts]\nallow = [\"/srv\"]\n",
    );
    let drop_in = |name: &str, text: &str| {
        write(&directory, &format!("{}/{name}", paths::DROP_INS), text);
    };
    drop_in(
        "20-last.toml",
        "node_name = \"c\"\n[[namespace]]\nname = \"three\"\n",
    );
    drop_in(
        "10-first.toml",
        "mode = \"audit\"\nnode_name = \"b\"\nmounts.allow = [\"/opt\"]\n[[namespace]]\nname = \"two\"\n",
    );
    drop_in("30-ignored.toml.rpmsave", "nonsense");
    let config = load_from(&root).expect("valid");
    assert_eq!(config.mode, Mode::Audit);
    assert_eq!(config.node_name, "c");
    assert!(!config.exec.allow);
    assert_eq!(config.mounts_allow, ["/opt"]);
    let names: Vec<String> = config
        .namespaces
        .iter()
        .map(|policy| policy.pattern.to_string())
        .collect();
    assert_eq!(names, ["one", "two", "three"]);
}

#[test]
fn faults_of_all_files_come_together_and_name_their_file() {
    let (directory, root) = scratch();
    write(&directory, paths::CONFIG, "mode = ");
    write(&directory, &format!("{}/a.toml", paths::DROP_INS), "[x");
    let faults: Vec<Refusal> = load_from(&root).expect_err("broken").into_iter().collect();
    assert!(
        faults
            .iter()
            .any(|fault| fault.subject.contains("portcullis.toml:1'")),
        "{faults:#?}"
    );
    assert!(
        faults
            .iter()
            .any(|fault| fault.subject.contains("a.toml:1'")),
        "{faults:#?}"
    );
}

#[test]
fn a_fault_in_a_drop_in_names_the_drop_in() {
    let (directory, root) = scratch();
    write(&directory, paths::CONFIG, "[exec]\nallow = true\n");
    write(
        &directory,
        &format!("{}/a.toml", paths::DROP_INS),
        "\n[exec]\nallow = 3\n",
    );
    let faults = load_from(&root).expect_err("a number");
    assert_eq!(faults.count(), 1);
    assert!(
        faults.first().subject.contains("a.toml:3'"),
        "{}",
        faults.first().subject
    );
}

#[test]
fn a_host_without_trust_or_reference_directories_has_no_keys_and_no_values() {
    let (_directory, root) = scratch();
    assert_eq!(
        trusted_keys_from(&root).expect("no fault").iter().count(),
        0
    );
    assert_eq!(reference_values_from(&root).expect("no fault"), []);
}

#[test]
fn keys_are_pinned_with_their_use() {
    let (directory, root) = scratch();
    write(
        &directory,
        &format!("{}/node.jwk", paths::TRUST),
        jwk(0, KeyUse::Verdict),
    );
    write(
        &directory,
        &format!("{}/authority.jwk", paths::TRUST),
        jwk(1, KeyUse::Tag),
    );
    write(&directory, &format!("{}/README", paths::TRUST), "not a key");
    let keys = trusted_keys_from(&root).expect("two keys");
    assert!(!keys.lacks(KeyUse::Verdict) && !keys.lacks(KeyUse::Tag));
    assert!(keys.lacks(KeyUse::Reference));
}

#[test]
fn every_file_that_is_not_a_fit_public_key_is_a_fault_that_names_it() {
    let (directory, root) = scratch();
    let mut private: serde_json::Value =
        serde_json::from_str(&jwk(0, KeyUse::Verdict)).expect("JSON");
    private["d"] = json!("AAAA");
    let mut useless = private.clone();
    useless.as_object_mut().expect("object").remove("d");
    useless["use"] = json!("sig");
    for (name, text) in [
        ("1-text", "hello".to_owned()),
        ("2-private", private.to_string()),
        ("3-use", useless.to_string()),
        ("4-good", jwk(0, KeyUse::Verdict)),
        ("5-again", jwk(0, KeyUse::Verdict)),
        ("6-shared", jwk(0, KeyUse::Tag)),
    ] {
        write(&directory, &format!("{}/{name}.jwk", paths::TRUST), text);
    }
    let faults: Vec<Refusal> = trusted_keys_from(&root)
        .expect_err("unfit")
        .into_iter()
        .collect();
    let (bad, twice) = (Code::TrustKeyMalformed, Code::TrustKeyMismatch);
    assert_eq!(codes(&faults), [bad, bad, bad, twice, twice]);
    for (fault, name) in faults
        .iter()
        .zip(["1-text", "2-private", "3-use", "5-again", "6-shared"])
    {
        assert!(fault.subject.contains(&format!("{name}.jwk'")), "{fault}");
    }
    assert!(
        faults[1].found.contains("private key"),
        "{}",
        faults[1].found
    );
    assert!(!faults[1].found.contains("AAAA"));
}

#[test]
fn reference_values_come_in_order_and_without_white_space() {
    let (directory, root) = scratch();
    write(
        &directory,
        &format!("{}/b.jws", paths::REFERENCE),
        "b.b.b\n",
    );
    write(
        &directory,
        &format!("{}/a.jws", paths::REFERENCE),
        " a.a.a\n",
    );
    let tokens: Vec<String> = reference_values_from(&root)
        .expect("two files")
        .into_iter()
        .map(|file| file.token)
        .collect();
    assert_eq!(tokens, ["a.a.a", "b.b.b"]);
}
