//! Rules that are not enforced.

use portcullis_gate::{Rule, RuleMode, RuleModes};

use super::*;

fn with(rule: Rule, mode: RuleMode) -> Concessions {
    Concessions {
        modes: RuleModes::from_iter([(rule, mode)]),
        ..Concessions::none()
    }
}

#[test]
fn every_edit_and_refusal_about_a_workload_names_its_rule() {
    let hardened = hardened(&edited(CTR, |_| {}), &profile(RESTRICTED));
    for change in &hardened.changes {
        assert!(change.rule.is_some(), "{change:?}");
    }
    let root = edited(CTR, |config| config["process"]["user"] = json!({"uid": 0}));
    let refusals = refused(&root, &profile(RESTRICTED));
    assert_eq!(refusals.first().rule, Some(Rule::NonRoot));
}

#[test]
fn a_rule_in_audit_changes_nothing_and_says_what_it_would_have_done() {
    let config = edited(CTR, |config| config["process"]["user"] = json!({"uid": 0}));
    let restricted = profile(RESTRICTED);
    let hardened = hardened_with(&config, &restricted, &with(Rule::NonRoot, RuleMode::Audit));
    let [refusal] = hardened.audited.refusals.as_slice() else {
        panic!("{:?}", hardened.audited);
    };
    assert_eq!(refusal.rule, Some(Rule::NonRoot));
    assert!(
        hardened.baseline.root_permitted,
        "the process itself is root"
    );

    let concessions = with(Rule::ReadOnlyRoot, RuleMode::Audit);
    let hardened = hardened_with(&edited(CTR, |_| {}), &restricted, &concessions);
    let of_rule = |change: &Change| change.rule == Some(Rule::ReadOnlyRoot);
    assert!(!hardened.changes.iter().any(of_rule));
    assert!(hardened.audited.changes.iter().all(of_rule));
    assert!(hardened.audited.changes.len() >= 2, "root and its tmpfs");
    let tree = tree(&hardened);
    assert_ne!(tree["root"]["readonly"], json!(true));
}

#[test]
fn a_rule_that_is_off_is_not_looked_at_and_all_others_are() {
    let config = edited(CTR, |config| config["process"]["user"] = json!({"uid": 0}));
    let restricted = profile(RESTRICTED);
    let hardened = hardened_with(&config, &restricted, &with(Rule::NonRoot, RuleMode::Off));
    assert_eq!(hardened.audited, Audited::default());
    assert!(
        hardened
            .changes
            .iter()
            .any(|it| it.rule == Some(Rule::Capabilities))
    );
}

/// As for a container that started by a token: its own rights stay, others are not to be had.
#[test]
fn bounds_under_stricter_modes_hold_what_the_container_has() {
    let config = edited(CTR, |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_PTRACE"]);
        }
    });
    let concessions = with(Rule::Capabilities, RuleMode::Audit);
    let mut baseline = hardened_with(&config, &profile(RESTRICTED), &concessions).baseline;
    baseline.modes = RuleModes::enforced();
    let exec = |name: &str| {
        let spec = json!({
            "cwd": "/", "args": ["sh"], "user": {"uid": 1000},
            "capabilities": {"bounding": [name], "effective": [name], "permitted": [name]},
        });
        crate::clamp_exec(spec.to_string().as_bytes(), &baseline)
    };
    let own = exec("CAP_SYS_PTRACE").unwrap().process;
    assert_eq!(own["capabilities"]["effective"], json!(["CAP_SYS_PTRACE"]));
    let refusals = exec("CAP_SYS_ADMIN").unwrap_err();
    assert_eq!(refusals.first().rule, Some(Rule::Capabilities));
}

#[test]
fn an_exec_is_under_the_modes_that_its_container_was_created_under() {
    let restricted = profile(RESTRICTED);
    let exec = br#"{"cwd": "/", "args": ["sh"], "user": {"uid": 0}}"#;
    let enforced = hardened(&edited(CTR, |_| {}), &restricted).baseline;
    let refusals = crate::clamp_exec(exec, &enforced).unwrap_err();
    assert_eq!(refusals.first().rule, Some(Rule::NonRoot));
    let concessions = with(Rule::NonRoot, RuleMode::Audit);
    let audited = hardened_with(&edited(CTR, |_| {}), &restricted, &concessions).baseline;
    let clamped = crate::clamp_exec(exec, &audited).unwrap();
    assert_eq!(clamped.audited.refusals[0].rule, Some(Rule::NonRoot));
}

#[test]
fn an_update_is_under_the_modes_that_its_container_was_created_under() {
    let restricted = profile(RESTRICTED);
    let limited = edited(CTR, |config| {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({"limit": 1 << 20});
        resources["pids"] = json!({"limit": 8});
        resources["cpu"] = json!({"quota": 1000, "period": 100_000, "cpus": "0"});
    });
    for (rule, update) in [
        (Rule::MemoryLimit, r#"{"memory": {"limit": -1}}"#),
        (Rule::PidsLimit, r#"{"pids": {"limit": 9}}"#),
        (
            Rule::CpuLimit,
            r#"{"cpu": {"quota": 2000, "period": 100000}}"#,
        ),
        (Rule::CgroupSettings, r#"{"cpu": {"cpus": "0-1"}}"#),
        (
            Rule::CgroupSettings,
            r#"{"unified": {"cgroup.freeze": "1"}}"#,
        ),
        (
            Rule::CgroupSettings,
            r#"{"memory": {"disableOOMKiller": true}}"#,
        ),
        (Rule::CgroupSettings, r#"{"memory": {"reservation": 1}}"#),
        (Rule::Scheduling, r#"{"cpu": {"realtimeRuntime": 1}}"#),
    ] {
        let enforced = hardened(&limited, &restricted).baseline;
        let refusals = crate::clamp_update(update.as_bytes(), &enforced).unwrap_err();
        assert_eq!(refusals.first().rule, Some(rule), "{update}");
        let loosened = |mode| hardened_with(&limited, &restricted, &with(rule, mode)).baseline;
        let audited = crate::clamp_update(update.as_bytes(), &loosened(RuleMode::Audit)).unwrap();
        assert_eq!(audited.changes, [], "{update}");
        assert_eq!(audited.audited.refusals[0].rule, Some(rule), "{update}");
        let off = crate::clamp_update(update.as_bytes(), &loosened(RuleMode::Off)).unwrap();
        assert_eq!((off.changes, off.audited), (Vec::new(), Audited::default()));
    }
}

#[test]
fn no_mode_lets_a_container_mount_on_the_host() {
    let restricted = profile(RESTRICTED);
    let without = |kind: &str| {
        edited(CTR, |config| {
            let all = config["linux"]["namespaces"].as_array_mut().unwrap();
            all.retain(|namespace| namespace["type"] != kind);
        })
    };
    for mode in RuleMode::ALL {
        let concessions = with(Rule::HostNamespaces, mode);
        let config = parse(&without("mount"));
        let refusals = harden(config.clone(), &restricted, &facts(&config), &concessions);
        let refusals = refusals.unwrap_err();
        assert_eq!(refusals.iter().count(), 1, "{mode:?}");
        assert_eq!(refusals.first().rule, Some(Rule::HostNamespaces));
        let config = parse(&without("pid"));
        let judged = harden(config.clone(), &restricted, &facts(&config), &concessions);
        assert_eq!(judged.is_err(), mode == RuleMode::Enforce, "{mode:?}");
    }
}
