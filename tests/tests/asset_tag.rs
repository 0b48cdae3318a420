//! What root on a host, with the owner's authorization of the TPM, can do to its asset tag.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portcullis_attestation::jwk::TrustedKey;
use portcullis_attestation::tag;
use portcullis_attestation::tag::authorization::WriteAuthorization;
use portcullis_attestation::ueid::Ueid;
use portcullis_config::paths;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::run::{self, Ran};
use portcullis_tests::swtpm::Swtpm;
use portcullis_tests::{in_world, needs};
use portcullis_tpm::{Deadline, TagWrite, Tcti, Tpm};
use serde_json::Value;

/// NV index of the slot, and of the counter.
const SLOT: &str = "0x01c10110";
const COUNTER: &str = "0x018d0c04";
/// The operator's folder.
const OPERATOR: &str = "/run/operator";
/// Attributes of a slot as the tag authority has it.
const OURS: &str = "policywrite|ownerread|authread|no_da";
/// As earlier versions defined it.
const OWNER_WRITTEN: &str = "ownerwrite|ownerread|authread|no_da";
/// As Intel SecL defines it.
const ISECL: &str = "authwrite|authread|ownerread";

/// Runs one of the TPM's tools, with the empty authorizations of root.
fn tool(node: &Node, line: &[&str]) -> Outcome<Ran> {
    let mut command = Command::new(line[0]);
    command.args(&line[1..]);
    run::to_end(command.env("TPM2TOOLS_TCTI", node.tpm.tcti()))
}

fn done(node: &Node, line: &[&str]) -> Outcome<String> {
    tool(node, line)?.success()
}

/// Fails unless the TPM refuses with `code`.
fn refused_by_tpm(node: &Node, line: &[&str], code: &str) -> Outcome {
    let ran = tool(node, line)?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    if !ran.status.success() && said.contains(code) {
        return Ok(());
    }
    Err(Failure::new(format!("{line:?}: {}: {said}", ran.status)))
}

fn define(node: &Node, index: &str, attributes: &str, more: &[&str]) -> Outcome {
    let mut line = vec!["tpm2_nvdefine", index, "-C", "o", "-a", attributes];
    line.extend(more);
    done(node, &line).map(drop)
}

fn undefine(node: &Node, index: &str) -> Outcome {
    done(node, &["tpm2_nvundefine", index, "-C", "o"]).map(drop)
}

/// Writes bytes as the owner would.
fn write(node: &Node, index: &str, by: &str, bytes: &[u8]) -> Outcome {
    let file = format!("{OPERATOR}/bytes");
    fs::write(&file, bytes).doing("write a file")?;
    done(node, &["tpm2_nvwrite", index, "-C", by, "-i", &file]).map(drop)
}

/// What the slot holds.
fn contents(node: &Node) -> Outcome<Vec<u8>> {
    let file = format!("{OPERATOR}/contents");
    done(node, &["tpm2_nvread", SLOT, "-C", "o", "-o", &file])?;
    fs::read(&file).doing("read a file")
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

/// A tag in its file, and what root can make of it.
struct Issued {
    path: String,
    document: String,
    authorization: WriteAuthorization,
}

/// Has the tag authority issue a tag as the operator does it.
fn issue(name: &str, about: &[&str]) -> Outcome<Issued> {
    let path = format!("{OPERATOR}/{name}.tag");
    let key = format!("{OPERATOR}/keys/tag.pem");
    let mut line = vec!["tag", "issue", "--key", &key, "--tag", "country=DE"];
    line.extend(["--tag", "pool=shop", "--force", "-o", &path]);
    line.extend(about);
    run::to_end(Command::new("portcullis").args(line))?.success()?;
    let text = fs::read_to_string(&path).doing("read the tag")?;
    let value: Value = serde_json::from_str(&text).doing("read the tag as JSON")?;
    let member = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let authorization = WriteAuthorization::parse(&member("authorization"));
    Ok(Issued {
        document: member("document"),
        authorization: authorization.ok_or_else(|| Failure::new("no authorization"))?,
        path,
    })
}

/// A tag for the next count of this host's TPM.
fn issue_next(node: &Node, name: &str) -> Outcome<Issued> {
    let request = format!("{OPERATOR}/{name}.request.json");
    node.portcullis(&["tag", "request", "--force", "-o", &request])?
        .success()?;
    issue(name, &["--request", &request])
}

fn provision(node: &Node, issued: &Issued) -> Outcome {
    let provision = ["tag", "provision", &issued.path];
    node.portcullis(&provision)?.success().map(drop)
}

/// Puts the host in order with a new tag.
fn mend(node: &Node) -> Outcome {
    provision(node, &issue_next(node, "mend")?)?;
    assert_eq!(findings(node)?, Vec::<String>::new());
    node.starts()
}

/// Does with the TPM what root can do with a tag that was issued once: stores its digest, with the
/// authority's permission of then, in a slot for TPM `subject`.
fn store(node: &Node, issued: &Issued, subject: &str) -> Result<(), portcullis_tpm::TpmError> {
    let mut tpm = Tpm::new(node.tpm.tcti().parse::<Tcti>().unwrap());
    let jwk = fs::read(format!("{OPERATOR}/keys/tag.jwk")).unwrap();
    let authority = TrustedKey::parse(&jwk).unwrap();
    let subject = Ueid::parse(subject).unwrap();
    let write = TagWrite {
        authority: authority.key(),
        subject: &subject,
        digest: &tag::digest(&issued.document),
        authorization: &issued.authorization,
    };
    let deadline = Deadline::within(Duration::from_secs(20));
    tpm.define_tag(authority.key(), &subject, &deadline)?;
    tpm.write_tag(&write, &deadline).map(drop)
}

/// Replaces the document that the agent hands out.
fn hand_out(node: &mut Node, document: &str) -> Outcome {
    node.stop_agent()?;
    fs::write(Path::new(paths::TAG_DOCUMENT), document).doing("replace the document")?;
    node.start_agent()
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
                super::write(&node, SLOT, by, &digest)?;
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
            let other_tpm = Swtpm::start().doing("start another TPM")?;
            let mut other = Tpm::new(other_tpm.tcti().parse::<Tcti>().unwrap());
            let deadline = Deadline::within(Duration::from_secs(20));
            let other = other.identity(&deadline).doing("ask the other TPM")?.ueid;
            drop(other_tpm);
            let file = format!("{OPERATOR}/counter");
            done(&node, &["tpm2_nvread", COUNTER, "-C", "o", "-o", &file])?;
            let counter = fs::read(file).doing("read the counter")?;
            let counter = u64::from_be_bytes(counter.try_into().unwrap()).to_string();
            let about = ["--tpm", other.as_str(), "--counter", &counter];
            let foreign = issue("foreign", &about)?;

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
            store(&node, &foreign, other.as_str()).doing("store a foreign digest")?;
            launch_is(&node, "asset-tag-tampered")?;
            hand_out(&mut node, &foreign.document)?;
            let codes: Vec<String> = findings(&node)?
                .iter()
                .filter_map(|finding| finding.split(':').next().map(str::to_owned))
                .collect();
            assert_eq!(codes, ["asset-tag-tampered", "asset-tag-mismatch"]);
            launch_is(&node, "asset-tag-tampered")?;
            mend(&node)?;
            node.finish()
        })
    }
}
