use super::*;
use crate::harden::tests::{BASELINE, RESTRICTED, SECCOMP, STRICT};

fn error(text: &str) -> String {
    Profile::parse(text, SECCOMP).unwrap_err().to_string()
}

#[test]
fn the_shipped_profiles_are_read() {
    for (text, name, calls) in [
        (BASELINE, "baseline", 303),
        (RESTRICTED, "restricted", 291),
        (STRICT, "strict", 291),
    ] {
        let profile = Profile::parse(text, SECCOMP).unwrap();
        assert_eq!(profile.name(), name);
        assert_eq!(profile.pod_security_version(), "1.37");
        assert_eq!(profile.allowed_calls(), calls, "{name}");
        assert!(
            profile
                .relaxations()
                .all(|(_, summary)| !summary.is_empty())
        );
    }
}

#[test]
fn relaxations_are_named_in_every_profile_alike() {
    let names = |text| {
        let profile = Profile::parse(text, SECCOMP).unwrap();
        profile
            .relaxations()
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(RESTRICTED), names(BASELINE));
    assert_eq!(names(RESTRICTED), names(STRICT));
    assert!(names(RESTRICTED).contains(&"tmp-exec".to_owned()));
}

#[test]
fn a_fault_of_a_profile_is_one_line_and_names_the_place() {
    let unknown = error(&RESTRICTED.replace("\nread_only = true", "\nreadonly = true"));
    assert!(
        unknown.contains("unknown field `readonly`") && unknown.contains("line "),
        "{unknown}"
    );
    assert!(!unknown.contains('\n'));
    let capability = error(&RESTRICTED.replace("\"CAP_CHOWN\"", "\"CAP_CHWON\""));
    assert!(
        capability.contains("unknown capability 'CAP_CHWON'"),
        "{capability}"
    );
    let device = error(&RESTRICTED.replace("\"c 1:3 rw\"", "\"c 1:3\""));
    assert!(device.contains("expected a device like"), "{device}");
    let namespace = error(&RESTRICTED.replace("[\"cgroup\"]", "[\"group\"]"));
    assert!(
        namespace.contains("unknown namespace 'group'"),
        "{namespace}"
    );
}

#[test]
fn another_version_and_contradictions_are_refused() {
    let version = error(&RESTRICTED.replace("\nversion = 1", "\nversion = 2"));
    assert_eq!(version, "cannot read profile of version 2, expected 1");
    let both = error(&RESTRICTED.replace("keep = []", "keep = [\"CAP_CHOWN\"]"));
    assert!(
        both.contains("capabilities.keep= contradicts capabilities.strip="),
        "{both}"
    );
    let steering = error(&RESTRICTED.replace("\"nerdctl/\"", "\"run.oci.handler\""));
    assert!(
        steering.contains("annotations.allow= contradicts annotations.refuse="),
        "{steering}"
    );
    let broken = Profile::parse(RESTRICTED, "{").unwrap_err().to_string();
    assert_eq!(broken, "cannot read seccomp list");
}

#[test]
fn devices_are_covered_by_number() {
    let rule = DeviceRule::try_from("c 136:* rw".to_owned()).unwrap();
    assert!(rule.covers("c", Some(136), Some(7)) && rule.covers("c", Some(136), None));
    assert!(!rule.covers("b", Some(136), Some(7)) && !rule.covers("c", Some(5), Some(7)));
    let one = DeviceRule::try_from("c 1:3 rw".to_owned()).unwrap();
    assert!(!one.covers("c", Some(1), None) && !one.covers("c", None, None));
}

#[test]
fn an_annotation_is_allowed_by_its_name_or_by_a_prefix_that_ends_like_one() {
    let shipped = [BASELINE, RESTRICTED, STRICT].map(|text| Profile::parse(text, SECCOMP).unwrap());
    let [baseline, restricted, strict] = shipped.each_ref().map(|it| &it.rules().annotations);
    for others in [baseline, strict] {
        assert_eq!(others.allow, restricted.allow);
        assert_eq!(others.refuse, restricted.refuse);
    }
    let rules = restricted;
    for key in [
        "portcullis.dev/require-tags",
        "io.kubernetes.cri.sandbox-id",
        "io.containerd.runc.v2.group",
        "io.container.manager",
        "nerdctl/namespace",
    ] {
        assert!(rules.allows(key) && rules.refusing(key).is_none(), "{key}");
    }
    for key in [
        "portcullis.dev",
        "io.kubernetes.cri-o.userns-mode",
        "io.containerd.runc.v2.groups",
        "io.container.manager.x",
        "nerdctl",
        "",
    ] {
        assert!(!rules.allows(key), "{key}");
    }
}

#[test]
fn a_profile_says_which_rules_it_applies() {
    use portcullis_gate::Rule;

    let applied = |text: &str, rule| Profile::parse(text, SECCOMP).unwrap().applies(rule);
    for (rule, baseline, strict) in [
        (Rule::NonRoot, false, true),
        (Rule::UserNamespace, false, true),
        (Rule::MemoryLimit, false, true),
        (Rule::Terminal, false, true),
        (Rule::Devices, true, true),
    ] {
        assert_eq!(applied(BASELINE, rule), baseline, "{rule}");
        assert_eq!(applied(STRICT, rule), strict, "{rule}");
    }
}
