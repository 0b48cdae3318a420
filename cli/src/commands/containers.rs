//! `portcullis containers`

mod work;

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::containers::{Names, ProcessesError};
use crate::failure::{EXIT_REFUSED, Failure};
use crate::paint::{bad, good, plain};
use crate::report::Report;

use work::{Action, End, Handled};

/// What can be done with containers.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainersCommand {
    /// Freeze containers: their processes stand still until they are resumed.
    ///
    /// By the cgroup freezer, where runc and crun look: to them they are paused. Nothing of the
    /// host is frozen along. Needs root; ends with 1 if one could not be paused.
    #[command(after_help = "\
Examples:
  portcullis containers pause --all
  portcullis containers pause web --output json")]
    Pause(Which),
    /// Let containers go on that are paused, whoever paused them.
    ///
    /// Needs root; ends with 1 if one could not be resumed.
    #[command(after_help = "Example: portcullis containers resume --all")]
    Resume(Which),
    /// Kill containers, so that their engines see an exit and clear up.
    ///
    /// What an engine starts in their place has to pass the gate. Needs root; ends with 1 if one
    /// did not end.
    #[command(after_help = "\
Examples:
  portcullis containers stop --all
  portcullis containers stop web --output json")]
    Stop(Which),
}

/// Which of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Those of this id, as 'portcullis census' shows it.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that 'portcullis census' shows, and those that appear meanwhile.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainersError {
    #[error(transparent)]
    Processes(#[from] ProcessesError),
    #[error(
        "cannot tell containers from the host: process 1 has another root or process namespace; run \
         the command on the host itself"
    )]
    Elsewhere,
    #[error("cannot find container '{id}': see 'portcullis census'")]
    Unknown { id: String },
}

pub(crate) fn run(command: &ContainersCommand) -> Result<Report, Failure> {
    let (action, which) = match command {
        ContainersCommand::Pause(which) => (Action::Pause, which),
        ContainersCommand::Resume(which) => (Action::Resume, which),
        ContainersCommand::Stop(which) => (Action::Stop, which),
    };
    let ids = (!which.all).then_some(which.ids.as_slice());
    let handled = work::carry_out(action, ids).map_err(|error| match error {
        ContainersError::Unknown { .. } => Failure::usage(error),
        _ => Failure::undecided(error),
    })?;
    Ok(report(action, &handled))
}

fn report(action: Action, handled: &[Handled]) -> Report {
    let count = |wanted: fn(&End) -> bool| handled.iter().filter(|one| wanted(&one.end)).count();
    let done = count(|end| matches!(end, End::Done));
    let already = count(|end| matches!(end, End::Already));
    let failed = count(|end| matches!(end, End::Failed(_)));
    let participle = action.participle();
    let mut text = format!("{} {done} containers", good(&format!("{participle}:")));
    if already > 0 {
        let _a_string_takes_every_write = write!(text, ", {already} {}", action.before());
    }
    text.push('\n');
    for one in handled {
        if let End::Failed(cause) = &one.end {
            let name = name(&one.names, one.pid);
            let _a_string_takes_every_write = writeln!(
                text,
                "{} {name}: {}",
                bad(&format!("not {participle}:")),
                plain(cause)
            );
        }
    }
    let of = |wanted: fn(&End) -> bool| -> Vec<Value> {
        let some = handled.iter().filter(|one| wanted(&one.end));
        some.map(to_json).collect()
    };
    Report {
        text,
        json: json!({
            "action": action.as_str(),
            "done": of(|end| matches!(end, End::Done)),
            "already": of(|end| matches!(end, End::Already)),
            "failed": of(|end| matches!(end, End::Failed(_))),
        }),
        exit: if failed == 0 { 0 } else { EXIT_REFUSED },
    }
}

/// What people know it by.
fn name(names: &Names, pid: u32) -> String {
    match (names.namespace.as_str(), names.id.as_str()) {
        (_, "") => format!("process {pid}"),
        ("", id) => plain(id),
        (namespace, id) => format!("{}/{}", plain(namespace), plain(id)),
    }
}

fn to_json(one: &Handled) -> Value {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let cause = match &one.end {
        End::Failed(cause) => Some(cause.as_str()),
        End::Done | End::Already => None,
    };
    json!({
        "id": some(&one.names.id),
        "namespace": some(&one.names.namespace),
        "runtime": some(one.names.runtime),
        "pid": one.pid,
        "cause": cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(id: &str, end: End) -> Handled {
        Handled {
            names: Names {
                id: id.to_owned(),
                namespace: "default".to_owned(),
                runtime: "runc",
            },
            pid: 77,
            end,
        }
    }

    #[test]
    fn the_exit_code_says_whether_all_was_done() {
        let all = report(
            Action::Pause,
            &[handled("a", End::Done), handled("b", End::Already)],
        );
        assert_eq!(all.exit, 0);
        let text = anstream::adapter::strip_str(&all.text).to_string();
        assert_eq!(text, "paused: 1 containers, 1 were paused before\n");
        let none = report(Action::Stop, &[]);
        assert_eq!((none.exit, &none.json["done"]), (0, &json!([])));

        let failed = End::Failed("cannot\nbe".to_owned());
        let some = report(Action::Stop, &[handled("we\tb", failed)]);
        assert_eq!(some.exit, 1);
        assert_eq!(some.json["failed"][0]["cause"], "cannot\nbe");
        let text = anstream::adapter::strip_str(&some.text).to_string();
        assert_eq!(
            text,
            "stopped: 0 containers\nnot stopped: default/we?b: cannot?be\n"
        );
    }
}
