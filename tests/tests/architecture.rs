//! The shape of the workspace: who may use whom, and what must stay out of where.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Layer of each package, and those of ours it may use beyond the lower layers' own rule.
const LAYERS: [(&str, u8, &[&str]); 21] = [
    ("unwinder", 1, &[]),
    ("json", 0, &[]),
    ("attestation", 0, &["json"]),
    ("gate", 0, &["json", "attestation"]),
    ("hardening", 0, &["json", "attestation", "gate"]),
    ("seccomp", 0, &["json", "attestation", "gate", "hardening"]),
    ("ledger", 0, &["json", "attestation"]),
    ("tpm", 1, &["json", "attestation"]),
    ("client", 1, &["json", "attestation", "gate"]),
    (
        "config",
        1,
        &["json", "attestation", "gate", "hardening", "seccomp"],
    ),
    ("https", 1, &[]),
    ("journal", 1, &[]),
    ("host", 1, &["json", "attestation", "gate", "hardening"]),
    (
        "shim",
        2,
        &[
            "unwinder",
            "json",
            "attestation",
            "gate",
            "hardening",
            "seccomp",
            "client",
            "config",
            "host",
        ],
    ),
    (
        "hook",
        2,
        &[
            "unwinder",
            "json",
            "attestation",
            "gate",
            "hardening",
            "client",
            "config",
            "host",
        ],
    ),
    (
        "agent",
        2,
        &[
            "journal",
            "json",
            "attestation",
            "gate",
            "hardening",
            "ledger",
            "tpm",
            "client",
            "config",
            "host",
        ],
    ),
    (
        "cli",
        2,
        &[
            "json",
            "attestation",
            "gate",
            "hardening",
            "seccomp",
            "ledger",
            "client",
            "config",
            "host",
        ],
    ),
    (
        "keylime",
        2,
        &[
            "journal",
            "json",
            "attestation",
            "gate",
            "hardening",
            "config",
            "host",
            "https",
        ],
    ),
    (
        "fetch",
        2,
        &[
            "journal",
            "json",
            "attestation",
            "gate",
            "hardening",
            "config",
            "host",
            "https",
        ],
    ),
    (
        "tests",
        3,
        &[
            "json",
            "attestation",
            "gate",
            "hardening",
            "seccomp",
            "ledger",
            "tpm",
            "client",
            "config",
            "host",
        ],
    ),
    ("xtask", 3, &[]),
];
/// Packages whose presence means that a TPM library is linked.
const TPM_LIBRARIES: [&str; 3] = ["portcullis-tpm", "tss-esapi", "tss-esapi-sys"];
/// Packages whose presence means that an asynchronous runtime is linked.
const ASYNC_RUNTIMES: [&str; 5] = ["tokio", "async-std", "smol", "mio", "ttrpc"];
/// Crates that may contain unsafe code, each in files of the given name only.
const UNSAFE: [(&str, &[&str]); 4] = [
    ("unwinder", &["lib.rs"]),
    ("tpm", &["sys.rs"]),
    ("host", &["sys.rs"]),
    ("shim", &["sys.rs", "sys/filter.rs", "sys/trace.rs"]),
];
/// What a pure crate cannot use.
const OUTSIDE_WORLD: [&str; 7] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::os::unix::net",
    "SystemTime::now",
    "Instant::now",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(arguments)
        .args(["--offline", "--locked"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Our packages: short name to folder and to short names of ours it depends on.
fn packages() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let short = |name: &Value| {
        name.as_str()
            .unwrap()
            .strip_prefix("portcullis-")
            .map(str::to_owned)
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            let uses = package["dependencies"].as_array().unwrap();
            let uses = uses
                .iter()
                .filter_map(|dependency| short(&dependency["name"]))
                .collect();
            let name = short(&package["name"]).expect("a package is named portcullis-…");
            (name, (manifest.parent().unwrap().to_path_buf(), uses))
        })
        .collect()
}

