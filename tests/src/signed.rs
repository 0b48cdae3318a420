//! What an operator signs for a node beyond reference values: policy bundles and break-glass tokens.

use std::fs;

use serde_json::Value;

use crate::failure::{Doing, Failure, Outcome};
use crate::node::Node;
use crate::wait::{self, PATIENCE};

/// The operator's keys.
const KEYS: &str = "/run/operator/keys";
/// Pinned keys.
const TRUST: &str = "/etc/portcullis/trust.d";
/// Policy bundles of the node.
pub const POLICY: &str = "/etc/portcullis/policy.d";
/// Tokens of the node.
pub const BREAK_GLASS: &str = "/etc/portcullis/break-glass.d";

/// The private key for policies.
#[must_use]
pub fn key() -> String {
    format!("{KEYS}/policy.pem")
}

/// Makes a key for policies and pins it on the node.
///
/// # Errors
///
/// When the command fails or a file cannot be written.
pub fn pin_key(node: &Node) -> Outcome {
    let generate = ["keys", "generate", "--use", "policy", "--out", KEYS];
    node.portcullis(&generate)?.success()?;
    fs::copy(format!("{KEYS}/policy.jwk"), format!("{TRUST}/policy.jwk")).doing("pin the key")?;
    for folder in [POLICY, BREAK_GLASS] {
        fs::create_dir_all(folder).doing(format!("make '{folder}'"))?;
    }
    Ok(())
}

/// Signs `settings` as the node's bundle `name`, with `more` options.
///
/// # Errors
///
/// When the command fails or a file cannot be written.
pub fn policy(node: &Node, name: &str, settings: &str, more: &[&str]) -> Outcome<String> {
    let (file, out) = (
        format!("/run/operator/{name}.toml"),
        format!("{POLICY}/{name}.jws"),
    );
    fs::write(&file, settings).doing("write settings")?;
    let key = key();
    let mut sign = vec!["policy", "sign", "--key", &key, "--settings", &file];
    sign.extend(["--force", "-o", &out]);
    sign.extend(more);
    node.portcullis(&sign)?.success()?;
    Ok(out)
}

/// Issues the token `name` to this node, with `more` options; returns its id.
///
/// # Errors
///
/// When the command fails.
pub fn token(node: &Node, name: &str, more: &[&str]) -> Outcome<String> {
    let (key, this) = (key(), node_name(node)?);
    let out = format!("{BREAK_GLASS}/{name}.jws");
    let mut issue = vec!["break-glass", "issue", "--key", &key, "-o", &out];
    issue.extend(["--reason", "it is night", "--ticket", "INC-7"]);
    issue.extend(["--force", "--output", "json"]);
    if !more.contains(&"--node") {
        issue.extend(["--node", &this]);
    }
    issue.extend(more);
    let said = node.portcullis(&issue)?.success()?;
    let said: Value = serde_json::from_str(&said).doing("read the answer")?;
    let id = said["claims"]["jti"].as_str().map(str::to_owned);
    id.ok_or_else(|| Failure::new(format!("no id in: {said}")))
}

/// Waits until `portcullis <command> show <file>` says that its time is over.
///
/// # Errors
///
/// When that does not come.
pub fn until_over(node: &Node, command: &str, file: &str) -> Outcome {
    wait::until_true("the end of a signed document", PATIENCE, || {
        let shown = node.portcullis(&[command, "show", file]);
        shown.is_ok_and(|ran| ran.status.code() == Some(1))
    })
}

/// What `portcullis status` says, for programs; whatever its exit code.
///
/// # Errors
///
/// When the agent does not answer.
pub fn status(node: &Node) -> Outcome<Value> {
    let ran = node.portcullis(&["status", "--output", "json"])?;
    serde_json::from_str(&ran.stdout).doing("read the status")
}

/// The newest record of the ledger about operation `operation`, whole.
///
/// # Errors
///
/// When there is none.
pub fn last_record(node: &Node, operation: &str) -> Outcome<Value> {
    let ran = node.portcullis(&["ledger", "list", "--output", "json"])?;
    let text = ran.success()?;
    let all: Value = serde_json::from_str(&text).doing("read the ledger")?;
    let list = all.as_array().or_else(|| all["entries"].as_array());
    let newest = list
        .into_iter()
        .flatten()
        .rfind(|entry| entry["operation"] == operation)
        .and_then(|entry| entry["ref"].as_str())
        .ok_or_else(|| Failure::new(format!("no '{operation}' in: {text}")))?;
    let ran = node.portcullis(&["explain", newest, "--output", "json"])?;
    serde_json::from_str(&ran.success()?).doing("read an entry")
}

fn node_name(node: &Node) -> Outcome<String> {
    let status = status(node)?;
    let name = status["node_name"].as_str().map(str::to_owned);
    name.ok_or_else(|| Failure::new("a status without a name"))
}
