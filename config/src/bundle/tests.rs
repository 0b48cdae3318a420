use portcullis_attestation::jwk::{KeyUse, TrustedKey};
use portcullis_attestation::jws::Signer as _;
use portcullis_attestation::software_key::SoftwareKey;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::config::{Config, Mode};
use crate::load::load_at;
use crate::trusted_file::tests::{scratch, write};

const NOW: u64 = 1_000_000;
/// The grace that a node has by default.
const GRACE_S: u64 = 72 * 3600;
/// Settings of a node in which a bundle has something to change.
const OWN_SETTINGS: &str = "node_name = \"w7\"\nmode = \"audit\"\n[exec]\nallow = false\n\
    [[namespace]]\nname = \"legacy\"\n";

fn key(seed: u8) -> SoftwareKey {
    SoftwareKey::from_random(&Zeroizing::new([seed; 32])).expect("a key")
}

fn bundle(sequence: u64, settings: &str) -> PolicyBundle {
    PolicyBundle {
        issuer: "policy.example".to_owned(),
        name: "fleet".to_owned(),
        sequence,
        issued_at_s: NOW - 100,
        not_before_s: NOW - 100,
        expires_s: NOW + 100,
        settings: settings.to_owned(),
        profiles: Vec::new(),
    }
}

struct Host {
    directory: TempDir,
    root: Root,
}

// === impl Host ===

impl Host {
    /// With a key for policies that [`Host::install`] signs with.
    fn new(settings: &str) -> Self {
        let (directory, root) = scratch();
        write(&directory, paths::CONFIG, settings);
        let host = Self { directory, root };
        host.pin("policy", KeyUse::Policy, 1);
        host
    }

    fn pin(&self, name: &str, key_use: KeyUse, seed: u8) {
        let jwk = TrustedKey::new(key(seed).public_key().clone(), key_use).to_value();
        let path = format!("{}/{name}.jwk", paths::TRUST);
        write(&self.directory, &path, jwk.to_string());
    }

    fn put(&self, name: &str, token: &str) {
        let path = format!("{}/{name}.jws", paths::POLICY);
        write(&self.directory, &path, format!("{token}\n"));
    }

    fn install(&self, name: &str, bundle: &PolicyBundle) {
        self.put(name, &bundle.sign(&mut key(1)).expect("signs"));
    }

    fn load(&self) -> Result<Config, Faults> {
        load_at(&self.root, NOW)
    }

    fn sequence(&self) -> u64 {
        let config = self.load().unwrap_or_else(|faults| panic!("{faults}"));
        config.bundle.expect("a bundle").bundle.sequence
    }

    fn fault(&self) -> Refusal {
        let mut faults: Vec<Refusal> = self.load().expect_err("a fault").into_iter().collect();
        assert_eq!(faults.len(), 1, "{faults:#?}");
        faults.remove(0)
    }
}

#[test]
fn what_is_signed_wins_and_what_it_does_not_name_stays() {
    let host = Host::new(OWN_SETTINGS);
    assert_eq!(host.load().expect("valid").bundle, None);
    host.install(
        "fleet",
        &bundle(
            1,
            "mode = \"enforce\"\nnamespace = []\n[exec]\ngate = \"fresh\"\n",
        ),
    );
    let config = host.load().expect("valid");
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.node_name, "w7");
    assert!(!config.exec.allow, "said by the node alone");
    assert_eq!(config.exec.gate, crate::ExecGate::Fresh);
    assert_eq!(config.namespaces, [], "a list that is signed is whole");
    let bundle = config.bundle.expect("one");
    assert_eq!(bundle.term, Term::Valid);
    assert_eq!(bundle.to_record().sequence, 1);
    assert_eq!(bundle.newest().sha256, bundle.sha256);
}

#[test]
fn policy_missing_only_where_one_is_required() {
    let host = Host::new("[policy]\nsigned = \"required\"\n");
    assert_eq!(host.fault().code, Code::PolicyMissing);
    host.install("fleet", &bundle(1, ""));
    assert_eq!(host.sequence(), 1);
}

