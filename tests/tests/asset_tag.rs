//! What root on a host, with the owner's authorization of the TPM, can do to its asset tag.

mod asset_tag {
    pub(crate) mod authority;
}

use std::fs;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::{in_world, needs};
use serde_json::Value;

use asset_tag::authority::{
    self, COUNTER, OPERATOR, OWNER_WRITTEN, SLOT, contents, define, done, hand_out, issue_foreign,
    issue_next, provision, store, undefine, write,
};

/// Attributes of a slot as the tag authority has it.
const OURS: &str = "policywrite|ownerread|authread|no_da";
/// As Intel SecL defines it.
const ISECL: &str = "authwrite|authread|ownerread";

/// Fails unless the TPM refuses with `code`.
fn refused_by_tpm(node: &Node, line: &[&str], code: &str) -> Outcome {
    let ran = node.tpm_tool(line)?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    if !ran.status.success() && said.contains(code) {
        return Ok(());
    }
    Err(Failure::new(format!("{line:?}: {}: {said}", ran.status)))
}

/// Codes of what an attestation finds now.
fn findings(node: &Node) -> Outcome<Vec<String>> {
    let ran = node.portcullis(&["attest", "--output", "json"])?;
    let value: Value = serde_json::from_str(&ran.stdout).doing("read what 'attest' printed")?;
    let findings = value["findings"].as_array().cloned().unwrap_or_default();
    Ok(findings
        .iter()
        .map(|finding| format!("{}: {}", finding["code"], finding["found"]).replace('"', ""))
        .collect())
}

/// Fails unless a launch is refused with `code`.
#[track_caller]
fn launch_is(node: &Node, code: &str) -> Outcome {
    let refusal = node.refuses(&[])?;
    assert_eq!(refusal.code, code, "{}", refusal.line);
    Ok(())
}

