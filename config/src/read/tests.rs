use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_attestation::trust::Claim;
use portcullis_gate::{Code, Kind, Refusal, Rule, RuleMode, RuleModes};
use proptest::prelude::*;

use crate::config::{Config, ExecGate, Mode, OnDriftPods, SignedPolicies};
use crate::keys;
use crate::load::parse;

const SHIPPED: &str = include_str!("../../portcullis.toml");

const RELAXATION: &str = r#"
[[relaxation]]
name = "tmp-exec"
namespace = "legacy"
image = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b"
expires = "2027-01-31"
reason = "JNI extracts to /tmp"
"#;

fn config(text: &str) -> Config {
    parse("node.toml", text, "worker-7").unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

fn faults(text: &str) -> Vec<Refusal> {
    parse("node.toml", text, "worker-7")
        .expect_err(text)
        .into_iter()
        .collect()
}

/// The only fault of `text`.
fn fault(text: &str) -> Refusal {
    let mut faults = faults(text);
    assert_eq!(faults.len(), 1, "{text}: {faults:#?}");
    faults.remove(0)
}

/// The shipped file with its examples made real: '#' directly before a key or a table.
fn shipped_with_examples() -> String {
    SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest)
                if rest.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()) =>
            {
                rest
            }
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_file_shows_the_defaults() {
    assert_eq!(config(SHIPPED), config(""));
}

#[test]
fn the_examples_of_the_shipped_file_are_valid() {
    let config = config(&shipped_with_examples());
    assert_eq!(config.namespaces.len(), 1);
    assert_eq!(config.relaxations.len(), 1);
}

#[test]
fn the_shipped_file_and_the_program_know_the_same_keys() {
    let text = shipped_with_examples();
    let table: toml::Table = text.parse().expect("valid");
    let mut shipped = BTreeSet::new();
    for (key, value) in &table {
        let inner = value
            .as_table()
            .or_else(|| value.as_array()?.first()?.as_table());
        match inner {
            Some(inner) => shipped.extend(inner.keys().map(|name| format!("{key}.{name}"))),
            None => _ = shipped.insert(key.clone()),
        }
    }
    let tables = keys::TABLES.iter().chain(keys::LISTS);
    let known: BTreeSet<String> = keys::TOP
        .iter()
        .map(|key| (*key).to_owned())
        .chain(
            tables.flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table}.{key}"))),
        )
        .collect();
    assert_eq!(shipped, known);
}

#[test]
fn every_key_of_the_shipped_file_has_a_comment_above_it() {
    let mut previous = "";
    for line in SHIPPED.lines() {
        let setting = line.trim_start_matches('#');
        let is_key = !line.starts_with("# ") && setting.contains(" = ");
        assert!(
            !is_key || previous.starts_with("# "),
            "no comment above: {line}"
        );
        previous = line;
    }
}

#[test]
fn the_shipped_file_says_what_each_rule_wants() {
    for rule in Rule::ALL {
        let key = format!("\n{} = \"enforce\"\n", rule.id());
        let before = SHIPPED.split(&key).next().expect("a first part");
        let comment = before.rsplit("\n# ").next().expect("a last part");
        let (said, title) = (comment.to_lowercase(), rule.title().to_lowercase());
        assert!(said.starts_with(&format!("{title}.")), "{rule}: {comment}");
        let fixed = comment.contains("Cannot be loosened");
        assert_eq!(fixed, !rule.may_be_loosened(), "{rule}");
    }
}

#[test]
fn a_rule_is_enforced_unless_the_node_says_otherwise() {
    let config = config("[rules]\nnon-root = \"audit\"\nseccomp = \"off\"\nhooks = \"enforce\"");
    let loosened: Vec<_> = config.rules.loosened().collect();
    assert_eq!(
        loosened,
        [
            (Rule::NonRoot, RuleMode::Audit),
            (Rule::Seccomp, RuleMode::Off)
        ]
    );
    assert_eq!(self::config("").rules, RuleModes::enforced());
}

