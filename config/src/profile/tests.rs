use portcullis_hardening::Profile;

use super::{BUILT_IN, SECCOMP, profile_from};
use crate::paths;
use crate::trusted_file::tests::{scratch, write};

#[test]
fn every_built_in_profile_can_be_used() {
    let (_directory, root) = scratch();
    for (name, _) in BUILT_IN {
        let profile = profile_from(&root, name).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(profile.name(), name);
    }
}

#[test]
fn what_is_compiled_in_says_what_the_shipped_files_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).expect(path);
    let seccomp = read(&format!("seccomp/{}.json", std::env::consts::ARCH));
    assert!(SECCOMP.len() < seccomp.len());
    let shown = |text: &str, list: &str| {
        let profile = Profile::parse(text, list).unwrap_or_else(|error| panic!("{error}"));
        format!("{profile:?}")
    };
    for (name, compact) in BUILT_IN {
        let shipped = read(&format!("profiles/{name}.toml"));
        assert!(
            compact.len() < shipped.len() && !compact.contains("\n#"),
            "{name}"
        );
        assert_eq!(shown(compact, SECCOMP), shown(&shipped, &seccomp), "{name}");
    }
}

#[test]
fn an_unknown_name_is_a_fault_that_lists_the_known_ones() {
    let (_directory, root) = scratch();
    for name in ["privileged", "../restricted", "", "Restricted"] {
        let line = profile_from(&root, name).expect_err(name).to_string();
        assert!(
            line.starts_with("portcullis: fault [profile-unknown]"),
            "{line}"
        );
        assert!(
            line.contains("'baseline', 'restricted', 'strict'"),
            "{line}"
        );
    }
}

#[test]
fn the_administrators_file_overrides_and_must_carry_its_name() {
    let (directory, root) = scratch();
    let save = |name: &str, text: &str| {
        write(&directory, &format!("{}/{name}", paths::PROFILES), text);
    };
    let (_, text) = BUILT_IN[0];

    save("strict.toml", text);
    let line = profile_from(&root, "strict")
        .expect_err("baseline in strict.toml")
        .to_string();
    assert!(
        line.starts_with("portcullis: fault [config-mismatch]"),
        "{line}"
    );

    save("own.toml", &text.replace("\"baseline\"", "\"own\""));
    assert_eq!(
        profile_from(&root, "own").expect("own profile").name(),
        "own"
    );

    save("own.toml", "version = 1\nnonsense = 2\n");
    let line = profile_from(&root, "own")
        .expect_err("nonsense")
        .to_string();
    assert!(
        line.contains("own.toml'") && line.contains("[config-malformed]"),
        "{line}"
    );

    save("own.toml", &text.replace("\"baseline\"", "\"own\""));
    save("own.seccomp.json", "{");
    let line = profile_from(&root, "own")
        .expect_err("half a list")
        .to_string();
    assert!(line.contains("own.seccomp.json'"), "{line}");
}
