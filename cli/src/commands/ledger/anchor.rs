//! `portcullis ledger anchor`

use clap::Args;
use portcullis_client::method::AnchorLedger;
use serde_json::json;

use crate::agent;
use crate::failure::Failure;
use crate::paint::Rows;
use crate::report::Report;

/// Anchor the ledger in the TPM now, before it is copied or the machine is taken away.
///
/// The agent does it by itself every 'agent.ledger_anchor_interval' and when it stops. Each anchor
/// writes two NV indices, and those wear: not for a loop.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis ledger anchor && portcullis ledger verify --live")]
pub(crate) struct AnchorArguments {}

pub(crate) fn run(AnchorArguments {}: &AnchorArguments) -> Result<Report, Failure> {
    let reply = agent::call(&AnchorLedger {}, agent::SLOW)?;
    let mut rows = Rows::default();
    rows.add("covers", format!("entries up to {}", reply.through));
    rows.add("ledger entry", reply.sequence.to_string());
    rows.add("counter", reply.counter.to_string());
    Ok(Report::done(
        format!("ledger anchored\n{}", rows.render()),
        json!({
            "sequence": reply.sequence,
            "through": reply.through,
            "counter": reply.counter,
        }),
    ))
}
