//! The gate by itself: the agent's live reading, and the hook, which takes the same decision as the
//! shim in a process of its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::json;

use super::crowd::joined;
use super::measure::{Measure, count, in_turn, quantile, since};
use super::process::processor_ms;
use super::task;
use super::{Bench, SETTINGS};
use crate::containerd::NAMESPACE;
use crate::failure::{Doing, Failure, Outcome};
use crate::world::World;

/// What [`readings`] measures.
pub(super) const READINGS: [&str; 4] = [
    "agent's snapshot, 1 asker",
    "agent's snapshot, 200 askers at once, median of each",
    "agent's snapshot, 200 askers at once, p99 of each",
    "agent's processor time for each of 200 askers at once",
];
/// What [`hooks`] measures.
pub(super) const HOOKS: [&str; 4] = [
    "hook process, whole",
    "gate's own work, 1 decision",
    "hardening's own work, 1 decision",
    "gate's own work, 200 decisions at once, p99 of each",
];
/// How many ask at once.
const ASKERS: usize = 200;
/// Rounds of hooks at once, unless fewer runs are asked for.
const HOOK_ROUNDS: usize = 10;
/// Settings of the three ways in which a hook is run: to do nothing, for the gate alone, and for
/// gate and hardening, as shipped.
const WAYS: [&str; 3] = ["", "[hook]\nrequire_hardened = false\n", ""];
/// Which of them is the gate alone.
const GATE_ONLY: usize = 1;
/// The agent's socket.
const SOCKET: &str = "/run/portcullis/agent.sock";
/// The hook where the package puts it.
const HOOK: &str = "/usr/libexec/portcullis/portcullis-hook";
/// The call that every launch makes, with the default deadline.
const CALL: &[u8] =
    b"{\"method\":\"dev.portcullis.Agent.Snapshot\",\"parameters\":{\"deadline_ms\":1500}}\0";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the agent takes, alone and in a crowd.
pub(super) fn readings(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let [alone] = in_turn(bench.runs, |_, _| ask())?;
    let agent = bench.agent()?;
    let [crowds] = in_turn(bench.runs, |_, _| {
        let before = processor_ms(agent)?;
        let each = askers()?;
        Ok((each, (processor_ms(agent)? - before) / count(ASKERS)))
    })?;
    let of = |share| {
        crowds
            .iter()
            .map(|(each, _)| quantile(each, share))
            .collect()
    };
    let work = crowds.iter().map(|(_, work)| *work).collect();
    Ok(vec![
        Measure::alone(READINGS[0], "ms", alone),
        Measure::alone(READINGS[1], "ms", of(0.5)),
        Measure::alone(READINGS[2], "ms", of(0.99)),
        Measure::alone(READINGS[3], "ms", work),
    ])
}

/// The hook, one after the other and in a crowd.
///
/// Own work is processor time: what the machine does for a decision and would not do without it.
/// The software TPM's work is left out, because a TPM does it beside the processor.
///
/// - The gate's is that of a hook that need not look at the configuration (it reads settings and
///   keys, asks, verifies, decides and records), less that of a hook that is started and does
///   nothing, and with an equal share of what the agent did meanwhile.
/// - Hardening's is what the hook does more when it has to look at the configuration.
pub(super) fn hooks(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let subjects = task::prepare(bench.node, bench.sides()[0], "hooked", 1)?;
    let id = subjects[0].id.as_str();
    subjects[0].launch()?;
    // The bundle that our shim has hardened, asked about as if its container were being created.
    let state = json!({
        "ociVersion": "1.0.2",
        "id": id,
        "status": "creating",
        "pid": 1,
        "bundle": format!("/run/containerd/io.containerd.runtime.v2.task/{NAMESPACE}/{id}"),
    })
    .to_string();
    let agent = bench.agent()?;
    let taken = one_by_one(bench, agent, &state);
    bench.node.set(SETTINGS, WAYS[GATE_ONLY])?;
    let crowds = in_turn(bench.runs.min(HOOK_ROUNDS), |_, _| {
        let before = processor_ms(agent)?;
        let hooks = crowd_of_hooks(&state)?;
        let share = (processor_ms(agent)? - before) / count(ASKERS);
        Ok(quantile(&hooks, 0.99) + share)
    });
    bench.node.unset(SETTINGS)?;
    subjects[0].end()?;
    task::discard(&subjects)?;

    let [nothing, gate, whole] = taken?;
    let [crowds] = crowds?;
    let work = |all: &[Decision]| all.iter().map(|one| one.work).collect::<Vec<f64>>();
    let (nothing, gate) = (work(&nothing), work(&gate));
    let started = quantile(&nothing, 0.5);
    let at_once = crowds.iter().map(|work| work - started).collect();
    let whole_ms = whole.iter().map(|one| one.wall).collect();
    Ok(vec![
        Measure::alone(HOOKS[0], "ms", whole_ms),
        Measure::added(HOOKS[1], "ms", &gate, &nothing),
        Measure::added(HOOKS[2], "ms", &work(&whole), &gate),
        Measure::alone(HOOKS[3], "ms", at_once),
    ])
}

