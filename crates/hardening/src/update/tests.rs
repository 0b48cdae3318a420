use serde_json::json;

use super::*;
use crate::harden::tests::{CTR, RESTRICTED, edited, hardened, profile};

/// A container with 128 MiB, half a processor and 1024 processes.
fn baseline() -> Baseline {
    let config = edited(CTR, |config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 134_217_728_i64});
        config["linux"]["resources"]["cpu"] = json!({"quota": 50_000, "period": 100_000});
        config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 8}]);
    });
    hardened(&config, &profile(RESTRICTED)).baseline
}

fn update(resources: &Value) -> Result<Value, &'static str> {
    clamp_update(resources.to_string().as_bytes(), &baseline())
        .map(|it| Value::Object(it.resources))
        .map_err(|refusals| refusals.first().code.as_str())
}

#[test]
fn tightening_and_standing_still_pass() {
    for resources in [
        json!({}),
        json!({"memory": {"limit": 134_217_728_i64}}),
        json!({"memory": {"limit": 1}, "pids": {"limit": 1}}),
        json!({"pids": {"limit": 1024}}),
        json!({"cpu": {"quota": 50_000, "period": 100_000}}),
        json!({"cpu": {"quota": 100_000, "period": 200_000, "shares": 2, "cpus": "0"}}),
        json!({"cpu": {"shares": 2}}),
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 8}, {"pageSize": "1GB", "limit": 9}]}),
        json!({"unified": {"memory.high": "1", "memory.swap.max": "max"}}),
        json!({"memory": {"swap": -1}}),
    ] {
        assert_eq!(update(&resources), Ok(resources));
    }
}

#[test]
fn quota_and_period_are_written_together() {
    for (asked, quota, period) in [
        (json!({"quota": 25_000}), 25_000, 100_000),
        (json!({"quota": 25_000, "period": 0}), 25_000, 100_000),
        (json!({"period": 1_000_000}), 50_000, 1_000_000),
        (json!({"period": 1_000_000, "quota": 0}), 50_000, 1_000_000),
    ] {
        let written = json!({"cpu": {"quota": quota, "period": period}});
        assert_eq!(update(&json!({ "cpu": asked })), Ok(written.clone()));
        assert_eq!(update(&written), Ok(written));
    }
}

/// A runtime that keeps what an update leaves out, as runc and crun do.
#[test]
fn no_sequence_of_updates_lifts_the_ceiling_of_processor_time() {
    let mut kept = (50_000, 100_000);
    for asked in [
        json!({"period": 1_000_000, "quota": 500_000}),
        json!({"period": 100_000}),
        json!({"period": 1_000_000}),
        json!({"quota": 500_000}),
        json!({"period": 50_000, "quota": 25_000}),
        json!({"quota": 50_000}),
    ] {
        if let Ok(written) = update(&json!({ "cpu": asked })) {
            kept.0 = written["cpu"]["quota"].as_i64().unwrap_or(kept.0);
            kept.1 = written["cpu"]["period"].as_i64().unwrap_or(kept.1);
        }
        assert!(
            kept.0 * 100_000 <= 50_000 * kept.1,
            "{kept:?} after {asked}"
        );
    }
}

#[test]
fn loosening_is_denied() {
    for resources in [
        json!({"memory": {"limit": 134_217_729_i64}}),
        json!({"memory": {"limit": -1}}),
        json!({"pids": {"limit": 1025}}),
        json!({"pids": {"limit": -1}}),
        json!({"cpu": {"quota": -1}}),
        json!({"cpu": {"quota": 50_001}}),
        json!({"cpu": {"period": 99_999}}),
        json!({"cpu": {"realtimeRuntime": 1}}),
        json!({"memory": {"disableOOMKiller": true}}),
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 9}]}),
        json!({"unified": {"memory.max": "1"}}),
        json!({"unified": {"pids.max": "max"}}),
    ] {
        assert_eq!(update(&resources), Err("update-denied"), "{resources}");
    }
}

#[test]
fn a_limit_of_swap_cannot_be_passed_by_its_other_name() {
    let mut baseline = baseline();
    baseline.ceilings.swap_bytes = Some(1);
    let resources = br#"{"unified": {"memory.swap.max": "max"}}"#;
    let refusals = clamp_update(resources, &baseline).unwrap_err();
    assert_eq!(refusals.first().code.as_str(), "update-denied");
}