#[test]
fn what_the_gate_rests_on_cannot_be_loosened() {
    for text in [
        "[rules]\nroot-filesystem = \"audit\"",
        "[rules]\nroot-filesystem = \"off\"",
        "[[namespace]]\nname = \"a\"\nrules = { root-filesystem = \"off\" }",
    ] {
        let fault = fault(text);
        assert_eq!(fault.code, Code::ConfigMalformed, "{text}");
        assert!(fault.expected.contains("rests on"), "{fault}");
    }
    config("[rules]\nroot-filesystem = \"enforce\"");
}

#[test]
fn the_defaults_close_the_gate() {
    let config = config("");
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.node_name, "worker-7");
    assert_eq!(config.launch.max_verdict_age, Duration::from_secs(600));
    assert_eq!(
        config.launch.required,
        [Claim::Executables, Claim::Hardware]
    );
    assert_eq!(config.snapshot_deadline, Duration::from_millis(1500));
    assert_eq!(config.default_profile, "restricted");
    assert_eq!(config.exec.gate, ExecGate::Full);
    assert!(config.hook.require_hardened);
    assert!(!config.break_glass.allow && !config.break_glass.allow_host_trust);
    assert_eq!(config.break_glass.max_lifetime, Duration::from_hours(4));
    assert_eq!(config.policy.signed, SignedPolicies::Optional);
    assert_eq!(config.policy.grace, Duration::from_hours(72));
    assert_eq!(config.agent.pcrs.to_string(), "0,1,2,3,4,5,7,8,9,11,12,14");
}

#[test]
fn an_unknown_key_is_a_fault_with_its_line() {
    let fault = fault("mode = \"audit\"\nenforce_mode = true\n");
    assert_eq!(
        (fault.code, fault.kind()),
        (Code::ConfigKeyUnknown, Kind::Fault)
    );
    assert_eq!(fault.subject, "'node.toml:2'");
    assert!(fault.expected.contains("'mode'"), "{}", fault.expected);
    assert_eq!(fault.found, "'enforce_mode'");
    for text in [
        "[attestation]\nmax_age = \"1m\"",
        "[asset_tag]\nrequired = \"a\"",
        "[[namespace]]\nname = \"a\"\nmode = \"audit\"",
        "[agent.tpm]\nx = 1",
        "[rules]\nnon-roots = \"audit\"",
        "[[namespace]]\nname = \"a\"\nrules = { nonroot = \"audit\" }",
        "[Attestation]\n",
        "attestation.Required = []",
    ] {
        assert_eq!(self::fault(text).code, Code::ConfigKeyUnknown, "{text}");
    }
    assert_eq!(
        self::fault(&format!("{RELAXATION}scope = 1")).code,
        Code::ConfigKeyUnknown
    );
}