/// One hook, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Decision {
    wall: f64,
    /// Processor time of the hook and of the agent meanwhile.
    work: f64,
}

/// One hook after the other, in each of [`WAYS`].
fn one_by_one(bench: &Bench<'_>, agent: u32, state: &str) -> Outcome<[Vec<Decision>; 3]> {
    let world = World::current().ok_or_else(|| Failure::new("this is not a world"))?;
    let file = world.private().join("hook-state");
    fs::write(&file, state).doing("write a state")?;
    in_turn(bench.runs, |way, _| {
        bench.node.set(SETTINGS, WAYS[way])?;
        let arguments: &[&str] = if way == 0 { &["--version"] } else { &[] };
        let state = File::open(&file).doing("open a state")?;
        let before = processor_ms(agent)?;
        let begun = Instant::now();
        let hook = start_hook(arguments, Stdio::from(state))?;
        until_ended(&hook)?;
        let wall = since(begun);
        // Asked for its version, it ends with another code, lest that be taken for permission.
        let work = work_of(hook, way > 0)? + processor_ms(agent)? - before;
        Ok(Decision { wall, work })
    })
}

/// Runs [`ASKERS`] hooks at once; returns the processor time of each.
fn crowd_of_hooks(state: &str) -> Outcome<Vec<f64>> {
    let mut hooks = Vec::new();
    for _ in 0..ASKERS {
        hooks.push(start_hook(&[], Stdio::piped())?);
    }
    // They wait for the end of their input; this sets all of them off.
    for hook in &mut hooks {
        let mut input = hook
            .stdin
            .take()
            .ok_or_else(|| Failure::new("a hook without input"))?;
        input.write_all(state.as_bytes()).doing("write to a hook")?;
    }
    hooks
        .into_iter()
        .map(|hook| {
            until_ended(&hook)?;
            work_of(hook, true)
        })
        .collect()
}

fn start_hook(arguments: &[&str], input: Stdio) -> Outcome<Child> {
    let mut hook = Command::new(HOOK);
    hook.args(arguments).stdin(input);
    hook.stdout(Stdio::null()).stderr(Stdio::piped());
    hook.spawn().doing(format!("start '{HOOK}'"))
}

/// Waits for the end of a hook, and leaves its figures with the kernel.
fn until_ended(hook: &Child) -> Outcome {
    let pid = Pid::from_raw(hook.id().cast_signed());
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), flags)
        .doing("wait for a hook")
        .map(drop)
}

/// Processor time of a hook that has ended, with permission if that is demanded.
fn work_of(hook: Child, permitted: bool) -> Outcome<f64> {
    let work = processor_ms(hook.id())?;
    let output = hook.wait_with_output().doing("wait for a hook")?;
    if output.status.success() || !permitted {
        return Ok(work);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let (status, said) = (output.status, said.trim());
    Err(Failure::new(format!(
        "the hook ended with {status}: {said}"
    )))
}

/// Lets [`ASKERS`] ask at once; returns the milliseconds of each, from its own question.
fn askers() -> Outcome<Vec<f64>> {
    let gate = Barrier::new(ASKERS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..ASKERS)
            .map(|_| {
                scope.spawn(|| {
                    gate.wait();
                    ask()
                })
            })
            .collect();
        threads.into_iter().map(joined).collect()
    })
}

/// Asks the agent as a launch does; returns the milliseconds from the connection to the answer.
fn ask() -> Outcome<f64> {
    let begun = Instant::now();
    let mut stream = UnixStream::connect(SOCKET).doing(format!("connect to '{SOCKET}'"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .doing("set a deadline")?;
    stream.write_all(CALL).doing("ask the agent")?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    while answer.last() != Some(&0) {
        let length = stream.read(&mut piece).doing("read the agent's answer")?;
        if length == 0 {
            return Err(Failure::new("the agent hung up"));
        }
        answer.extend_from_slice(&piece[..length]);
    }
    let took = since(begun);
    let text = String::from_utf8_lossy(&answer);
    // A success has no such member.
    if text.contains("\"error\":") {
        let text = text.trim_end_matches('\0');
        return Err(Failure::new(format!("the agent answers {text}")));
    }
    Ok(took)
}