#[test]
fn policy_signature_invalid_stops_even_beside_a_good_one() {
    let host = Host::new("");
    host.install("good", &bundle(9, ""));
    for (seed, key_use) in [(2, None), (3, Some(KeyUse::Reference))] {
        if let Some(key_use) = key_use {
            host.pin("other", key_use, seed);
        }
        host.put("bad", &bundle(1, "").sign(&mut key(seed)).expect("signs"));
        let fault = host.fault();
        assert_eq!(fault.code, Code::PolicySignatureInvalid);
        assert!(fault.subject.contains("policy.d/bad.jws"), "{fault}");
    }
    // A token of another kind by the right key is no bundle either.
    let claims = bundle(1, "").to_claims();
    let typ = portcullis_attestation::jws::Typ::BreakGlass;
    let token = portcullis_attestation::jws::sign(typ, &claims, &mut key(1)).expect("signs");
    host.put("bad", &token);
    assert_eq!(host.fault().code, Code::PolicySignatureInvalid);
}

#[test]
fn policy_malformed_names_bundle_key_and_line() {
    let host = Host::new("");
    for token in ["", "a.b.c", "nonsense"] {
        host.put("fleet", token);
        assert_eq!(host.fault().code, Code::PolicyMalformed, "{token:?}");
    }
    for (settings, key) in [
        ("\nnode_name = \"w8\"\n", "node_name"),
        ("\npolicy.signed = \"optional\"\n", "policy"),
        ("[agent]\ntcti = \"device:/dev/null\"\n", "agent.tcti"),
        ("[remote]\nurl = \"https://a.example\"\n", "remote.url"),
    ] {
        host.install("fleet", &bundle(1, settings));
        let fault = host.fault();
        assert_eq!(fault.code, Code::PolicyMalformed);
        assert!(fault.subject.contains(key), "{fault}");
        assert!(fault.subject.contains("fleet.jws#settings:2"), "{fault}");
    }
    // What any settings file can be wrong with is said as of one.
    for (settings, code) in [
        ("\nmode = ", Code::ConfigMalformed),
        ("\nmode = \"lax\"\n", Code::ConfigMalformed),
        ("\nmood = \"lax\"\n", Code::ConfigKeyUnknown),
    ] {
        host.install("fleet", &bundle(1, settings));
        let fault = host.fault();
        assert_eq!(fault.code, code);
        assert!(fault.subject.contains("fleet.jws#settings:2"), "{fault}");
    }
}

#[test]
fn the_newest_of_those_that_count_is_in_force() {
    let host = Host::new("");
    host.install("a", &bundle(7, ""));
    host.install("b", &bundle(5, ""));
    assert_eq!(host.sequence(), 7);
    let mut next = bundle(8, "");
    next.not_before_s = NOW + 1;
    host.install("c", &next);
    assert_eq!(host.sequence(), 7, "the next one waits for its time");
    next.not_before_s = NOW;
    host.install("c", &next);
    assert_eq!(host.sequence(), 8);
    // The same by another key is the same; another of the same number is a contradiction.
    host.pin("second", KeyUse::Policy, 2);
    host.put("d", &next.sign(&mut key(2)).expect("signs"));
    assert_eq!(host.sequence(), 8);
    host.install("d", &bundle(8, "mode = \"audit\"\n"));
    assert_eq!(host.fault().code, Code::ConfigMismatch);
}

