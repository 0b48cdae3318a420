//! A CoRIM that another program made, on its way to reference values.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use corim::builder::{ComidBuilder, CorimBuilder};
use corim::types::common::TagIdChoice;
use corim::types::corim::CorimId;
use corim::types::environment::{ClassMap, EnvironmentMap};
use corim::types::measurement::{
    Digest, IntegrityRegisterId, IntegrityRegisters, MeasurementMap, MeasurementValuesMap,
};
use corim::types::triples::ReferenceTriple;

fn manifest() -> Vec<u8> {
    let environment = EnvironmentMap {
        class: Some(ClassMap {
            class_id: None,
            vendor: Some("Example".into()),
            model: Some("server".into()),
            layer: None,
            index: None,
        }),
        instance: None,
        group: None,
    };
    let registers: BTreeMap<_, _> = [(
        IntegrityRegisterId::Uint(7),
        vec![Digest::new(1, vec![7; 32])],
    )]
    .into();
    let mut values = MeasurementValuesMap::default();
    values.integrity_registers = Some(IntegrityRegisters(registers));
    let measurement = MeasurementMap {
        mkey: None,
        mval: values,
        authorized_by: None,
    };
    let comid = ComidBuilder::new(TagIdChoice::Text("example".into()))
        .add_reference_triple(ReferenceTriple::new(environment, vec![measurement]))
        .build()
        .unwrap();
    CorimBuilder::new(CorimId::Text("example".into()))
        .add_comid_tag(comid)
        .unwrap()
        .build_bytes()
        .unwrap()
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
fn a_manifest_becomes_reference_values_that_can_be_signed() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("a.corim"), manifest()).unwrap();
    let import = ["reference", "import", "a.corim", "--name", "vendor"];
    let mut import = import.to_vec();
    import.extend(["--out", "a.json"]);
    let ran = run(at, &import);
    assert!(ran.status.success(), "{ran:?}");
    let keys = ["keys", "generate", "--use", "reference", "--out", "keys"];
    assert!(run(at, &keys).status.success());
    let sign = [
        "reference",
        "sign",
        "--key",
        "keys/reference.pem",
        "-i",
        "a.json",
    ];
    let mut sign = sign.to_vec();
    sign.extend(["-o", "a.jws", "--output", "json"]);
    let ran = run(at, &sign);
    assert!(ran.status.success(), "{ran:?}");
    let said: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let state = &said["claims"]["boot_states"][0];
    assert_eq!(state["name"], "vendor");
    assert_eq!(state["pcrs"]["sha256"]["7"], "07".repeat(32));
}

#[test]
fn a_cut_manifest_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let whole = manifest();
    for length in 0..whole.len() {
        std::fs::write(at.join("cut.corim"), &whole[..length]).unwrap();
        let ran = run(at, &["reference", "import", "cut.corim", "--name", "x"]);
        assert_eq!(ran.status.code(), Some(64), "{length}: {ran:?}");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