#[test]
fn values_of_the_wrong_kind_or_range_are_faults() {
    for text in [
        "version = 2",
        "version = \"1\"",
        "mode = \"Enforce\"",
        "mode = true",
        "node_name = \"a b\"",
        "node_name = \"\"",
        "attestation = 3",
        "namespace = \"a\"",
        "namespace = [1]",
        "[namespace]\nname = \"a\"",
        "[attestation]\nmax_verdict_age = 600",
        "[attestation]\nmax_verdict_age = \"0s\"",
        "[attestation]\nmax_verdict_age = \"25h\"",
        "[attestation]\nmax_verdict_age = \"600500ms\"",
        "[attestation]\nclock_skew = \"301s\"",
        "[attestation]\nclock_skew = \"1500ms\"",
        "[attestation]\nsnapshot_deadline = \"0ms\"",
        "[attestation]\nsnapshot_deadline = \"61s\"",
        "[attestation]\nrequired = \"hardware\"",
        "[attestation]\nrequired = [\"Hardware\"]",
        "[attestation]\nrequired = [\"file-system\"]",
        "[attestation]\nrequired = [\"runtime-opaque\"]",
        "[profile]\ndefault = \"privileged\"",
        "[profile]\norder = []",
        "[profile]\norder = [\"restricted\", \"restricted\"]",
        "[profile]\norder = [\"restricted\", \"../x\"]",
        "[rules]\nnon-root = \"warn\"",
        "[rules]\nnon-root = true",
        "[[namespace]]\nname = \"a\"\nrules = \"audit\"",
        "[[namespace]]\nname = \"a\"\nrules = { non-root = 1 }",
        "[exec]\nallow = \"yes\"",
        "[exec]\ngate = \"none\"",
        "[mounts]\nallow = [\"/\"]",
        "[mounts]\nallow = [\"srv\"]",
        "[mounts]\nallow = [\"/srv/../etc\"]",
        "[mounts]\nallow = [\"/srv/\"]",
        "[mounts]\nroot_sources = [\"/dev\"]",
        "[mounts]\nroot_sources = [\"/dev/../*\"]",
        "[floor]\ndeny_syscalls = \"kexec_load\"",
        "[floor]\ndeny_syscalls = [\"kexec_laod\"]",
        "[floor]\ndeny_syscalls = [\"mount\"]",
        "[floor]\ndeny_socket_families = [\"AF_UNIX\"]",
        "[floor]\ndeny_socket_families = [38]",
        "[runtime]\nbinary = \"bin/runc\"",
        "[runtime]\nbinary = \"\"",
        "[runtime]\nbinary = \"-v\"",
        "[runtime]\nroot = \"run\"",
        "[agent]\ntcti = \"/dev/tpm0\"",
        "[agent]\ntcti = \"device:tpm0\"",
        "[agent]\npcr_bank = \"sha1\"",
        "[agent]\npcrs = []",
        "[agent]\npcrs = [24]",
        "[agent]\npcrs = [-1]",
        "[agent]\npcrs = [7, 7]",
        "[agent]\npcrs = [7.0]",
        "[agent]\nledger_anchor_interval = \"59s\"",
        "[agent]\nledger_anchor_interval = \"25h\"",
        "[agent]\nledger_anchor_interval = 60",
        "[agent]\ndrift_interval = \"999ms\"",
        "[agent]\ndrift_interval = \"61m\"",
        "[agent]\ndrift_interval = 1",
        "[agent]\non_drift_command = \"/bin/true\"",
        "[agent]\non_drift_command = [\"true\"]",
        "[agent]\non_drift_command = [\"/bin/true\", 1]",
        "[agent]\non_drift_pods = \"kill\"",
        "[agent]\non_drift_pods = true",
        "[agent]\non_drift_webhook = 1",
        "[agent]\non_drift_webhook = \"http://a.example/x\"",
        "[agent]\non_drift_webhook = \"https:///x\"",
        "[agent]\non_drift_webhook = \"https://a.example/x y\"",
        "[agent]\non_drift_webhook = \"https://a.example/é\"",
        "[agent]\non_drift_webhook_ca = \"ca.pem\"",
        "[policy]\nsigned = true",
        "[policy]\nsigned = \"Required\"",
        "[policy]\ngrace = \"721h\"",
        "[policy]\ngrace = \"500ms\"",
        "[break_glass]\nallow = \"yes\"",
        "[break_glass]\nallow_host_trust = 1",
        "[break_glass]\nmax_lifetime = \"25h\"",
        "[break_glass]\nmax_lifetime = \"0s\"",
        "[agent]\nissuer = \"\"",
        "[agent]\nissuer = \"a b\"",
        "[[namespace]]\nname = \"a/b\"",
        "[[namespace]]\nname = \"a\"\nprofile = \"loose\"",
    ] {
        let fault = fault(text);
        assert_eq!(fault.code, Code::ConfigMalformed, "{text}");
        assert!(
            fault.subject.contains("'node.toml:"),
            "{text}: {}",
            fault.subject
        );
    }
}

