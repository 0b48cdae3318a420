use portcullis_gate::Code;

use super::{Config, namespace_of};
use crate::load::parse;

const IMAGE: &str = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";

fn config() -> Config {
    let text = format!(
        r#"
        [asset_tag]
        require = "country=DE"
        [[namespace]]
        name = "payments-*"
        require_tags = "pool=pci"
        profile = "strict"
        [[namespace]]
        name = "*-eu"
        require_tags = "region=eu"
        profile = "baseline"
        [[relaxation]]
        name = "tmp-exec"
        namespace = "legacy"
        image = "{IMAGE}"
        expires = "2028-02-29"
        reason = "JNI"
        "#
    );
    parse("node.toml", &text, "w").unwrap_or_else(|faults| panic!("{faults}"))
}

fn demands(config: &Config, namespace: &str) -> Vec<String> {
    let policy = config.effective(namespace).policy;
    policy
        .namespace_require_tags
        .iter()
        .map(|demand| format!("{}: {}", demand.pattern, demand.requirement))
        .collect()
}

#[test]
fn every_matching_namespace_policy_applies_beside_the_nodes_own() {
    let config = config();
    assert_eq!(
        demands(&config, "payments-eu"),
        ["payments-*: pool=pci", "*-eu: region=eu"]
    );
    assert_eq!(demands(&config, "shop-eu"), ["*-eu: region=eu"]);
    assert!(demands(&config, "shop").is_empty());
    assert_eq!(
        config.effective("shop").policy.require_tags.to_string(),
        "country=DE"
    );
}

#[test]
fn a_namespace_enforces_what_the_node_has_loosened_and_loosens_nothing() {
    let text = r#"
        [rules]
        non-root = "audit"
        seccomp = "off"
        [[namespace]]
        name = "shop-*"
        rules = { non-root = "enforce", seccomp = "audit", capabilities = "off" }
        [[namespace]]
        name = "*-eu"
        rules = { non-root = "off", seccomp = "enforce" }
        "#;
    let config = parse("node.toml", text, "w").unwrap_or_else(|faults| panic!("{faults}"));
    let loosened = |namespace: &str| {
        let modes = config.effective(namespace).modes;
        let words = modes
            .loosened()
            .map(|(rule, mode)| format!("{rule}={}", mode.as_str()));
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(loosened("other"), "non-root=audit seccomp=off");
    assert_eq!(loosened("shop-us"), "seccomp=audit");
    assert_eq!(loosened("shop-eu"), "");
    assert_eq!(loosened("bar-eu"), "non-root=audit");
}

#[test]
fn the_stricter_profile_wins_whoever_names_it() {
    let config = config();
    assert_eq!(config.effective("payments-eu").profile, "strict");
    assert_eq!(
        config.effective("shop-eu").profile,
        "restricted",
        "a policy cannot loosen"
    );
    assert_eq!(config.effective("shop").profile, "restricted");

    let mut effective = config.effective("shop");
    effective.tighten_profile("baseline").expect("known");
    assert_eq!(effective.profile, "restricted", "a pod cannot loosen");
    effective.tighten_profile("strict").expect("known");
    assert_eq!(effective.profile, "strict");
    let refusal = effective.tighten_profile("none").expect_err("unknown");
    assert_eq!(refusal.code, Code::ProfileUnknown);
    assert_eq!(effective.profile, "strict");
}

#[test]
fn a_relaxation_is_for_one_namespace_one_image_and_a_time() {
    let config = config();
    let names = |namespace: &str, image: &str, now: u64| -> Vec<String> {
        let effective = config.effective(namespace);
        effective
            .relaxations_for(image, now)
            .map(str::to_owned)
            .collect()
    };
    let (last, over) = (1_835_481_599, 1_835_481_600);
    assert_eq!(names("legacy", IMAGE, last), ["tmp-exec"]);
    assert!(names("legacy", IMAGE, over).is_empty());
    assert!(names("legacy-2", IMAGE, last).is_empty());
    assert!(names("legacy", &IMAGE.replace('6', "7"), last).is_empty());
    assert_eq!(config.expired_relaxations(last).count(), 0);
    assert_eq!(config.expired_relaxations(over).count(), 1);
}

#[test]
fn the_annotation_of_the_pod_counts_only_under_kubernetes() {
    let claim = |key: &str| (key == "io.kubernetes.cri.sandbox-namespace").then_some("payments");
    assert_eq!(namespace_of("k8s.io", claim), "payments");
    assert_eq!(namespace_of("default", claim), "default");
    assert_eq!(namespace_of("k8s.io", |_| None), "k8s.io");
}

#[test]
fn a_bare_runtime_name_is_looked_up_in_fixed_directories() {
    let config = config();
    assert_eq!(config.runtime.candidates()[2], "/usr/sbin/runc");
    let absolute = parse("node.toml", "[runtime]\nbinary = \"/opt/crun\"", "w").expect("valid");
    assert_eq!(absolute.runtime.candidates(), ["/opt/crun"]);
}
