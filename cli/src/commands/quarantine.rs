//! `portcullis quarantine`

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;
use portcullis_attestation::pcr::PcrSelection;
use portcullis_attestation::{hex, quarantine};
use portcullis_client::method::Quarantine;
use portcullis_config::paths;
use serde_json::json;

use crate::agent;
use crate::clock;
use crate::failure::{EXIT_UNDECIDED, Failure};
use crate::paint::{Rows, plain, strong};
use crate::report::Report;

/// Let nothing more start on this host before it is rebooted.
///
/// Extends a PCR that verdicts cover, which only a reboot takes back: restarting the gate or the
/// agent does not help, and the TPM signs no verdict any more. Containers that run go on running.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis quarantine --reason 'INC-4711: suspicious module'
  portcullis quarantine --yes --output json")]
pub(crate) struct QuarantineArguments {
    /// Why, for whoever meets a refusal; kept on this host, one line.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, thiserror::Error)]
enum QuarantineError {
    #[error("cannot put host into quarantine without a word: give '--yes'")]
    Unasked,
    #[error("cannot put host into quarantine: not confirmed")]
    Unconfirmed,
    #[error("cannot read the answer")]
    Read(#[source] std::io::Error),
}

pub(crate) fn run(arguments: &QuarantineArguments) -> Result<Report, Failure> {
    if !arguments.yes {
        confirm()?;
    }
    let call = Quarantine {
        reason: arguments.reason.clone(),
    };
    // Before the PCR: from here on no break-glass token waives the verdict of this host.
    let noted = portcullis_host::note_quarantine(Path::new(paths::SEEN));
    let reply = agent::call(&call, agent::SLOW).inspect_err(|failure| {
        if failure.exit() == EXIT_UNDECIDED {
            anstream::eprintln!("{}", by_hand());
        }
    })?;
    noted.map_err(|error| error.refusal())?;
    let now = clock::now_unix_s();
    let mut rows = Rows::default();
    rows.add("PCR", reply.pcr.to_string());
    if let Some(since) = reply.quarantine.since {
        rows.add("since", clock::utc_and_distance(since, now));
    }
    if let Some(reason) = &reply.quarantine.reason {
        rows.add("reason", plain(reason));
    }
    let headline = if reply.was_quarantined {
        "In quarantine already."
    } else {
        "In quarantine."
    };
    let text = format!(
        "{}\n{}\nNothing starts on this host before it is rebooted. What runs goes on: stop it or drain the \
         node.\n",
        strong(headline),
        rows.render()
    );
    let json = json!({
        "pcr": reply.pcr,
        "was_quarantined": reply.was_quarantined,
        "since": reply.quarantine.since,
        "reason": reply.quarantine.reason,
    });
    Ok(Report::done(text, json))
}

fn confirm() -> Result<(), Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::usage(QuarantineError::Unasked));
    }
    anstream::eprint!("Nothing will start on this host before it is rebooted. Go on? [y/N] ");
    let mut answer = String::new();
    std::io::stderr()
        .flush()
        .and_then(|()| input.read_line(&mut answer))
        .map_err(|error| Failure::internal(QuarantineError::Read(error)))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::usage(QuarantineError::Unconfirmed))
    }
}

/// What can be done without an agent.
fn by_hand() -> String {
    let selection = portcullis_config::load()
        .ok()
        .map(|config| config.agent.pcrs);
    format!(
        "The host may not be in quarantine. Without an agent and a TPM nothing starts either; to keep \
         it so, start the agent and try again{}.",
        selection.and_then(command).unwrap_or_default()
    )
}

fn command(selection: PcrSelection) -> Option<String> {
    let register = quarantine::register(selection)?;
    let bank = selection.bank();
    let digest = hex::encode(&quarantine::digest(bank)?);
    Some(format!(
        ", or run 'tpm2_pcrextend {register}:{bank}={digest}'"
    ))
}

#[cfg(test)]
mod tests {
    use portcullis_attestation::pcr::{HashAlg, PcrIndex};

    use super::*;

    #[test]
    fn says_how_to_do_it_without_an_agent() {
        let pcrs = [0, 7, 14].into_iter().filter_map(PcrIndex::new);
        let selection = PcrSelection::new(HashAlg::Sha256, pcrs);
        assert_eq!(
            command(selection).unwrap(),
            ", or run 'tpm2_pcrextend 14:sha256=71a0b1a0234c1317082e619c35631facbb3a95bdfea724627b5600c66e69afb5'"
        );
        assert_eq!(command(PcrSelection::new(HashAlg::Sha256, [])), None);
    }
}
