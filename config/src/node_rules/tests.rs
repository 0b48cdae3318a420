//! Each rule by itself, and how the tables of namespaces tighten them.

use portcullis_gate::Kind;

use super::*;
use crate::Config;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn config(text: &str) -> Config {
    crate::parse("portcullis.toml", text, "w7").expect("settings")
}

fn rules(text: &str, namespace: &str) -> NodeRules {
    config(text).effective(namespace).node_rules
}

fn codes(refusals: &[Refusal]) -> Vec<Code> {
    refusals.iter().map(|refusal| refusal.code).collect()
}

fn named(name: &str) -> ImageName {
    ImageName::Named(name.to_owned())
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn without_settings_nothing_is_asked() {
    let rules = rules("", "shop");
    assert_eq!(rules, NodeRules::default());
    assert!(rules.image.refusals(&ImageName::Unknown).is_empty());
    assert!(!rules.sensitivity.is_on());
    assert!(!rules.versions.asks_runtime() && !rules.versions.asks_kernel());
    assert!(rules.versions.runtime_refusals(Err("x")).is_empty());
    assert_eq!(rules.versions.kernel_refusals("?"), None);
}

#[test]
fn an_image_is_named_by_its_digest_and_comes_from_an_approved_registry() {
    let text = "[image]\ndigest_only = true\nregistries = [\"registry.example/prod/*\"]\n";
    let image = rules(text, "shop").image;
    let good = format!("registry.example/prod/app@sha256:{HEX}");
    let id = format!("sha256:{HEX}");
    let elsewhere = format!("registry.example.evil/prod/app@sha256:{HEX}");
    for (name, expected) in [
        (named(&good), vec![]),
        (ImageName::Sandbox, vec![]),
        (
            named("registry.example/prod/app:v1"),
            vec![Code::ImageDigestMissing],
        ),
        (named(&elsewhere), vec![Code::ImageRegistryDenied]),
        (
            named("nginx"),
            vec![Code::ImageDigestMissing, Code::ImageRegistryDenied],
        ),
        (
            ImageName::Unknown,
            vec![Code::ImageUnknown, Code::ImageUnknown],
        ),
        (named(&id), vec![Code::ImageUnknown, Code::ImageUnknown]),
        (named(""), vec![Code::ImageUnknown, Code::ImageUnknown]),
    ] {
        let refusals = image.refusals(&name);
        assert_eq!(codes(&refusals), expected, "{name:?}");
        assert!(refusals.iter().all(|refusal| refusal.rule.is_some()));
    }
}

#[test]
fn namespaces_only_tighten_what_is_asked_of_images() {
    let text = "[image]\nregistries = [\"registry.example/**\"]\n\
                [[namespace]]\nname = \"shop-*\"\ndigest_only = true\n\
                registries = [\"registry.example/shop/*\"]\n\
                [[namespace]]\nname = \"*-eu\"\ndigest_only = false\n\
                registries = [\"mirror.example/**\", \"*.mirror.example/**\"]\n\
                [[namespace]]\nname = \"any\"\nregistries = []\n";
    let by_tag = named("registry.example/other/app:v1");
    assert!(rules(text, "other").image.refusals(&by_tag).is_empty());
    assert!(rules(text, "any").image.refusals(&by_tag).is_empty());
    let inside = named(&format!("registry.example/shop/app@sha256:{HEX}"));
    assert_eq!(
        codes(&rules(text, "shop-eu").image.refusals(&inside)),
        [Code::ImageRegistryDenied],
        "every list has to cover it"
    );
    assert!(rules(text, "shop-us").image.refusals(&inside).is_empty());
    assert_eq!(
        codes(&rules(text, "shop-us").image.refusals(&by_tag)),
        [Code::ImageDigestMissing, Code::ImageRegistryDenied]
    );
}

#[test]
fn levels_of_host_and_workload_are_the_same() {
    let text = "[sensitivity]\ntag = \"level\"\n\
                [[namespace]]\nname = \"pay-*\"\nsensitivity = \"pci\"\n\
                [[namespace]]\nname = \"*-eu\"\nsensitivity = \"gdpr\"\n\
                [[namespace]]\nname = \"*-x\"\nsensitivity = \"pci\"\n";
    let pci = tags(&[("level", "pci")]);
    let none = tags(&[("other", "pci")]);
    for (namespace, tags, expected) in [
        ("pay-us", Some(&pci), vec![]),
        ("pay-x", Some(&pci), vec![]),
        ("web-eu", Some(&pci), vec![Code::SensitivityMismatch]),
        ("web", Some(&pci), vec![Code::SensitivityUnknown]),
        ("pay-eu", Some(&pci), vec![Code::SensitivityUnknown]),
        ("pay-us", Some(&none), vec![Code::SensitivityUnknown]),
        // Where the host's own refusal was waived.
        ("web", None, vec![Code::SensitivityUnknown]),
        ("pay-us", None, vec![Code::SensitivityUnknown]),
    ] {
        let rules = rules(text, namespace).sensitivity;
        // What an earlier setting has pinned does not count any more.
        let host = HostLevels {
            tags,
            pinned: Some("gdpr"),
        };
        assert_eq!(codes(&rules.refusals(host)), expected, "{namespace}");
        assert_eq!(rules.to_pin(host), None);
    }
    let by_default = "[sensitivity]\ntag = \"level\"\ndefault = \"pci\"\n";
    let host = HostLevels {
        tags: Some(&pci),
        pinned: None,
    };
    assert!(
        rules(by_default, "web")
            .sensitivity
            .refusals(host)
            .is_empty()
    );
}

#[test]
fn a_host_without_a_level_takes_that_of_its_first_workload() {
    let text = "[sensitivity]\ntag = \"level\"\npin = true\n\
                [[namespace]]\nname = \"pay\"\nsensitivity = \"pci\"\n";
    let pay = rules(text, "pay").sensitivity;
    let bare = tags(&[("country", "DE")]);
    let public = tags(&[("level", "public")]);
    let on = |tags, pinned| HostLevels {
        tags: Some(tags),
        pinned,
    };
    assert!(pay.refusals(on(&bare, None)).is_empty());
    assert_eq!(pay.to_pin(on(&bare, None)), Some("pci"));
    assert!(pay.refusals(on(&bare, Some("pci"))).is_empty());
    assert_eq!(pay.to_pin(on(&bare, Some("pci"))), Some("pci"));
    let refusals = pay.refusals(on(&bare, Some("public")));
    assert_eq!(codes(&refusals), [Code::SensitivityMismatch]);
    // The signed tag decides, and what is pinned beside it must be the same.
    let refusals = pay.refusals(on(&public, None));
    assert_eq!(codes(&refusals), [Code::SensitivityMismatch]);
    assert_eq!(pay.to_pin(on(&public, None)), None);
    let tagged = tags(&[("level", "pci")]);
    assert_eq!(pay.to_pin(on(&tagged, None)), None);
    let refusals = pay.refusals(on(&tagged, Some("public")));
    assert_eq!(codes(&refusals), [Code::SensitivityMismatch]);
    // Without a verdict nobody knows the tag, but what was pinned is known.
    let unproven = |pinned| HostLevels { tags: None, pinned };
    let refusals = pay.refusals(unproven(None));
    assert_eq!(codes(&refusals), [Code::SensitivityUnknown]);
    assert_eq!(pay.to_pin(unproven(None)), None);
    let refusals = pay.refusals(unproven(Some("public")));
    assert_eq!(codes(&refusals), [Code::SensitivityMismatch]);
    assert!(pay.refusals(unproven(Some("pci"))).is_empty());
    assert_eq!(pay.to_pin(unproven(Some("pci"))), Some("pci"));
    let untagged = "[sensitivity]\ndefault = \"pci\"\npin = true\n";
    let untagged = rules(untagged, "pay").sensitivity;
    assert!(untagged.refusals(unproven(None)).is_empty());
    assert_eq!(untagged.to_pin(unproven(None)), Some("pci"));
    // Without a level of its own it pins nothing.
    let web = rules(text, "web").sensitivity;
    assert_eq!(
        codes(&web.refusals(on(&bare, None))),
        [Code::SensitivityUnknown]
    );
    assert_eq!(web.to_pin(on(&bare, None)), None);
}

fn runtime(said: &str) -> RuntimeVersion {
    RuntimeVersion::parse(said).expect(said)
}

#[test]
fn a_runtime_is_new_enough_and_not_denied() {
    let text = "[versions]\nrunc = \"1.1.5\"\nlibseccomp = \"2.5.4\"\n\
                deny = [\"runc 1.1.11\", \"libseccomp 2.6.0\"]\n";
    let versions = rules(text, "shop").versions;
    assert!(versions.asks_runtime() && !versions.asks_kernel());
    let denied = Code::RuntimeVersionDenied;
    for (said, expected) in [
        ("runc version 1.1.5+ds1\nlibseccomp: 2.5.4", vec![]),
        ("runc version 1.1.5-rc.1\nlibseccomp: 2.5.4", vec![denied]),
        (
            "runc version 1.1.4\nlibseccomp: 2.5.3",
            vec![denied, denied],
        ),
        (
            "runc version 1.1.11+ds1\nlibseccomp: 2.6.0",
            vec![denied, denied],
        ),
        ("runc version 1.1.12\nlibseccomp: 2.6.1", vec![]),
        ("runc version 1.1.12", vec![Code::VersionUnknown]),
        // Not a way round the rule about runc.
        ("crun version 1.30\nlibseccomp: 2.6.1", vec![denied]),
        ("youki version 0.5.0\nlibseccomp: 2.6.1", vec![denied]),
    ] {
        let refusals = versions.runtime_refusals(Ok(&runtime(said)));
        assert_eq!(codes(&refusals), expected, "{said}");
        let rules = refusals.iter().map(|refusal| refusal.rule);
        assert!(rules.into_iter().all(|it| it == Some(Rule::RuntimeVersion)));
    }
    let mute = versions.runtime_refusals(Err("no answer"));
    assert_eq!(codes(&mute), [Code::VersionUnknown]);
    assert_eq!(mute[0].kind(), Kind::Undecided);
}

#[test]
fn a_deny_list_alone_denies_what_it_names() {
    let versions = rules(
        "[versions]\ndeny = [\"crun 1.8\", \"kernel 6.1.0-28\"]\n",
        "a",
    )
    .versions;
    let crun = runtime("crun version 1.8.0");
    assert_eq!(
        codes(&versions.runtime_refusals(Ok(&crun))),
        [Code::RuntimeVersionDenied]
    );
    for said in [
        "runc version 1.8",
        "youki version 0.5.0",
        "crun version 1.8.1",
    ] {
        assert!(versions.runtime_refusals(Ok(&runtime(said))).is_empty());
    }
    let kernel = versions.kernel_refusals("6.1.0-28-amd64").expect("denied");
    assert_eq!(kernel.code, Code::KernelVersionDenied);
    assert_eq!(versions.kernel_refusals("6.1.0-29-amd64"), None);
}

#[test]
fn a_kernel_is_new_enough() {
    let versions = rules("[versions]\nkernel = \"6.1.0-28\"\n", "a").versions;
    assert!(versions.asks_kernel() && !versions.asks_runtime());
    for (release, expected) in [
        ("6.1.0-28-amd64", None),
        ("6.12.0", None),
        ("6.1.0-27-amd64", Some(Code::KernelVersionDenied)),
        ("5.15.0-101-generic", Some(Code::KernelVersionDenied)),
        ("unknown", Some(Code::VersionUnknown)),
        ("", Some(Code::VersionUnknown)),
    ] {
        let code = versions.kernel_refusals(release).map(|it| it.code);
        assert_eq!(code, expected, "{release}");
    }
}

#[test]
fn all_that_is_against_a_workload_is_told_together() {
    let text = "[image]\ndigest_only = true\n[sensitivity]\ntag = \"level\"\n\
                [versions]\nkernel = \"99.0\"\nrunc = \"99.0\"\n";
    let bare = tags(&[]);
    let workload = Workload {
        image: &ImageName::Unknown,
        host: HostLevels {
            tags: Some(&bare),
            pinned: None,
        },
        kernel: None,
        runtime: Err("nobody asked"),
    };
    let refusals = rules(text, "shop").refusals(&workload);
    let unknown = [
        Code::ImageUnknown,
        Code::SensitivityUnknown,
        Code::VersionUnknown,
        Code::VersionUnknown,
    ];
    assert_eq!(
        codes(&refusals),
        unknown,
        "what is not known permits nothing"
    );
    let named = [
        Some(Rule::ImageDigest),
        Some(Rule::Sensitivity),
        Some(Rule::KernelVersion),
        Some(Rule::RuntimeVersion),
    ];
    let rules = refusals.iter().map(|refusal| refusal.rule);
    assert_eq!(rules.collect::<Vec<_>>(), named);
}

#[test]
fn a_rule_in_audit_stops_nothing_and_has_no_level_taken() {
    let text = "[image]\ndigest_only = true\n[versions]\nkernel = \"99.0\"\nrunc = \"99.0\"\n\
                [sensitivity]\npin = true\ndefault = \"pci\"\n";
    let rules = rules(text, "shop");
    let bare = tags(&[]);
    let workload = Workload {
        image: &named("nginx"),
        host: HostLevels {
            tags: Some(&bare),
            pinned: None,
        },
        kernel: Some("6.1.0"),
        runtime: Err(""),
    };
    let enforced = rules.judge(&workload, &RuleModes::enforced());
    assert_eq!(enforced.standing.expect("reasons").count(), 3);
    assert_eq!(enforced.level.as_deref(), Some("pci"));
    let all = Wants {
        pin: true,
        kernel: true,
        runtime: Asked::Once,
    };
    assert_eq!(rules.wants(&RuleModes::enforced()), all);
    let mut modes = RuleModes::enforced();
    for (rule, mode) in [
        (Rule::ImageDigest, RuleMode::Audit),
        (Rule::Sensitivity, RuleMode::Audit),
        (Rule::KernelVersion, RuleMode::Audit),
        (Rule::RuntimeVersion, RuleMode::Off),
    ] {
        modes.set(rule, mode);
    }
    let judged = rules.judge(&workload, &modes);
    assert_eq!(judged.standing, None);
    let found = [Code::ImageDigestMissing, Code::KernelVersionDenied];
    assert_eq!(codes(&judged.audited), found);
    assert_eq!(judged.level, None);
    let wants = rules.wants(&modes);
    assert!(wants.runtime == Asked::Never && wants.kernel);
}

#[test]
fn the_level_that_was_decided_on_is_the_one_that_the_host_holds() {
    verify_held("pci", Some("pci")).expect("the same");
    for held in [Some("public"), None] {
        let refusal = verify_held("pci", held).expect_err("another");
        assert_eq!(refusal.code, Code::SensitivityMismatch);
        assert_eq!(refusal.rule, Some(Rule::Sensitivity));
    }
}

#[test]
fn settings_that_cannot_be_meant_are_faults() {
    for text in [
        "[image]\nregistries = [\"nginx\"]\n",
        "[image]\nregistries = [\"registry.*/x\"]\n",
        "[image]\ndigest_only = \"yes\"\n",
        "[[namespace]]\nname = \"a\"\nregistries = [\"*\"]\n",
        "[[namespace]]\nname = \"a\"\nsensitivity = \"a b\"\n",
        "[sensitivity]\ndefault = \"-\"\n",
        "[sensitivity]\ntag = \"a b\"\n",
        "[sensitivity]\npin = 1\n",
        "[versions]\nkernel = \"6\"\n",
        "[versions]\nrunc = \"new\"\n",
        "[versions]\ndeny = [\"runc\"]\n",
        "[versions]\ndeny = [\"docker 20.10\"]\n",
        "[versions]\nyouki = \"0.5\"\n",
    ] {
        assert!(
            crate::parse("portcullis.toml", text, "w7").is_err(),
            "{text}"
        );
    }
}
