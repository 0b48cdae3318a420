//! The tag authority at work, and what root can do with the tag's slot and with what was issued.

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
use portcullis_tests::run;
use portcullis_tests::swtpm::Swtpm;
use portcullis_tpm::{Deadline, TagWrite, Tcti, Tpm, TpmError};
use serde_json::Value;

/// NV index of the slot.
pub(crate) const SLOT: &str = "0x01c10110";
/// NV index of the counter.
pub(crate) const COUNTER: &str = "0x018d0c04";
/// The operator's folder.
pub(crate) const OPERATOR: &str = "/run/operator";
/// As earlier versions defined it.
pub(crate) const OWNER_WRITTEN: &str = "ownerwrite|ownerread|authread|no_da";

pub(crate) fn done(node: &Node, line: &[&str]) -> Outcome<String> {
    node.tpm_tool(line)?.success()
}

pub(crate) fn define(node: &Node, index: &str, attributes: &str, more: &[&str]) -> Outcome {
    let mut line = vec!["tpm2_nvdefine", index, "-C", "o", "-a", attributes];
    line.extend(more);
    done(node, &line).map(drop)
}

pub(crate) fn undefine(node: &Node, index: &str) -> Outcome {
    done(node, &["tpm2_nvundefine", index, "-C", "o"]).map(drop)
}

/// Writes bytes as the owner would.
pub(crate) fn write(node: &Node, index: &str, by: &str, bytes: &[u8]) -> Outcome {
    let file = format!("{OPERATOR}/bytes");
    fs::write(&file, bytes).doing("write a file")?;
    done(node, &["tpm2_nvwrite", index, "-C", by, "-i", &file]).map(drop)
}

/// What the slot holds.
pub(crate) fn contents(node: &Node) -> Outcome<Vec<u8>> {
    let file = format!("{OPERATOR}/contents");
    done(node, &["tpm2_nvread", SLOT, "-C", "o", "-o", &file])?;
    fs::read(&file).doing("read a file")
}

/// A tag in its file, and what root can make of it.
pub(crate) struct Issued {
    pub(crate) path: String,
    pub(crate) document: String,
    pub(crate) authorization: WriteAuthorization,
}

/// Has the tag authority issue a tag as the operator does it.
pub(crate) fn issue(name: &str, about: &[&str]) -> Outcome<Issued> {
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
pub(crate) fn issue_next(node: &Node, name: &str) -> Outcome<Issued> {
    let request = format!("{OPERATOR}/{name}.request.json");
    node.portcullis(&["tag", "request", "--force", "-o", &request])?
        .success()?;
    issue(name, &["--request", &request])
}

/// Has a tag issued for another TPM, with the count that would do here, and tells which TPM that is.
pub(crate) fn issue_foreign(node: &Node) -> Outcome<(Issued, String)> {
    let other_tpm = Swtpm::start().doing("start another TPM")?;
    let mut other = Tpm::new(other_tpm.tcti().parse::<Tcti>().unwrap());
    let deadline = Deadline::within(Duration::from_secs(20));
    let other = other.identity(&deadline).doing("ask the other TPM")?.ueid;
    drop(other_tpm);
    let file = format!("{OPERATOR}/counter");
    done(node, &["tpm2_nvread", COUNTER, "-C", "o", "-o", &file])?;
    let counter = fs::read(file).doing("read the counter")?;
    let counter = u64::from_be_bytes(counter.try_into().unwrap()).to_string();
    let about = ["--tpm", other.as_str(), "--counter", &counter];
    Ok((issue("foreign", &about)?, other.to_string()))
}

pub(crate) fn provision(node: &Node, issued: &Issued) -> Outcome {
    let provision = ["tag", "provision", &issued.path];
    node.portcullis(&provision)?.success().map(drop)
}

/// Does with the TPM what root can do with a tag that was issued once: stores its digest, with the
/// authority's permission of then, in a slot for TPM `subject`.
pub(crate) fn store(node: &Node, issued: &Issued, subject: &str) -> Result<(), TpmError> {
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
pub(crate) fn hand_out(node: &mut Node, document: &str) -> Outcome {
    node.stop_agent()?;
    fs::write(Path::new(paths::TAG_DOCUMENT), document).doing("replace the document")?;
    node.start_agent()
}
