//! The command line: what can be typed. What it means is in [`crate::commands`].

use clap::{Parser, ValueEnum};

use crate::commands::Command;

const EXAMPLES: &str = "\
Examples:
  First steps on a node, as root:
    portcullis enroll
    portcullis reference capture --name debian-12 --out captured.json
  Where the operator's keys are:
    portcullis keys generate --use reference --out keys
    portcullis reference sign --key keys/reference.pem -i captured.json -o debian-12.jws
  Back on the node, with keys/reference.jwk in /etc/portcullis/trust.d/ and debian-12.jws in
  /etc/portcullis/reference.d/:
    portcullis attest
    portcullis check /path/to/bundle/config.json

Exit codes: 0 done or permitted, 1 refused, 2 undecided, 64 usage or settings, 70 internal.";

/// The gate at container launch: keys, boot states, asset tags, verdicts and decisions.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Form of the result on standard output.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs; on failure, too.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_subcommands().next().is_none() {
                assert!(command.get_about().is_some(), "{path} has no description");
                let examples = command.get_after_help().map(ToString::to_string);
                let name = path.trim_start();
                assert!(
                    examples.is_some_and(|text| text.contains(name)),
                    "{name} has no example"
                );
            }
            for inner in command
                .get_subcommands()
                .filter(|it| it.get_name() != "help")
            {
                visit(inner, &path);
            }
        }
        visit(&Arguments::command(), "");
    }
}