#[test]
fn policy_premature_before_and_policy_expired_after_the_grace() {
    let host = Host::new("");
    let mut bundle = bundle(1, "");
    let mut at = |not_before_s, expires_s| {
        (bundle.not_before_s, bundle.expires_s) = (not_before_s, expires_s);
        host.install("fleet", &bundle);
    };
    at(NOW + 1, NOW + 2);
    assert_eq!(host.fault().code, Code::PolicyPremature);
    at(1, NOW);
    let in_force = host.load().expect("grace").bundle.expect("one");
    assert_eq!(in_force.term, Term::Grace);
    assert_eq!(in_force.counts_until_s, NOW + GRACE_S);
    at(1, NOW - GRACE_S + 1);
    assert_eq!(host.sequence(), 1);
    at(1, NOW - GRACE_S);
    let fault = host.fault();
    assert_eq!(fault.code, Code::PolicyExpired);
    assert!(fault.found.contains("259200 s ago"), "{fault}");
    // What the node says about grace holds, not what a bundle might.
    write(&host.directory, paths::CONFIG, "policy.grace = \"0s\"\n");
    at(1, NOW);
    assert_eq!(host.fault().code, Code::PolicyExpired);
    at(1, NOW + 1);
    assert_eq!(host.sequence(), 1);
}

#[test]
fn a_profile_of_the_bundle_comes_before_that_of_the_node() {
    let host = Host::new("");
    let strict = include_str!("../../profiles/strict.toml");
    let renamed = strict.replacen("name = \"strict\"", "name = \"baseline\"", 1);
    let mut bundle = bundle(1, "");
    bundle.profiles = vec![BundledProfile {
        name: "baseline".to_owned(),
        text: renamed,
        seccomp: None,
    }];
    host.install("fleet", &bundle);
    let config = host.load().expect("valid");
    let signed = config.profile("baseline").expect("the signed one");
    let built_in = profile::profile_from(&host.root, "baseline").expect("the built-in one");
    assert_ne!(format!("{signed:?}"), format!("{built_in:?}"));

    let check = |profile: &BundledProfile| examine("f.toml", "", std::slice::from_ref(profile));
    let [profile] = bundle.profiles.as_slice() else {
        panic!("one");
    };
    check(profile).expect("fit to be signed");
    for change in [
        |it: &mut BundledProfile| it.name = "other".to_owned(),
        |it| it.name = "Upper".to_owned(),
        |it| it.text = "name = ".to_owned(),
        |it| it.seccomp = Some("[]".to_owned()),
    ] as [fn(&mut BundledProfile); 4]
    {
        let mut wrong = profile.clone();
        change(&mut wrong);
        let line = check(&wrong).expect_err("not fit").to_string();
        assert!(
            line.contains("f.toml#") || line.contains("profile-unknown"),
            "{line}"
        );
    }
}

#[test]
fn settings_are_examined_before_they_are_signed() {
    examine("fleet.toml", "[exec]\nallow = false\n", &[]).expect("fit to be signed");
    for settings in ["mode = 1\n", "node_name = \"w7\"\n", "[policy]\n", "x"] {
        examine("fleet.toml", settings, &[]).expect_err(settings);
    }
}

#[test]
fn differences_are_told_by_key() {
    let read = |text: &str| {
        let mut faults = Vec::new();
        let table = tree::parse("x", text, &mut faults).expect("TOML");
        assert_eq!(faults, []);
        table
    };
    let own = read("mode = \"audit\"\nmounts.allow = [\"/srv\"]\n[exec]\nallow = true\n");
    let signed = read(
        "mode = \"audit\"\nmounts.allow = [\"/opt\", \"/srv\"]\n[[namespace]]\nname = \"a\"\n\
         [exec]\nallow = false\n[profile]\ndefault = \"strict\"\n",
    );
    let mut found = Vec::new();
    compare("", &own, &signed, &mut found);
    let found: Vec<(&str, Option<&str>, &str)> = found
        .iter()
        .map(|it| (it.key.as_str(), it.own.as_deref(), it.signed.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("exec.allow", Some("true"), "false"),
            ("mounts.allow", Some("['/srv']"), "['/opt', '/srv']"),
            ("namespace", None, "1 of [[…]]"),
            ("profile.default", None, "'strict'"),
        ]
    );
    // An address that may hold a secret is repeated nowhere.
    let signed = read("[agent]\non_drift_webhook = \"https://a.example/s3cret\"\n");
    let mut found = Vec::new();
    compare("", &Table::new(), &signed, &mut found);
    assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    assert_eq!(found.len(), 1);
}
