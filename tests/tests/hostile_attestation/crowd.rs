//! Two hundred launches at once, while the TPM takes 100 ms for each command.

use std::fs;
use std::thread;
use std::time::Duration;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::tpm_proxy::{TpmProxy, Wire};
use portcullis_tests::world::{World, measured};

/// Launches at once.
const LAUNCHES: usize = 200;
/// Time of the TPM for one command.
const COMMAND: Duration = Duration::from_millis(100);
/// Drop-in of this test: the wire to the TPM, and time for a crowd on two processors.
const SETTINGS: &str = "20-crowd";
/// The ledger of decisions.
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";
/// A PCR that the reference values cover.
const PCR: u32 = 11;

/// On a trusted host all of them start, and share the few readings that the TPM has time for; on
/// one that has drifted none does. Each start stands in the ledger.
pub(crate) fn play(world: &World) -> Outcome {
    let mut node = Node::provision(world)?;
    let proxy = TpmProxy::start(&node.tpm)?;
    node.stop_agent()?;
    let settings = format!(
        "[agent]\ntcti = \"{}\"\n[attestation]\nsnapshot_deadline = \"20s\"\n",
        proxy.tcti()
    );
    node.set(SETTINGS, &settings)?;
    node.start_agent()?;
    node.attest()?;
    proxy.be(Wire::Slow(COMMAND));

    let (before, commands) = (permitted()?, proxy.commands());
    let answers = launch_all(&node, "trusted")?;
    let refused: Vec<String> = answers.iter().flatten().map(ToString::to_string).collect();
    let commands = proxy.commands() - commands;
    measured(&format!(
        "{LAUNCHES} launches on a trusted host: {} starts, {commands} TPM commands",
        LAUNCHES - refused.len()
    ));
    assert_eq!(refused, Vec::<String>::new());
    assert_eq!(permitted()? - before, LAUNCHES, "each start is recorded");
    assert!(
        commands < LAUNCHES,
        "{commands} commands: launches share a reading"
    );

    node.tpm.extend(PCR, [0x5a; 32]).doing("extend a PCR")?;
    let before = permitted()?;
    let answers = launch_all(&node, "drifted")?;
    let refused = answers.iter().flatten();
    let refused: Vec<String> = refused.map(Refusal::short).collect();
    measured(&format!(
        "{LAUNCHES} launches on a host that has drifted: {} starts",
        LAUNCHES - refused.len()
    ));
    assert_eq!(refused, ["refused [pcr-drift]"; LAUNCHES]);
    assert_eq!(permitted()?, before, "nothing was permitted");
    proxy.be(Wire::Sound);
    node.finish()
}

/// Runs all at once; the refusals of those that did not start.
fn launch_all(node: &Node, name: &str) -> Outcome<Vec<Option<Refusal>>> {
    thread::scope(|scope| {
        let launches: Vec<_> = (0..LAUNCHES)
            .map(|number| {
                let id = format!("{name}-{number}");
                scope.spawn(move || {
                    let ran = node.run(&id, &[], &["true"])?;
                    if ran.status.success() {
                        return Ok(None);
                    }
                    node.forget(&id)?;
                    Refusal::find(&ran.stderr).map(Some)
                })
            })
            .collect();
        launches
            .into_iter()
            .map(|launch| {
                launch
                    .join()
                    .unwrap_or_else(|_| Err(Failure::new("a launch panicked")))
            })
            .collect()
    })
}

/// Creates permitted so far.
fn permitted() -> Outcome<usize> {
    let text = fs::read_to_string(LEDGER).doing("read the ledger")?;
    let mut count = 0;
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).doing("read a record")?;
        count += usize::from(record["operation"] == "create" && record["decision"] == "permitted");
    }
    Ok(count)
}