/// Names of all packages that end up in the program or library `package`.
fn linked(package: &str) -> BTreeSet<String> {
    let package = format!("portcullis-{package}");
    let tree = cargo(&[
        "tree",
        "--package",
        &package,
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without comments and without the trailing test module.
fn production_code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n")
}

fn is_test_code(file: &Path) -> bool {
    file.file_stem().is_some_and(|stem| stem == "tests")
        || file.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn every_package_has_its_layer() {
    let found: BTreeSet<_> = packages().into_keys().collect();
    let known: BTreeSet<_> = LAYERS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(found, known);
}

#[test]
fn the_table_has_no_arrow_upwards() {
    let layer_of = |wanted: &str| LAYERS.iter().find(|(name, ..)| *name == wanted).unwrap().1;
    for (name, layer, may_use) in LAYERS {
        for used in may_use {
            assert!(layer_of(used) <= layer, "{name} -> {used}");
            assert_ne!(*used, name);
        }
    }
}

#[test]
fn packages_use_only_what_the_table_allows() {
    let packages = packages();
    for (name, _, may_use) in LAYERS {
        let (_, uses) = &packages[name];
        for used in uses {
            assert!(
                may_use.contains(&used.as_str()),
                "{name} must not use {used}"
            );
        }
    }
}

#[test]
fn only_the_agent_links_a_tpm_library() {
    for package in [
        "shim",
        "hook",
        "cli",
        "client",
        "gate",
        "hardening",
        "attestation",
        "config",
    ] {
        let linked = linked(package);
        for library in TPM_LIBRARIES {
            assert!(!linked.contains(library), "{package} links {library}");
        }
    }
    assert!(
        linked("agent").contains("tss-esapi"),
        "this test would not notice"
    );
}

#[test]
fn hook_and_client_link_no_asynchronous_runtime() {
    for package in [
        "hook",
        "client",
        "cli",
        "gate",
        "hardening",
        "attestation",
        "config",
        "host",
    ] {
        let linked = linked(package);
        for runtime in ASYNC_RUNTIMES {
            assert!(!linked.contains(runtime), "{package} links {runtime}");
        }
    }
    assert!(
        linked("shim").contains("tokio"),
        "this test would not notice"
    );
}

#[test]
fn pure_crates_do_not_touch_the_outside_world() {
    let packages = packages();
    for (name, _, _) in LAYERS.iter().filter(|(_, layer, _)| *layer == 0) {
        let files = sources(&packages[*name].0.join("src"));
        assert!(!files.is_empty());
        for file in files.iter().filter(|file| !is_test_code(file)) {
            let code = production_code(file);
            for word in OUTSIDE_WORLD {
                assert!(!code.contains(word), "{} uses {word}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_but_in_named_files() {
    for (name, (folder, _)) in packages() {
        let may = UNSAFE.iter().find(|(package, _)| *package == name);
        for top in ["lib.rs", "main.rs"] {
            let file = folder.join("src").join(top);
            if !file.exists() {
                continue;
            }
            let forbids = fs::read_to_string(&file)
                .unwrap()
                .contains("#![forbid(unsafe_code)]");
            assert!(
                forbids || may.is_some(),
                "{} must forbid unsafe code",
                file.display()
            );
        }
        for file in sources(&folder.join("src")) {
            let named = may.is_some_and(|(_, files)| {
                files
                    .iter()
                    .any(|allowed| file.ends_with(Path::new("src").join(allowed)))
            });
            let code = production_code(&file);
            assert!(
                named || !code.contains("unsafe {"),
                "{} has unsafe code",
                file.display()
            );
        }
    }
}

#[test]
fn no_test_is_ignored_or_sleeps() {
    // Put together here, so that this file does not find itself.
    let banned = [["#[ig", "nore"].concat(), ["thread::", "sleep("].concat()];
    for (folder, _) in packages().values() {
        for file in sources(folder)
            .iter()
            .filter(|file| !file.starts_with(root().join("target")))
        {
            let text = fs::read_to_string(file).unwrap();
            for word in &banned {
                assert!(!text.contains(word), "{} has {word}", file.display());
            }
        }
    }
}
