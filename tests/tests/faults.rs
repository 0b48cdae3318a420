//! What is left when shim, OCI runtime or containerd is killed in the middle of things: never a
//! container that was not decided on, and after containerd's clean-up nothing at all.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use portcullis_tests::containerd::{NAMESPACE, PORTCULLIS};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::held::{self, HeldRuntime, When};
use portcullis_tests::node::Node;
use portcullis_tests::run;
use portcullis_tests::shim_tasks::BUNDLES;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Census, Shape, World};
use portcullis_tests::{image, in_world, needs};

/// Where the OCI runtimes keep their state.
const RUNTIME_STATE: &str = "/run/containerd/runc";
/// Where decisions are kept.
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";
/// Name of the shim's process.
const SHIM: &str = "portcullis-shim";

/// Longer than any clean-up that somebody does take up.
const SOON: Duration = Duration::from_secs(3);
/// Longer than a shim waits for its first task.
const LONG: Duration = Duration::from_secs(90);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Runtime,
    Shim,
    Containerd,
}

/// Where in a container's life.
#[derive(Debug, Clone, Copy)]
struct Step {
    verb: &'static str,
    when: When,
}

/// Every call of the OCI runtime that a launch, an exec and a removal make.
const STEPS: [Step; 8] = [
    step("create", When::Before),
    step("create", When::After),
    step("start", When::Before),
    step("start", When::After),
    step("exec", When::Before),
    step("exec", When::After),
    step("delete", When::Before),
    step("delete", When::After),
];

const fn step(verb: &'static str, when: When) -> Step {
    Step { verb, when }
}

/// What a walk works on.
struct Walk<'a> {
    world: &'a World,
    node: Node,
    runtime: HeldRuntime,
}

impl<'a> Walk<'a> {
    fn prepare(world: &'a World, binary: &str) -> Outcome<Self> {
        let node = Node::provision(world)?;
        let runtime = HeldRuntime::install(binary)?;
        node.set("50-runtime", &runtime.settings())?;
        Ok(Self {
            world,
            node,
            runtime,
        })
    }

    /// Starts a container in the background.
    fn launch(&self, id: &str, command: &[&str]) -> Outcome<Child> {
        let mut arguments = vec!["run", "--detach", "--runtime", PORTCULLIS];
        arguments.extend_from_slice(&[image::BUSYBOX, id]);
        arguments.extend_from_slice(command);
        self.begin(&arguments)
    }

    fn begin(&self, arguments: &[&str]) -> Outcome<Child> {
        let mut ctr = self.node.containerd.ctr(arguments);
        ctr.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        ctr.spawn().doing("start ctr")
    }

    /// Begins what makes the shim take `step`.
    fn begin_step(&self, step: Step, id: &str) -> Outcome<Child> {
        match step.verb {
            "exec" => {
                self.node.start(id, &[], &["sleep", "600"])?;
                self.begin(&["task", "exec", "--exec-id", "x", id, "sleep", "600"])
            }
            "delete" => {
                self.node.start(id, &[], &["true"])?;
                wait::until_true("the end of the task", PATIENCE, || {
                    let list = self.node.containerd.run_ctr(&["task", "ls"]);
                    list.is_ok_and(|list| list.stdout.contains("STOPPED"))
                })?;
                self.begin(&["task", "delete", id])
            }
            _ => self.launch(id, &["sleep", "600"]),
        }
    }

    /// One step with one victim.
    fn take(&mut self, step: Step, victim: Victim) -> Outcome {
        let id = format!("{}-{:?}", step.verb, step.when).to_lowercase();
        println!("{victim:?} is killed: {id}");
        let before = Census::take();
        self.runtime.hold(step.verb, step.when, &id)?;
        let mut ctr = self.begin_step(step, &id)?;
        let stopped = self.runtime.stopped()?;
        match victim {
            Victim::Runtime => stopped.kill()?,
            Victim::Shim => {
                let since = Instant::now();
                held::kill(stopped.caller()?)?;
                self.runtime.release()?;
                self.dead_within(&id, since, Duration::from_secs(2))?;
            }
            Victim::Containerd => self.node.containerd.crash()?,
        }
        self.runtime.release()?;
        if victim == Victim::Containerd {
            // A client may wait for its return.
            end(&mut ctr)?;
            decided(&id)?;
            self.node.containerd.recover(self.world)?;
        } else {
            run::wait_for(&mut ctr, "ctr", PATIENCE)?;
        }
        decided(&id)?;
        self.clear(&id, &before)
    }

