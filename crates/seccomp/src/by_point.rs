//! The same question answered one call at a time, straight from the JSON: what diagrams are
//! compared with in tests. Shares no code with what it checks.

use proptest::prelude::*;
use serde_json::{Value, json};

/// The answer to `socket` with `arguments`, as the name of an action and an errno.
pub(crate) fn answer(section: &Value, arguments: [u64; 6]) -> (String, u64) {
    let of = |object: &Value, action: &str, errno: &str| {
        let name = object[action].as_str().unwrap().to_owned();
        let errno = object[errno].as_u64().unwrap_or(1);
        let data = ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"].contains(&name.as_str());
        (name, if data { errno } else { 0 })
    };
    let default = of(section, "defaultAction", "defaultErrnoRet");
    let mut matched: Option<(String, u64)> = None;
    for entry in section["syscalls"].as_array().unwrap() {
        let action = of(entry, "action", "errnoRet");
        if action == default {
            continue;
        }
        let args = entry["args"].as_array().cloned().unwrap_or_default();
        let looks = |arg: &Value| arg["op"] != "SCMP_CMP_MASKED_EQ" || arg["value"] != 0;
        let mut indices: Vec<u64> = args
            .iter()
            .map(|it| it["index"].as_u64().unwrap())
            .collect();
        indices.sort_unstable();
        let or = indices.windows(2).any(|pair| pair[0] == pair[1]);
        let plain = if or {
            !args.iter().all(looks)
        } else {
            !args.iter().any(looks)
        };
        if plain {
            return action;
        }
        let mut holding = args.iter().map(|arg| holds(arg, arguments));
        let holds = if or {
            holding.any(|it| it)
        } else {
            holding.all(|it| it)
        };
        let order = |action: &(String, u64)| {
            [
                "KILL_PROCESS",
                "KILL_THREAD",
                "TRAP",
                "ERRNO",
                "NOTIFY",
                "TRACE",
                "LOG",
                "ALLOW",
            ]
            .iter()
            .position(|it| action.0.ends_with(it))
        };
        if holds {
            matched = Some(match matched {
                Some(known) if order(&known) <= order(&action) => known,
                _ => action,
            });
        }
    }
    matched.unwrap_or(default)
}

fn holds(arg: &Value, arguments: [u64; 6]) -> bool {
    let number = |key: &str| arg[key].as_u64().unwrap_or(0);
    let argument = arguments[usize::try_from(number("index")).unwrap()];
    let (value, second) = (number("value"), number("valueTwo"));
    match arg["op"].as_str().unwrap() {
        "SCMP_CMP_NE" => argument != value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_LE" => argument <= value,
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_GE" => argument >= value,
        "SCMP_CMP_GT" => argument > value,
        "SCMP_CMP_MASKED_EQ" => argument & value == second & value,
        other => panic!("{other}"),
    }
}

/// A section with rules for `socket` on its first three arguments.
pub(crate) fn section() -> impl Strategy<Value = Value> {
    let default = prop_oneof![
        Just(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1})),
        Just(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38})),
        Just(json!({"defaultAction": "SCMP_ACT_ALLOW"})),
        Just(json!({"defaultAction": "SCMP_ACT_KILL_PROCESS"})),
    ];
    (default, proptest::collection::vec(entry(), 0..5)).prop_map(|(mut section, entries)| {
        section["architectures"] = json!(["SCMP_ARCH_X86_64"]);
        section["syscalls"] = Value::Array(entries);
        section
    })
}

fn entry() -> impl Strategy<Value = Value> {
    let action = prop_oneof![
        4 => Just(json!({"action": "SCMP_ACT_ALLOW"})),
        2 => Just(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 1})),
        1 => Just(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 13})),
        1 => Just(json!({"action": "SCMP_ACT_LOG"})),
        1 => Just(json!({"action": "SCMP_ACT_TRACE", "errnoRet": 7})),
        1 => Just(json!({"action": "SCMP_ACT_KILL"})),
    ];
    let args = proptest::collection::vec(arg(), 0..4);
    (action, args).prop_map(|(mut entry, args)| {
        entry["action"] = match entry["action"].as_str().unwrap() {
            "SCMP_ACT_KILL" => "SCMP_ACT_KILL_THREAD".into(),
            other => other.into(),
        };
        entry["names"] = json!(["socket"]);
        entry["args"] = Value::Array(args);
        entry
    })
}

fn arg() -> impl Strategy<Value = Value> {
    let op = prop::sample::select(vec![
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_MASKED_EQ",
    ]);
    (0..3_u64, number(), number(), op).prop_map(|(index, value, second, op)| {
        json!({"index": index, "value": value, "valueTwo": second, "op": op})
    })
}

/// Numbers where something can change: small ones, and those around 32 and 64 bits.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..4_u64,
        2 => Just(u64::from(u32::MAX)),
        1 => Just(u64::from(u32::MAX) + 1),
        1 => Just(u64::from(u32::MAX) + 3),
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 1),
        1 => any::<u64>(),
    ]
}

/// Arguments at every border of the values that stand in the sections, and beside it.
pub(crate) fn points(sections: &[&Value]) -> Vec<[u64; 6]> {
    let mut values: Vec<Vec<u64>> = vec![vec![0, u64::MAX]; 3];
    for entry in sections
        .iter()
        .flat_map(|it| it["syscalls"].as_array().unwrap())
    {
        for arg in entry["args"].as_array().unwrap() {
            let index = usize::try_from(arg["index"].as_u64().unwrap()).unwrap();
            for key in ["value", "valueTwo"] {
                let value = arg[key].as_u64().unwrap();
                let beside = [value.wrapping_sub(1), value, value.wrapping_add(1)];
                values[index].extend(beside);
                values[index].push(value ^ (1 << 32));
            }
        }
    }
    for list in &mut values {
        list.sort_unstable();
        list.dedup();
        // All combinations are tried: a long list would be for nothing but time.
        let step = list.len().div_ceil(24);
        *list = list.iter().copied().step_by(step).collect();
    }
    let mut points = Vec::new();
    for first in &values[0] {
        for second in &values[1] {
            points.extend(
                values[2]
                    .iter()
                    .map(|third| [*first, *second, *third, 0, 0, 0]),
            );
        }
    }
    points
}