#[test]
fn limits_hold_on_both_sides() {
    for (text, accepted) in [
        ("[attestation]\nclock_skew = \"300s\"", true),
        ("[attestation]\nclock_skew = \"301s\"", false),
        ("[attestation]\nclock_skew = \"0s\"", true),
        ("[attestation]\nsnapshot_deadline = \"1ms\"", true),
        ("[attestation]\nsnapshot_deadline = \"1m\"", true),
        ("[attestation]\nmax_verdict_age = \"24h\"", true),
        ("[attestation]\nmax_verdict_age = \"86401s\"", false),
        ("[agent]\nattest_interval = \"1s\"", true),
        ("[agent]\nattest_interval = \"0s\"", false),
        ("[agent]\ndrift_interval = \"0s\"", true),
        ("[agent]\ndrift_interval = \"1h\"", true),
        ("[agent]\npcrs = [0, 23]", true),
        ("[policy]\ngrace = \"0s\"", true),
        ("[policy]\ngrace = \"720h\"", true),
        ("[break_glass]\nmax_lifetime = \"24h\"", true),
    ] {
        assert_eq!(parse("node.toml", text, "w").is_ok(), accepted, "{text}");
    }
}

#[test]
fn an_address_that_may_hold_a_secret_is_repeated_nowhere() {
    let fault = fault("[agent]\non_drift_webhook = \"http://a.example/s3cret\"");
    assert!(!fault.to_string().contains("s3cret"), "{fault}");
    let config = config(
        "[agent]\non_drift_webhook = \"https://a.example/s3cret\"\non_drift_webhook_ca = \"/ca.pem\"",
    );
    let webhook = config.agent.on_drift_webhook.as_ref().expect("it is set");
    assert_eq!(webhook.url, "https://a.example/s3cret");
    assert_eq!(webhook.authority, "/ca.pem");
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn a_webhook_needs_an_authority_and_a_policy_for_pods_a_watch() {
    let without = fault("[agent]\non_drift_webhook = \"https://a.example/s3cret\"");
    assert_eq!(without.code, Code::ConfigMismatch);
    assert!(without.subject.contains("on_drift_webhook_ca"), "{without}");
    assert!(!without.to_string().contains("s3cret"), "{without}");
    for pods in ["pause", "stop"] {
        let text = format!("[agent]\ndrift_interval = \"0s\"\non_drift_pods = \"{pods}\"");
        assert_eq!(fault(&text).code, Code::ConfigMismatch, "{text}");
    }
    let left = config("[agent]\ndrift_interval = \"0s\"\non_drift_pods = \"leave\"");
    assert_eq!(left.agent.on_drift_pods, OnDriftPods::Leave);
    assert_eq!(left.agent.on_drift_webhook, None);
}

#[test]
fn settings_that_contradict_each_other_are_faults_that_name_both() {
    let fault = fault(
        "[agent]\nattest_interval = \"10m\"\nverdict_lifetime = \"10m\"\n[attestation]\nmax_verdict_age = \"11m\"",
    );
    assert_eq!(fault.code, Code::ConfigMismatch);
    assert_eq!(
        fault.subject,
        "'agent.attest_interval=10m' in 'node.toml:2'"
    );
    assert_eq!(fault.found, "'agent.verdict_lifetime=10m' in 'node.toml:3'");

    let fault = self::fault("[attestation]\nmax_verdict_age = \"1m\"");
    assert_eq!(fault.subject, "'agent.attest_interval=5m' by default");
    assert_eq!(
        fault.found,
        "'attestation.max_verdict_age=1m' in 'node.toml:2'"
    );

    assert_eq!(
        self::fault("[profile]\norder = [\"own\"]").code,
        Code::ConfigMismatch
    );
    assert_eq!(
        self::fault(&RELAXATION.repeat(2)).code,
        Code::ConfigMismatch
    );
}

#[test]
fn all_faults_are_reported_together() {
    let faults =
        faults("mode = \"x\"\nenforce = 1\n[attestation]\nmax_verdict_age = 1\nskew = 2\n");
    let codes: Vec<Code> = faults.iter().map(|fault| fault.code).collect();
    assert_eq!(
        codes,
        [
            Code::ConfigKeyUnknown,
            Code::ConfigKeyUnknown,
            Code::ConfigMalformed,
            Code::ConfigMalformed
        ]
    );
}

#[test]
fn invalid_toml_is_a_fault_with_its_line() {
    for text in [
        "a = ",
        "\n\n[x",
        "mode = \"audit\"\nmode = \"enforce\"",
        "mode = \u{7}",
    ] {
        for fault in faults(text) {
            assert_eq!(fault.code, Code::ConfigMalformed, "{text:?}");
            assert!(
                fault.subject.starts_with("'node.toml:"),
                "{}",
                fault.subject
            );
        }
    }
    assert_eq!(
        faults("mode = \"audit\"\nmode = \"enforce\"")[0].subject,
        "'node.toml:2'"
    );
}

#[test]
fn a_tag_requirement_that_cannot_be_read_names_line_and_column() {
    for text in [
        "[asset_tag]\nrequire = \"country in DE\"",
        "[[namespace]]\nname = \"a\"\nrequire_tags = \"country in DE\"",
    ] {
        let fault = fault(text);
        assert_eq!(fault.code, Code::TagRequirementMalformed);
        assert!(fault.subject.ends_with("column 12"), "{}", fault.subject);
    }
    assert_eq!(
        fault("[asset_tag]\nrequire = 3").code,
        Code::ConfigMalformed
    );
}

#[test]
fn a_namespace_policy_needs_a_name_and_a_relaxation_needs_everything() {
    assert_eq!(
        fault("[[namespace]]\nprofile = \"strict\"").code,
        Code::ConfigKeyMissing
    );
    assert_eq!(config(RELAXATION).relaxations.len(), 1);
    for key in ["name", "namespace", "image", "expires", "reason"] {
        let without: String = RELAXATION
            .lines()
            .filter(|line| !line.starts_with(&format!("{key} =")))
            .map(|line| format!("{line}\n"))
            .collect();
        let fault = fault(&without);
        assert_eq!(fault.code, Code::ConfigKeyMissing, "{key}");
        assert!(
            fault.subject.contains(&format!("'relaxation.{key}'")),
            "{}",
            fault.subject
        );
    }
    for (good, bad) in [
        ("\"legacy\"", "\"legacy-*\""),
        ("sha256:6c", "6c"),
        ("sha256:6c", "sha256:6C"),
        ("2027-01-31", "2027-02-31"),
        ("\"JNI extracts to /tmp\"", "\" \""),
        ("\"2027-01-31\"", "2027-01-31"),
    ] {
        assert_eq!(
            fault(&RELAXATION.replace(good, bad)).code,
            Code::ConfigMalformed,
            "{bad}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "\\PC{0,200}|([a-z_\\[\\]=\"'#. \n0-9]{0,120})") {
        if let Err(faults) = parse("node.toml", &text, "w") {
            prop_assert!(faults.iter().all(|fault| fault.kind() == Kind::Fault));
        }
    }

    #[test]
    fn a_misspelt_key_never_passes(table in 0..keys::TABLES.len(), pick in any::<prop::sample::Index>(), letter in "[a-z]") {
        let (table, known) = keys::TABLES[table];
        let key = format!("{}{letter}", pick.get(known));
        prop_assume!(!known.contains(&key.as_str()));
        let faults = parse("node.toml", &format!("[{table}]\n{key} = 1"), "w").expect_err("misspelt");
        prop_assert_eq!(faults.first().code, Code::ConfigKeyUnknown);
    }
}