/// A container on two processors, with memory kept for it and with limits by file.
fn placed() -> Baseline {
    let config = edited(CTR, |config| {
        let resources = &mut config["linux"]["resources"];
        resources["cpu"] = json!({"quota": 50_000, "burst": 1000, "cpus": "0-1", "mems": "0"});
        resources["unified"] = json!({
            "memory.min": "4096", "memory.low": "8192", "memory.high": "65536",
            "memory.swap.max": "1024",
        });
    });
    hardened(&config, &profile(RESTRICTED)).baseline
}

#[test]
fn places_protections_and_limits_by_file_have_ceilings() {
    let outcome = |resources: &Value, baseline: &Baseline| {
        clamp_update(resources.to_string().as_bytes(), baseline)
            .map(|it| Value::Object(it.resources))
            .map_err(|refusals| refusals.first().code.as_str())
    };
    for resources in [
        json!({"cpu": {"cpus": "0"}}),
        json!({"cpu": {"cpus": "0,1", "mems": "0", "burst": 1000}}),
        json!({"unified": {"memory.min": "4096", "memory.low": "0", "memory.high": "65536"}}),
        json!({"unified": {"memory.swap.max": "1024"}}),
        json!({"memory": {"reservation": 8192}}),
    ] {
        assert_eq!(outcome(&resources, &placed()), Ok(resources));
    }
    for resources in [
        json!({"cpu": {"cpus": "0-2"}}),
        json!({"cpu": {"mems": "1"}}),
        json!({"cpu": {"burst": 1001}}),
        json!({"unified": {"memory.min": "4097"}}),
        json!({"unified": {"memory.min": "1k"}}),
        json!({"unified": {"memory.low": "max"}}),
        json!({"unified": {"memory.high": "65537"}}),
        json!({"unified": {"memory.high": "max"}}),
        json!({"unified": {"memory.swap.max": "max"}}),
        json!({"memory": {"swap": -1}}),
        json!({"memory": {"reservation": 8193}}),
        json!({"memory": {"reservation": -1}}),
    ] {
        assert_eq!(
            outcome(&resources, &placed()),
            Err("update-denied"),
            "{resources}"
        );
    }
    let nothing = json!({"cpu": {"cpus": "", "mems": ""}});
    assert_eq!(outcome(&nothing, &placed()), Ok(json!({"cpu": {}})));
    // Nothing was kept for this one, and everything else was open to it.
    for key in ["memory.min", "memory.low"] {
        assert_eq!(
            update(&json!({"unified": {key: "1"}})),
            Err("update-denied")
        );
    }
    let free = json!({"cpu": {"cpus": "0-9"}, "unified": {"memory.high": "max"}});
    assert_eq!(update(&free), Ok(free));
}

#[test]
fn what_is_not_a_limit_of_the_container_is_dropped() {
    let resources = json!({
        "devices": [{"allow": true, "access": "rwm"}],
        "blockIO": {"weight": 10},
        "network": {"classID": 1},
        "rdma": {"mlx5": {"hcaHandles": 1}},
        "future": 1,
        "pids": {"limit": 0},
        "cpu": {"shares": 2},
    });
    assert_eq!(update(&resources), Ok(json!({"cpu": {"shares": 2}})));
    let clamped = clamp_update(resources.to_string().as_bytes(), &baseline()).unwrap();
    assert_eq!(clamped.changes.len(), 6);
    assert_eq!(clamped.to_bytes(), br#"{"cpu":{"shares":2}}"#);
}

#[test]
fn ambiguous_resources_are_malformed() {
    for bytes in [
        &br#"{"Memory": {"limit": 1}}"#[..],
        br#"{"memory": {"Limit": 1}}"#,
        br#"{"memory": {"limit": 1, "limit": 2}}"#,
        br#"{"memory": {"limit": "1"}}"#,
        br#"{"memory": {"limit": 1e3}}"#,
        b"null",
        b"",
    ] {
        let refusals = clamp_update(bytes, &baseline()).unwrap_err();
        assert_eq!(refusals.first().code.as_str(), "resources-malformed");
    }
}