    /// Fails unless no process of `id` is alive in time.
    fn dead_within(&self, id: &str, since: Instant, limit: Duration) -> Outcome {
        let dead = wait::until_true("the death of the container", PATIENCE, || {
            processes(id).is_empty()
        });
        let took = since.elapsed();
        println!("dead after {took:?}");
        if took > limit {
            return Err(Failure::new(format!("'{id}' was dead after {took:?} only")));
        }
        dead
    }

    /// Removes the container as its owner would; nothing of it may be left.
    fn clear(&self, id: &str, before: &Census) -> Outcome {
        let containerd = &self.node.containerd;
        wait::until_true("the removal of the container", PATIENCE, || {
            let task = containerd.run_ctr(&["task", "delete", "--force", id]);
            let entry = containerd.run_ctr(&["container", "delete", id]);
            let list = containerd.run_ctr(&["container", "ls", "--quiet"]);
            task.is_ok()
                && entry.is_ok()
                && list.is_ok_and(|list| !list.stdout.lines().any(|line| line == id))
        })?;
        if before.until_clean_but(SOON, "containerd").is_err() {
            // containerd 1.6 forgets a shim that dies during Create without running its 'delete':
            // then the next launch clears up.
            self.node.starts()?;
            before.until_clean_but(LONG, "containerd")?;
        }
        for root in [BUNDLES, RUNTIME_STATE] {
            let path = Path::new(root).join(NAMESPACE).join(id);
            wait::until_true(
                &format!("'{}' to be gone", path.display()),
                PATIENCE,
                || !path.exists(),
            )?;
        }
        Ok(())
    }
}

/// Ends a client.
fn end(ctr: &mut Child) -> Outcome {
    ctr.kill().doing("kill ctr")?;
    ctr.wait().doing("wait for ctr").map(drop)
}

/// Processes in the cgroup of container `id`.
fn processes(id: &str) -> Vec<u32> {
    let end = format!("/{id}");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            groups.lines().any(|line| line.ends_with(&end)) && held::is_alive(*pid)
        })
        .collect()
}

/// The records of `id` in the ledger, as `operation decision`.
fn records(id: &str) -> Vec<String> {
    let text = fs::read_to_string(LEDGER).unwrap_or_default();
    let records = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of = |record: &serde_json::Value| {
        let at = |path| {
            record
                .pointer(path)
                .or(record.pointer(&format!("/record{path}")))
        };
        let word = |path| at(path).and_then(|value| value.as_str()).map(str::to_owned);
        (word("/container/id")? == id)
            .then(|| Some(format!("{} {}", word("/operation")?, word("/decision")?)))?
    };
    records.filter_map(|record| of(&record)).collect()
}

/// Fails if there is a process of `id` and no decision that lets it be.
fn decided(id: &str) -> Outcome {
    let alive = processes(id);
    let records = records(id);
    if alive.is_empty() || records.iter().any(|record| record == "create permitted") {
        return Ok(());
    }
    Err(Failure::new(format!(
        "'{id}' has processes {alive:?} and the records {records:?}"
    )))
}

fn shims() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == SHIM)
        })
        .collect()
}

/// The walk with one victim.
fn walk(world: &World, binary: &str, victim: Victim) -> Outcome {
    let mut walk = Walk::prepare(world, binary)?;
    for step in STEPS {
        walk.take(step, victim)?;
    }
    walk.node.starts()?;
    walk.node.finish()
}

