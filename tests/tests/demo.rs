//! The demo, as `cargo xtask demo --output json` runs it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::{needs, programs, run};

/// How long it may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Steps that it must show, whatever else it shows.
const SHOWN: [&str; 8] = [
    "refused [pcr-drift]",
    "refused [host-rebooted]",
    "refused [asset-tag-mismatch]",
    "refused [verdict-signature-invalid]",
    "undecided [verdict-expired]",
    "undecided [agent-unreachable]",
    "refused [privileged-denied]",
    "refused [restore-denied]",
];

fn demo(programs: &Path) -> Outcome<run::Ran> {
    let folder = tempfile::tempdir().doing("make a scratch folder")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-lab"));
    command.args(["demo", "--output", "json", "--scratch"]);
    command.arg(folder.path().join("demo"));
    let ran = run::with_input(command.arg("--programs").arg(programs), None, PATIENCE)?;
    if ran.status.success() {
        assert!(
            !folder.path().join("demo").exists(),
            "the demo left its folder"
        );
    }
    Ok(ran)
}

mod needs_containerd {
    use super::*;

    #[test]
    fn every_step_is_as_expected() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        let text = demo(&programs::find().expect("the programs"))?.success()?;
        let steps: Vec<Value> = serde_json::from_str(&text).doing("read the outcome")?;
        for step in &steps {
            assert_eq!(step["ok"], true, "{step}");
            assert!(
                step["step"].is_string() && step["observed"].is_string(),
                "{step}"
            );
        }
        for expected in SHOWN {
            assert!(
                steps.iter().any(|step| step["expected"] == expected),
                "{expected}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_demo_that_cannot_set_up_its_host_fails() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        let empty = tempfile::tempdir().doing("make an empty folder")?;
        for (name, _) in programs::INSTALLED {
            let program = empty.path().join(name);
            std::fs::copy("/bin/false", program).doing("make a program that fails")?;
        }
        let ran = demo(empty.path())?;
        assert!(!ran.status.success());
        assert!(
            ran.stderr.contains("cannot") || ran.stderr.contains("ended with"),
            "{}",
            ran.stderr
        );
        Ok(())
    }
}