/// How well 'tag audit' finds the tags of this host proved, with a policy that they keep.
fn audited(node: &Node) -> Outcome<String> {
    let (status, policy) = (
        format!("{OPERATOR}/status.json"),
        format!("{OPERATOR}/policy.toml"),
    );
    let text = node
        .portcullis(&["status", "--output", "json"])?
        .success()?;
    fs::write(&status, text).doing("write the status")?;
    let rules = "[[host]]\nname = \"*\"\nrequire = \"country=DE,pool\"\n";
    fs::write(&policy, rules).doing("write a policy")?;
    let audit = [
        "tag", "audit", "--policy", &policy, "--output", "json", &status,
    ];
    let text = node.portcullis(&audit)?.success()?;
    let value: Value = serde_json::from_str(&text).doing("read what 'tag audit' printed")?;
    Ok(value["hosts"][0]["evidence"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Puts the host in order with a new tag.
fn mend(node: &Node) -> Outcome {
    provision(node, &issue_next(node, "mend")?)?;
    assert_eq!(findings(node)?, Vec::<String>::new());
    node.starts()
}

mod needs_root {
    use super::*;

    #[test]
    fn neither_owner_nor_password_writes_the_slot() -> Outcome {
        needs!(Root, Swtpm, TpmTools, Programs, Containerd, Runc, Busybox);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let before = contents(&node)?;
            let file = format!("{OPERATOR}/forged");
            fs::write(&file, [0x5a; 48]).doing("write a file")?;
            let write = |by| ["tpm2_nvwrite", SLOT, "-C", by, "-i", &file];
            // TPM_RC_NV_AUTHORIZATION, and TPM_RC_AUTH_UNAVAILABLE for the index's password.
            refused_by_tpm(&node, &write("o"), "0x149")?;
            refused_by_tpm(&node, &write(SLOT), "0x12F")?;
            assert_eq!(contents(&node)?, before);
            assert_eq!(findings(&node)?, Vec::<String>::new());
            node.starts()?;
            let evidence = audited(&node)?;
            assert_eq!(evidence, "attested");
            node.finish()
        })
    }

    #[test]
    fn a_slot_made_anew_is_refused_whatever_it_holds() -> Outcome {
        needs!(Root, Swtpm, TpmTools, Programs, Containerd, Runc, Busybox);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let digest = contents(&node)?;
            let public = done(&node, &["tpm2_nvreadpublic", SLOT])?;
            assert!(public.contains("0x22060008"), "{public}");
            let policy = public
                .lines()
                .find_map(|line| line.trim().strip_prefix("authorization policy:"))
                .ok_or_else(|| Failure::new(format!("no policy in {public}")))?;
            let policy = portcullis_attestation::hex::decode(&policy.trim().to_lowercase());
            let policy = policy.ok_or_else(|| Failure::new("a policy that is no hexadecimal"))?;
            let file = format!("{OPERATOR}/policy");
            fs::write(&file, policy).doing("write the policy")?;

            undefine(&node, SLOT)?;
            launch_is(&node, "asset-tag-missing")?;
            let missing = "asset-tag-missing: index not defined, or never written";
            assert_eq!(findings(&node)?, [missing]);
            launch_is(&node, "asset-tag-missing")?;

            // The same attributes and the same policy: only the authority could write it.
            define(
                &node,
                SLOT,
                OURS,
                &["-s", "48", "-g", "sha256", "-L", &file],
            )?;
            launch_is(&node, "asset-tag-tampered")?;
            let bytes = format!("{OPERATOR}/bytes");
            fs::write(&bytes, &digest).doing("write a file")?;
            let write = ["tpm2_nvwrite", SLOT, "-C", "o", "-i", &bytes];
            refused_by_tpm(&node, &write, "0x149")?;
            assert_eq!(findings(&node)?, [missing]);
            launch_is(&node, "asset-tag-tampered")?;
            // What the authority signed for the first write of such a slot fits it still.
            let same = ["tag", "provision", "/run/operator/host.tag"];
            node.portcullis(&same)?.success()?;
            assert_eq!(findings(&node)?, Vec::<String>::new());
            node.starts()?;

            // Other rules: the right digest, and everybody could have written it.
            for (attributes, by, found) in [
                (
                    OWNER_WRITTEN,
                    "o",
                    "the owner may write (attributes 0x22060002)",
                ),
                (
                    ISECL,
                    SLOT,
                    "whoever knows its password may write (attributes 0x20060004)",
                ),
            ] {
                let digest = contents(&node)?;
                undefine(&node, SLOT)?;
                define(&node, SLOT, attributes, &["-s", "48"])?;
                authority::write(&node, SLOT, by, &digest)?;
                launch_is(&node, "asset-tag-tampered")?;
                assert_eq!(findings(&node)?, [format!("asset-tag-tampered: {found}")]);
                launch_is(&node, "asset-tag-tampered")?;
                // Provisioning puts the right sort of index in its place.
                mend(&node)?;
            }
            node.finish()
        })
    }

    #[test]
    fn an_older_tag_of_the_same_host_does_not_come_back() -> Outcome {
        needs!(Root, Swtpm, TpmTools, Programs, Containerd, Runc, Busybox);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            let old = issue_next(&node, "old")?;
            provision(&node, &old)?;
            node.starts()?;
            let new = issue_next(&node, "new")?;
            provision(&node, &new)?;
            node.starts()?;

            let refused = node.portcullis(&["tag", "provision", &old.path])?;
            assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
            assert!(
                refused.stderr.contains("it is for tag counter"),
                "{}",
                refused.stderr
            );

            // Root has what the authority once signed: the TPM takes it, and it is of no use.
            let ueid = node.ueid.clone();
            store(&node, &old, &ueid).doing("store the old digest")?;
            launch_is(&node, "asset-tag-tampered")?;
            hand_out(&mut node, &old.document)?;
            let found = findings(&node)?;
            assert!(
                found[0].starts_with("asset-tag-replayed: one for counter"),
                "{found:?}"
            );
            assert_eq!(found.len(), 1, "{found:?}");
            launch_is(&node, "asset-tag-replayed")?;

            // The counter cannot be set back: made anew it stands higher still.
            undefine(&node, COUNTER)?;
            let counter = "authwrite|ownerread|authread|no_da|nt=counter";
            define(&node, COUNTER, counter, &["-g", "sha256"])?;
            done(&node, &["tpm2_nvincrement", COUNTER, "-C", COUNTER])?;
            let found = findings(&node)?;
            assert!(found[0].starts_with("asset-tag-replayed"), "{found:?}");
            launch_is(&node, "asset-tag-replayed")?;
            // And an index that only holds the number is no counter.
            undefine(&node, COUNTER)?;
            define(&node, COUNTER, OWNER_WRITTEN, &["-s", "8"])?;
            write(&node, COUNTER, "o", &2_u64.to_be_bytes())?;
            let found = findings(&node)?;
            assert_eq!(found, ["asset-tag-tampered: attributes 0x22060002"]);
            launch_is(&node, "asset-tag-tampered")?;
            mend(&node)?;
            node.finish()
        })
    }

    #[test]
    fn the_tag_of_another_host_does_not_count_here() -> Outcome {
        needs!(Root, Swtpm, TpmTools, Programs, Containerd, Runc, Busybox);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            // The other host is another TPM; the number is the one that would do here.
            let (foreign, other) = issue_foreign(&node)?;

            let refused = node.portcullis(&["tag", "provision", &foreign.path])?;
            assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
            assert!(
                refused.stderr.contains("it is for TPM"),
                "{}",
                refused.stderr
            );
            // The permission of one TPM does not open the slot of another.
            let ueid = node.ueid.clone();
            store(&node, &foreign, &ueid).expect_err("the TPM refuses");
            node.starts()?;
            // A slot as the other host has it.
            store(&node, &foreign, &other).doing("store a foreign digest")?;
            launch_is(&node, "asset-tag-tampered")?;
            hand_out(&mut node, &foreign.document)?;
            let codes: Vec<String> = findings(&node)?
                .iter()
                .filter_map(|finding| finding.split(':').next().map(str::to_owned))
                .collect();
            assert_eq!(codes, ["asset-tag-tampered", "asset-tag-mismatch"]);
            launch_is(&node, "asset-tag-subject-mismatch")?;
            mend(&node)?;
            node.finish()
        })
    }
}
