use super::*;

fn digest(byte: &str) -> String {
    byte.repeat(32)
}

fn read(claim: &Value) -> Option<EventRules> {
    EventRules::from_claim(HashAlg::Sha256, claim)
}

fn steps(steps: &Value) -> Option<EventRules> {
    read(&json!({"pcrs": {"4": steps}}))
}

fn sample() -> Value {
    json!({
        "pcrs": {
            "4": [
                {"digests": [digest("aa")], "note": "shim"},
                {"digests": [digest("bb"), digest("cc")], "optional": true},
            ],
            "8": {"any_of": [[{"digests": [digest("dd")]}], []]},
            "11": [],
        },
        "secure_boot": {"pk": [digest("01")], "dbx": [digest("02"), digest("03")]},
    })
}

#[test]
fn rules_read_back() {
    let rules = read(&sample()).expect("rules");
    assert_eq!(rules.to_claim(), sample());
    let eight = PcrIndex::new(8).expect("a PCR");
    assert_eq!(rules.pcrs[&eight].any_of.len(), 2);
    let secure_boot = rules.secure_boot.expect("stated");
    assert!(secure_boot.kek.is_empty() && secure_boot.dbx.len() == 2);
}

#[test]
fn secure_boot_alone_is_a_rule_and_nothing_is_none() {
    assert!(read(&json!({"secure_boot": {}})).is_some());
    for nothing in [json!({}), json!({"pcrs": {}}), json!([]), json!(null)] {
        assert_eq!(read(&nothing), None, "{nothing}");
    }
}

#[test]
fn a_member_that_is_not_known_is_refused_everywhere() {
    assert!(steps(&json!([{"digests": [digest("aa")]}])).is_some());
    for unknown in [
        json!({"pcrs": {"4": []}, "secureboot": {}}),
        json!({"pcrs": {"4": [{"digests": [digest("aa")], "optionl": true}]}}),
        json!({"pcrs": {"4": {"any_of": [[]], "all_of": []}}}),
        json!({"pcrs": {"4": []}, "secure_boot": {"PK": [digest("aa")]}}),
        json!({"pcrs": {"4": []}, "secure_boot": true}),
    ] {
        assert_eq!(read(&unknown), None, "{unknown}");
    }
}

#[test]
fn only_pcrs_of_firmware_and_boot_loader_can_be_ruled() {
    for pcr in 0..24 {
        let ruled = read(&json!({"pcrs": {pcr.to_string(): []}})).is_some();
        assert_eq!(ruled, pcr <= 14 && pcr != 10, "PCR {pcr}");
    }
    assert_eq!(read(&json!({"pcrs": {"04": []}})), None);
}

#[test]
fn a_step_without_a_digest_of_the_bank_is_refused() {
    for wrong in [
        json!([{}]),
        json!([{"digests": []}]),
        json!([{"digests": ["aa".repeat(20)]}]),
        json!([{"digests": [digest("aa").to_uppercase()]}]),
        json!([{"digests": digest("aa")}]),
        json!([{"digests": [digest("aa")], "optional": "yes"}]),
        json!([{"digests": [digest("aa")], "optional": null}]),
        json!([digest("aa")]),
        json!({"any_of": []}),
        json!({"any_of": [{}]}),
    ] {
        assert_eq!(steps(&wrong), None, "{wrong}");
    }
    // An empty list of keys would read as "no key fits" to one and as "any" to another.
    assert_eq!(read(&json!({"secure_boot": {"pk": []}})), None);
}

#[test]
fn numbers_are_limited() {
    let step = |digests: usize| json!({"digests": vec![digest("aa"); digests]});
    assert!(steps(&json!(vec![step(1); 512])).is_some());
    assert_eq!(steps(&json!(vec![step(1); 513])), None);
    assert!(steps(&json!([step(64)])).is_some());
    assert_eq!(steps(&json!([step(65)])), None);
    assert!(steps(&json!({"any_of": vec![json!([]); 16]})).is_some());
    assert_eq!(steps(&json!({"any_of": vec![json!([]); 17]})), None);
}

#[test]
fn a_note_is_one_short_line() {
    let with = |note: Value| steps(&json!([{"digests": [digest("aa")], "note": note}]));
    assert!(with(json!("linux /vmlinuz quiet")).is_some());
    assert!(with(json!("n".repeat(256))).is_some());
    for wrong in [
        json!("n".repeat(257)),
        json!("a\nb"),
        json!("\u{1b}[2J"),
        json!(5),
    ] {
        assert_eq!(with(wrong), None);
    }
    let long = format!("{}\n{}", "ä".repeat(100), "b".repeat(100));
    assert!(with(json!(note_of(&long))).is_some());
    assert_eq!(note_of("a\nb"), "a?b");
}
