//! `portcullis tag import`, with certificates laid out as Intel SecL's and signed by `openssl`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use serde_json::Value;

/// Commands of a machine without `openssl` cannot make certificates.
mod needs_openssl {
    use super::*;

    const UUID: &str = "00ecd3ab-9af4-e711-906e-001560a04062";
    const TAGS: [(&str, &str); 3] = [("Country", "DE"), ("Site", "fra1"), ("pool", "pci")];

    fn openssl(directory: &Path, arguments: &[&str]) {
        let ran = Command::new("openssl")
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }

    fn portcullis(directory: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap()
    }

    fn fails(directory: &Path, arguments: &[&str], exit: i32, with: &str) {
        let ran = portcullis(directory, arguments);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(exit), "{said}");
        assert!(said.contains(with), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let contents = parts.concat();
        let length = contents.len();
        let mut bytes = vec![tag];
        match length {
            0..0x80 => bytes.push(u8::try_from(length).unwrap()),
            0x80..0x100 => bytes.extend([0x81, u8::try_from(length).unwrap()]),
            _ => {
                bytes.push(0x82);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        bytes.extend(contents);
        bytes
    }

    fn name(common: &str) -> Vec<u8> {
        let pair = [
            &element(0x06, &[&[0x55, 0x04, 0x03]])[..],
            &element(0x0c, &[common.as_bytes()]),
        ];
        element(0x30, &[&element(0x31, &[&element(0x30, &pair)])])
    }

    /// One tag: extension 2.5.4.789.1 with SEQUENCE { name, value }.
    fn extension((name, value): &(&str, &str)) -> Vec<u8> {
        let pair = [
            &element(0x13, &[name.as_bytes()])[..],
            &element(0x13, &[value.as_bytes()]),
        ];
        let oid = element(0x06, &[&[0x55, 0x04, 0x86, 0x15, 0x01]]);
        element(0x30, &[&oid, &element(0x04, &[&element(0x30, &pair)])])
    }

    fn algorithm() -> Vec<u8> {
        let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
        element(0x30, &[&element(0x06, &[&oid]), &[0x05, 0x00]])
    }

    /// A tag certificate for `tags`, valid until `end`, signed with key `ca.key`.
    fn certificate(directory: &Path, tags: &[(&str, &str)], end: &str) -> Vec<u8> {
        let spki = std::fs::read(directory.join("spki.der")).unwrap();
        let extensions: Vec<u8> = tags.iter().flat_map(extension).collect();
        let validity = [
            &element(0x17, &[b"200101000000Z"])[..],
            &element(0x17, &[end.as_bytes()]),
        ];
        let signed = element(
            0x30,
            &[
                &element(0xa0, &[&[0x02, 0x01, 0x02]]),
                &[0x02, 0x01, 0x07],
                &algorithm(),
                &name("asset-tag-service"),
                &element(0x30, &validity),
                &name(UUID),
                &spki,
                &element(0xa3, &[&element(0x30, &[&extensions])]),
            ],
        );
        std::fs::write(directory.join("tbs"), &signed).unwrap();
        let sign = ["dgst", "-sha384", "-sign", "ca.key", "-out", "sig", "tbs"];
        openssl(directory, &sign);
        let signature = std::fs::read(directory.join("sig")).unwrap();
        element(
            0x30,
            &[
                &signed,
                &algorithm(),
                &element(0x03, &[&[0x00], &signature]),
            ],
        )
    }

    /// A directory with the authority, its certificate `ca.pem`, and the tag certificate `tag.der`.
    fn authority() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (key, certificate, subject) in [
            ("ca.key", "ca.pem", "/CN=asset-tag-service"),
            ("other.key", "other.pem", "/CN=asset-tag-service"),
            ("named.key", "named.pem", "/CN=somebody-else"),
        ] {
            openssl(
                path,
                &[
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:3072",
                    "-sha384",
                    "-nodes",
                    "-days",
                    "30",
                    "-subj",
                    subject,
                    "-keyout",
                    key,
                    "-out",
                    certificate,
                ],
            );
        }
        let public = ["rsa", "-in", "ca.key", "-pubout", "-outform", "DER", "-out"];
        openssl(path, &[&public[..], &["spki.der"]].concat());
        let tag = certificate(path, &TAGS, "490101000000Z");
        std::fs::write(path.join("tag.der"), tag).unwrap();
        directory
    }

    #[test]
    fn a_certificate_becomes_a_tag_of_our_own() {
        let directory = authority();
        let path = directory.path();
        // It is what openssl takes for a certificate, too.
        let pem = [
            "x509", "-inform", "DER", "-in", "tag.der", "-out", "tag.pem",
        ];
        openssl(path, &pem);
        for file in ["tag.der", "tag.pem"] {
            let line = [
                "tag",
                "import",
                "--ca",
                "ca.pem",
                file,
                "--force",
                "-o",
                "tags.json",
            ];
            let ran = portcullis(path, &line);
            assert!(ran.status.success(), "{ran:?}");
            let text = String::from_utf8_lossy(&ran.stdout).into_owned();
            assert!(text.contains(UUID) && text.contains("Country=DE"), "{text}");
        }
        let generate = ["keys", "generate", "--use", "tag", "--out", "keys"];
        assert!(portcullis(path, &generate).status.success());
        let ueid = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let issue = [
            "tag",
            "issue",
            "--key",
            "keys/tag.pem",
            "--tpm",
            ueid,
            "--counter",
            "4",
            "--tags",
            "tags.json",
            "--tag",
            "tier=spot",
            "-o",
            "w7.tag",
            "--output",
            "json",
        ];
        let ran = portcullis(path, &issue);
        assert!(ran.status.success(), "{ran:?}");
        let issued: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let tags = issued["claims"]["tags"].as_object().unwrap();
        assert_eq!(tags.len(), 4);
        assert_eq!(tags["Site"], "fra1");
        assert_eq!(tags["tier"], "spot");
    }

    #[test]
    fn only_the_given_authority_and_only_as_it_signed() {
        let directory = authority();
        let path = directory.path();
        let import = |ca| ["tag", "import", "--ca", ca, "tag.der"];
        fails(path, &import("other.pem"), 1, "not by the authority's key");
        fails(path, &import("named.pem"), 1, "another authority issued it");
        let good = std::fs::read(path.join("tag.der")).unwrap();
        let place = good.windows(4).position(|four| four == b"fra1").unwrap();
        let mut forged = good.clone();
        forged[place] = b'b';
        std::fs::write(path.join("tag.der"), forged).unwrap();
        fails(path, &import("ca.pem"), 1, "not by the authority's key");
        std::fs::write(path.join("tag.der"), &good[..good.len() - 1]).unwrap();
        fails(path, &import("ca.pem"), 64, "cannot read certificate");
        let expired = certificate(path, &TAGS, "210101000000Z");
        std::fs::write(path.join("tag.der"), expired).unwrap();
        fails(path, &import("ca.pem"), 1, "to 2021-01-01T00:00:00Z");
        let empty = certificate(path, &[], "490101000000Z");
        std::fs::write(path.join("tag.der"), empty).unwrap();
        fails(path, &import("ca.pem"), 1, "it holds no tag");
    }

    #[test]
    fn tags_that_are_no_labels_are_named() {
        let directory = authority();
        let path = directory.path();
        let tags = [
            ("Country", "DE"),
            ("Floor", "third floor"),
            ("Twice", "a"),
            ("Twice", "b"),
        ];
        let bytes = certificate(path, &tags, "490101000000Z");
        std::fs::write(path.join("tag.der"), bytes).unwrap();
        let import = ["tag", "import", "--ca", "ca.pem", "tag.der"];
        fails(path, &import, 64, "tag 'Floor' with value 'third floor'");
        let only = |name| [&import[..], &["--only", name]].concat();
        fails(path, &only("Twice"), 64, "holds it twice");
        fails(path, &only("country"), 64, "does not hold it");
        assert!(portcullis(path, &only("Country")).status.success());
    }

    #[test]
    fn a_cut_or_changed_certificate_never_gives_tags() {
        let directory = authority();
        let path = directory.path();
        let good = std::fs::read(path.join("tag.der")).unwrap();
        let import = ["tag", "import", "--ca", "ca.pem", "bad.der"];
        // A process for each is slow, so every place is tried, but not every value there.
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 40,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let places = (0..good.len(), any::<bool>(), 1_u8..=255);
        runner
            .run(&places, |(place, cut, change)| {
                let mut bad = good.clone();
                if cut {
                    bad.truncate(place);
                } else {
                    bad[place] ^= change;
                }
                std::fs::write(path.join("bad.der"), bad).unwrap();
                let ran = portcullis(path, &import);
                prop_assert!(matches!(ran.status.code(), Some(1 | 64)), "{ran:?}");
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
