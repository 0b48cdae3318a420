//! `portcullis break-glass list`

use clap::Args;
use serde_json::json;

use crate::clock;
use crate::failure::Failure;
use crate::paint::{plain, strong};
use crate::report::Report;
use crate::tokens::{self, Listed};

/// Show the break-glass tokens of this node, and which of them were used.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis break-glass list
  portcullis break-glass list --output json | jq '.tokens[] | select(.state == \"open\")'")]
pub(crate) struct ListArguments {}

pub(crate) fn run(_arguments: &ListArguments) -> Result<Report, Failure> {
    let settings = portcullis_config::load()?;
    let now = clock::now_unix_s();
    let listed = tokens::list(&settings, now)?;
    let mut text = String::new();
    for one in &listed {
        text.push_str(&format!(
            "{}\n{}",
            strong(&plain(&one.file)),
            one.rows(now).render()
        ));
    }
    if listed.is_empty() {
        text.push_str("no break-glass tokens on this node\n");
    }
    let tokens: Vec<_> = listed.iter().map(Listed::to_json).collect();
    Ok(Report::done(text, json!({ "tokens": tokens })))
}
