//! An OCI configuration: read as two readers would, hardened, and hardened again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_hardening::{
    Concessions, DirectoryFact, HostFacts, MountSource, NamespaceOrigin, OciConfig, Profile,
    RootfsFacts, harden,
};

const SECCOMP: &str = include_str!("../../config/seccomp/x86_64.json");

static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    [
        include_str!("../../config/profiles/baseline.toml"),
        include_str!("../../config/profiles/restricted.toml"),
        include_str!("../../config/profiles/strict.toml"),
    ]
    .into_iter()
    .map(|text| Profile::parse(text, SECCOMP).expect("a shipped profile"))
    .collect()
});

/// A host on which everything that a configuration names is allowed, so that it comes far.
fn facts(config: &OciConfig) -> HostFacts {
    HostFacts {
        namespaces: config
            .joined_namespaces()
            .map(|(kind, _)| (kind, NamespaceOrigin::Foreign))
            .collect(),
        user_namespace: None,
        mount_sources: config
            .bind_mounts()
            .map(|mount| (mount.index, MountSource::Allowed))
            .collect(),
        rootfs: RootfsFacts {
            tmp: DirectoryFact::Directory,
            var_tmp: DirectoryFact::NotDirectory,
            run: DirectoryFact::Directory,
        },
        ..HostFacts::default()
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(config) = OciConfig::parse(data) else {
        return;
    };
    let again = OciConfig::parse(&config.to_bytes());
    assert_eq!(again.ok().as_ref(), Some(&config), "reads back as written");
    let none = Concessions::none();
    for profile in PROFILES.iter() {
        let Ok(once) = harden(config.clone(), profile, &facts(&config), &none) else {
            continue;
        };
        let facts = facts(&once.config);
        let Ok(twice) = harden(once.config.clone(), profile, &facts, &none) else {
            panic!("what was hardened is refused");
        };
        assert_eq!(twice.config.to_bytes(), once.config.to_bytes());
        assert!(twice.changes.is_empty(), "{:?}", twice.changes);
    }
});