/// Before the decision: the agent does not answer, and the victim dies meanwhile.
fn while_undecided(world: &World, victim: Victim) -> Outcome {
    let mut walk = Walk::prepare(world, "runc")?;
    let before = Census::take();
    let agent = walk.node.agent().ok_or_else(|| Failure::new("no agent"))?;
    agent.signal(Signal::SIGSTOP)?;
    let mut ctr = walk.launch("undecided", &["sleep", "600"])?;
    wait::until_true("the shim to ask the agent", PATIENCE, || {
        let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let asked = sockets.lines().filter(|line| line.ends_with("/agent.sock"));
        asked.count() > 1
    })?;
    match victim {
        Victim::Runtime => return Err(Failure::new("no runtime is called yet")),
        Victim::Shim => shims().into_iter().try_for_each(held::kill)?,
        Victim::Containerd => walk.node.containerd.crash()?,
    }
    end(&mut ctr)?;
    assert_eq!(processes("undecided"), Vec::<u32>::new());
    if let Some(agent) = walk.node.agent() {
        agent.signal(Signal::SIGCONT)?;
    }
    if victim == Victim::Containerd {
        walk.node.containerd.recover(world)?;
    }
    walk.clear("undecided", &before)?;
    let called = walk.runtime.calls();
    assert!(
        !called.contains(&"create undecided".to_owned()),
        "{called:?}"
    );
    walk.node.starts()?;
    walk.node.finish()
}

/// The shim is killed a little later each time, so that every step of its own is met.
fn sweep(world: &World) -> Outcome {
    let walk = Walk::prepare(world, "runc")?;
    for step in 0..20 {
        let id = format!("sweep-{step}");
        let before = Census::take();
        let mut ctr = walk.launch(&id, &["sleep", "600"])?;
        let shim = wait::until("a shim", PATIENCE, || shims().first().copied())?;
        let kill_at = Instant::now() + Duration::from_millis(3 * step);
        wait::until_true("the moment", PATIENCE, || Instant::now() >= kill_at)?;
        held::kill(shim)?;
        walk.dead_within(&id, Instant::now(), Duration::from_secs(2))?;
        run::wait_for(&mut ctr, "ctr", PATIENCE)?;
        walk.clear(&id, &before)?;
    }
    walk.node.starts()?;
    walk.node.finish()
}

/// The real runtime, not the script around it, is killed a little later each time.
fn runtime_sweep(world: &World, binary: &str) -> Outcome {
    let walk = Walk::prepare(world, binary)?;
    for verb in ["create", "start", "exec"] {
        for step in 0..8 {
            let id = format!("{verb}-{step}");
            let before = Census::take();
            let seconds = format!("0.{:03}", 1 + 4 * step);
            if verb == "exec" {
                walk.node.start(&id, &[], &["sleep", "600"])?;
            }
            walk.runtime.kill_after(verb, &id, &seconds)?;
            let mut ctr = match verb {
                "exec" => walk.begin(&["task", "exec", "--exec-id", "x", &id, "true"])?,
                _ => walk.launch(&id, &["sleep", "600"])?,
            };
            run::wait_for(&mut ctr, "ctr", PATIENCE)?;
            walk.runtime.release()?;
            decided(&id)?;
            walk.clear(&id, &before)?;
        }
    }
    walk.node.starts()?;
    walk.node.finish()
}

mod needs_containerd {
    use super::*;

    macro_rules! walks {
        ($($name:ident($shape:expr, $runtime:ident) $body:expr;)+) => {
            $(
                #[test]
                fn $name() -> Outcome {
                    needs!(Root, Busybox, Containerd, $runtime, Cni, Swtpm, Programs);
                    in_world!($shape, $body)
                }
            )+
        };
    }

    walks! {
        t25_kill_9_of_the_shim_at_every_step(Shape::default(), Runc)
            |world| walk(world, "runc", Victim::Shim);
        t25_kill_9_of_the_shim_at_any_moment(Shape::default(), Runc) sweep;
        t25_kill_9_of_the_shim_before_the_decision(Shape::default(), Runc)
            |world| while_undecided(world, Victim::Shim);
        kill_9_of_runc_at_every_step(Shape::default(), Runc)
            |world| walk(world, "runc", Victim::Runtime);
        kill_9_of_crun_at_every_step(Shape { unified: false }, Crun)
            |world| walk(world, "crun", Victim::Runtime);
        kill_9_of_runc_at_any_moment(Shape::default(), Runc)
            |world| runtime_sweep(world, "runc");
        kill_9_of_crun_at_any_moment(Shape { unified: false }, Crun)
            |world| runtime_sweep(world, "crun");
        kill_9_of_containerd_at_every_step(Shape::default(), Runc)
            |world| walk(world, "runc", Victim::Containerd);
        kill_9_of_containerd_before_the_decision(Shape::default(), Runc)
            |world| while_undecided(world, Victim::Containerd);
    }
}
