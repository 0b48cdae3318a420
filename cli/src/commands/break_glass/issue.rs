//! `portcullis break-glass issue`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_attestation::ClaimError;
use portcullis_attestation::break_glass::{BreakGlass, Grant, TokenId};
use portcullis_attestation::jws::{SignError, Signer as _};
use portcullis_attestation::ueid::Ueid;
use portcullis_config::paths;
use portcullis_gate::Rule;
use serde_json::json;

use super::show::rows;
use crate::clock;
use crate::documents;
use crate::failure::Failure;
use crate::files;
use crate::paint::strong;
use crate::report::Report;

/// Sign an exception for one start of one pod or container on one node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis break-glass issue --key keys/policy.pem --node w7 --namespace shop --pod web-1 \\
    --rule non-root --rule capabilities --reason 'database does not come up' --ticket INC-7 -o t.jws
  portcullis break-glass issue --key keys/policy.pem --node w7 --namespace default \\
    --container rescue --host-trust --reason 'firmware update' --ticket INC-8 -o t.jws")]
pub(crate) struct IssueArguments {
    /// Private key made with 'keys generate --use policy'.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Name of the node, as in its settings.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// The TPM of the node, as 'portcullis status' shows it.
    #[arg(long, value_name = "UEID", conflicts_with = "host_trust", value_parser = ueid)]
    ueid: Option<Ueid>,
    /// Namespace of the pod, or else containerd's.
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// Name of the pod.
    #[arg(long, value_name = "NAME", required_unless_present = "container")]
    pod: Option<String>,
    /// Name of the container in its pod, or its id where there is no pod.
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Digest of the image: 'sha256:' and 64 hex digits.
    #[arg(long, value_name = "DIGEST")]
    image: Option<String>,
    /// Rule that is waived; several can be.
    #[arg(long = "rule", value_name = "ID", required_unless_present = "host_trust", value_parser = rule)]
    rules: Vec<Rule>,
    /// Waive that the host proves what it is, and nothing else.
    #[arg(long, conflicts_with = "rules")]
    host_trust: bool,
    /// Why, for whoever reads the ledger.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Where that is written up.
    #[arg(long, value_name = "ID")]
    ticket: String,
    /// Validity from now on; at most 24h, and what the node allows.
    #[arg(long, alias = "valid-for", value_name = "SPAN", default_value = "1h", value_parser = documents::validity)]
    valid: Duration,
    /// Who grants it; the identity of the key if not given.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// File to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error("cannot read random numbers from the kernel")]
    ReadRandom(#[source] getrandom::Error),
    #[error("cannot make a break-glass token of this")]
    Claims(#[source] ClaimError),
    #[error("cannot sign break-glass token")]
    Sign(#[source] SignError),
}

pub(crate) fn run(arguments: &IssueArguments) -> Result<Report, Failure> {
    let mut key = documents::private_key(&arguments.key)?;
    let kid = key.public_key().kid().to_string();
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(IssueError::ReadRandom)
        .map_err(Failure::internal)?;
    let now = clock::now_unix_s();
    let grant = if arguments.host_trust {
        Grant::HostTrust
    } else {
        let rules = arguments.rules.iter();
        Grant::Rules(rules.map(|rule| rule.id().to_owned()).collect())
    };
    let drafted = BreakGlass {
        issuer: arguments
            .issuer
            .clone()
            .unwrap_or_else(|| documents::issuer_of(&kid)),
        id: TokenId::new(bytes),
        issued_at_s: now,
        not_before_s: now,
        expires_s: now.saturating_add(arguments.valid.as_secs()),
        node: arguments.node.clone(),
        ueid: arguments.ueid.clone(),
        namespace: arguments.namespace.clone(),
        pod: arguments.pod.clone(),
        container: arguments.container.clone(),
        image: arguments.image.clone(),
        grant,
        reason: arguments.reason.clone(),
        ticket: arguments.ticket.clone(),
    };
    // What a node would not read is not signed.
    let token = BreakGlass::from_claims(&drafted.to_claims())
        .map_err(IssueError::Claims)
        .map_err(Failure::usage)?;
    let signed = token
        .sign(&mut key)
        .map_err(IssueError::Sign)
        .map_err(Failure::internal)?;
    let bytes = signed.as_bytes();
    files::write(&arguments.out, bytes, files::PUBLIC, arguments.force)?;

    let mut rows = rows(&token, now);
    rows.add("signed with", kid.as_str());
    rows.add("file", arguments.out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: copy it to {}/ on the node, and start what it is for. It counts once.",
        strong("Signed."),
        rows.render(),
        paths::BREAK_GLASS
    );
    let json = json!({ "file": arguments.out, "kid": kid, "claims": token.to_claims() });
    Ok(Report::done(text, json))
}

fn ueid(text: &str) -> Result<Ueid, String> {
    Ueid::parse(text).ok_or_else(|| "expected the 44 characters of a TPM's identity".to_owned())
}

fn rule(text: &str) -> Result<Rule, String> {
    match Rule::from_id(text) {
        Some(rule) if rule.may_be_loosened() => Ok(rule),
        Some(_) => Err("the gate itself rests on this rule; nothing waives it".to_owned()),
        None => Err(format!("expected one of '{}'", Rule::IDS.join("', '"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_does_not_exist_or_cannot_be_waived_is_refused() {
        assert_eq!(rule("non-root"), Ok(Rule::NonRoot));
        rule("root-filesystem").unwrap_err();
        assert!(rule("non_root").unwrap_err().contains("'non-root'"));
    }
}
