//! A host set up as an operator would, through the `portcullis` command.
//!
//! Only for use inside a world: everything is at its real path.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::containerd::{Containerd, PORTCULLIS};
use crate::daemon::Daemon;
use crate::failure::{Doing, Failure, Outcome};
use crate::grpc::Status;
use crate::image;
use crate::programs;
use crate::refusal::Refusal;
use crate::run::{self, Ran};
use crate::swtpm::{PowerCycle, Swtpm};
use crate::wait::{self, PATIENCE};
use crate::world::{Census, World};

/// Settings of the administrator.
const CONFIG: &str = "/etc/portcullis";
/// Drop-ins, which the tests use to change settings.
const DROP_INS: &str = "/etc/portcullis/portcullis.d";
/// The agent's socket.
const AGENT_SOCKET: &str = "/run/portcullis/agent.sock";
/// Where the operator keeps private keys; on another machine in real life.
const OPERATOR: &str = "/run/operator";
/// Pinned keys.
const TRUST: &str = "/etc/portcullis/trust.d";
/// Where pinned verdict keys are while a foreign one is in their place.
const ASIDE: &str = "/run/operator/aside";
/// Drop-in that connects the agent with the software TPM.
const TPM_DROP_IN: &str = "10-tpm";
/// Most suites change the TPM to see what a launch says about it, and mean to come first.
const WITHOUT_WATCH: &str = "drift_interval = \"0s\"\n";
/// Drop-in of [`Node::watch`].
const WATCH_DROP_IN: &str = "50-drift";
/// Tags of the host.
pub const TAGS: [&str; 2] = ["country=DE", "pool=shop"];
/// Name of its approved boot state.
pub const BOOT_STATE: &str = "approved";

/// A provisioned host.
#[derive(Debug)]
pub struct Node {
    /// Its TPM.
    pub tpm: Swtpm,
    /// Its containerd.
    pub containerd: Containerd,
    /// Identity of the TPM.
    pub ueid: String,
    agent: Option<Daemon>,
    logs: PathBuf,
    before: Census,
}

// === impl Node ===

impl Node {
    /// Sets everything up: programs, TPM, keys, agent, reference values, tag, verdict, containerd.
    ///
    /// # Errors
    ///
    /// When a step fails.
    pub fn provision(world: &World) -> Outcome<Self> {
        let before = Census::take();
        programs::install()?;
        for folder in ["", "portcullis.d", "trust.d", "reference.d"] {
            let folder = Path::new(CONFIG).join(folder);
            fs::create_dir_all(&folder).doing(format!("make '{}'", folder.display()))?;
        }
        let tpm = Swtpm::start().doing("start a software TPM")?;
        fs::copy(
            programs::shipped("config/portcullis.toml"),
            format!("{CONFIG}/portcullis.toml"),
        )
        .doing("install the shipped settings")?;
        drop_in(
            TPM_DROP_IN,
            &format!("[agent]\ntcti = \"{}\"\n{WITHOUT_WATCH}", tpm.tcti()),
        )?;
        let agent = start_agent(&world.logs())?;
        let ueid = approve()?;
        let containerd = Containerd::start(world)?;
        Ok(Self {
            tpm,
            containerd,
            ueid,
            agent: Some(agent),
            logs: world.logs(),
            before,
        })
    }

    /// Runs `portcullis` with `arguments`.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn portcullis(&self, arguments: &[&str]) -> Outcome<Ran> {
        run::to_end(Command::new("portcullis").args(arguments))
    }

    /// Runs one of the TPM's tools, with the empty authorizations of root: `tpm2_nvundefine …`.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn tpm_tool(&self, line: &[&str]) -> Outcome<Ran> {
        let (program, arguments) = line
            .split_first()
            .ok_or_else(|| Failure::new("no tool is named"))?;
        let mut tool = Command::new(program);
        tool.args(arguments).env("TPM2TOOLS_TCTI", self.tpm.tcti());
        run::to_end(&mut tool)
    }

    /// Attests anew.
    ///
    /// # Errors
    ///
    /// When the verdict is not affirming.
    pub fn attest(&self) -> Outcome {
        self.portcullis(&["attest"])?.success().map(drop)
    }

    /// Adds settings, as an administrator would: in a file beside the shipped one.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set(&self, name: &str, toml: &str) -> Outcome {
        drop_in(name, toml)
    }

    /// Has the agent look for drift every second, with `settings` in its own section, and attests.
    ///
    /// # Errors
    ///
    /// When the agent does not end or come up, or the verdict is not affirming.
    pub fn watch(&mut self, settings: &str) -> Outcome {
        let toml = format!("[agent]\ndrift_interval = \"1s\"\n{settings}");
        self.set(WATCH_DROP_IN, &toml)?;
        self.stop_agent()?;
        self.start_agent()?;
        self.attest()
    }

    /// What the agent has written to its log.
    #[must_use]
    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.logs.join("agent.log")).unwrap_or_default()
    }

    /// Takes settings of [`Node::set`] away.
    ///
    /// # Errors
    ///
    /// When the file cannot be removed.
    pub fn unset(&self, name: &str) -> Outcome {
        let path = format!("{DROP_INS}/{name}.toml");
        fs::remove_file(&path).doing(format!("remove '{path}'"))
    }

    /// Reboots the machine around the TPM and attests again, so that the host is trusted.
    ///
    /// # Errors
    ///
    /// When the TPM or the agent does not follow.
    pub fn reboot_and_attest(&self) -> Outcome {
        self.tpm
            .power_cycle(PowerCycle::Reset)
            .doing("restart the TPM")?;
        self.attest()
    }

    /// Stops the agent.
    ///
    /// # Errors
    ///
    /// When it does not end by itself.
    pub fn stop_agent(&mut self) -> Outcome {
        let mut agent = self
            .agent
            .take()
            .ok_or_else(|| Failure::new("the agent is not running"))?;
        let status = agent.stop()?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the agent ended with {status} after SIGTERM"
        )))
    }

    /// Starts the agent again.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_agent(&mut self) -> Outcome {
        self.agent = Some(start_agent(&self.logs)?);
        Ok(())
    }

    /// Restarts containerd below its containers.
    ///
    /// # Errors
    ///
    /// When it does not end or come up.
    pub fn restart_containerd(&mut self, world: &World) -> Outcome {
        self.containerd.restart(world)
    }

    /// The agent's process.
    #[must_use]
    pub fn agent(&self) -> Option<&Daemon> {
        self.agent.as_ref()
    }

    /// Runs container `id` under our shim to its end: `ctr run --rm <options> <image> <id> <command>`.
    ///
    /// # Errors
    ///
    /// When `ctr` cannot be run.
    pub fn run(&self, id: &str, options: &[&str], command: &[&str]) -> Outcome<Ran> {
        let mut arguments = vec!["run", "--rm", "--runtime", PORTCULLIS];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[image::BUSYBOX, id]);
        arguments.extend_from_slice(command);
        self.containerd.run_ctr(&arguments)
    }

    /// Starts container `id` under our shim and leaves it running `command`.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(&self, id: &str, options: &[&str], command: &[&str]) -> Outcome {
        let mut arguments = vec!["run", "--detach", "--runtime", PORTCULLIS];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[image::BUSYBOX, id]);
        arguments.extend_from_slice(command);
        self.containerd.run_ctr(&arguments)?.success().map(drop)
    }

    /// Kills container `id` and removes it with its task.
    ///
    /// # Errors
    ///
    /// When `ctr` refuses.
    pub fn remove(&self, id: &str) -> Outcome {
        self.containerd
            .run_ctr(&["task", "delete", "--force", id])?
            .success()?;
        self.containerd
            .run_ctr(&["container", "delete", id])?
            .success()
            .map(drop)
    }

    /// Fails unless a container starts.
    ///
    /// # Errors
    ///
    /// When it does not, with what `ctr` said.
    pub fn starts(&self) -> Outcome {
        self.run("probe", &[], &["true"])?.success().map(drop)
    }

    /// The refusal of a container that must not start.
    ///
    /// # Errors
    ///
    /// When it starts, or fails for another reason.
    pub fn refuses(&self, options: &[&str]) -> Outcome<Refusal> {
        self.refuses_image(image::BUSYBOX, options)
    }

    /// Waits until launches are refused as `expected`, such as `undecided [verdict-expired]`.
    ///
    /// # Errors
    ///
    /// When they still start, or are refused otherwise.
    pub fn until_refused(&self, expected: &str) -> Outcome {
        wait::until_true(&format!("a launch that is {expected}"), PATIENCE, || {
            let refused = self.refuses(&[]);
            let refused = refused.is_ok_and(|refusal| refusal.short() == expected);
            // One that was refused at its start, after it was made, waits for its client to delete it.
            let delete = ["task", "delete", "--force", "probe"];
            let deleted = self.containerd.run_ctr(&delete);
            deleted.is_ok() && self.forget("probe").is_ok() && refused
        })
    }

    /// The refusal of a container of `image` that must not start.
    ///
    /// # Errors
    ///
    /// When it starts, or fails for another reason.
    pub fn refuses_image(&self, image: &str, options: &[&str]) -> Outcome<Refusal> {
        let mut arguments = vec!["run", "--rm", "--runtime", PORTCULLIS];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[image, "probe", "true"]);
        let refused = self.containerd.run_ctr(&arguments)?.refusal()?;
        // What did not start leaves its container entry behind, which `ctr` does not remove.
        self.forget("probe")?;
        Refusal::find(&refused)
    }

    /// Asks for a task of a new container from a checkpoint, which only the Task API can do.
    ///
    /// # Errors
    ///
    /// When the restore is carried out, or fails for another reason than a refusal.
    pub fn refuses_restore(&self) -> Outcome<Refusal> {
        // An empty archive is a checkpoint as far as containerd looks.
        let checkpoint = [0_u8; 1024];
        let digest = image::digest(&checkpoint);
        let mut create = vec!["container", "create", "--runtime", PORTCULLIS];
        create.extend([image::BUSYBOX, "frozen"]);
        self.containerd.run_ctr(&create)?.success()?;
        // Until it is labelled nothing refers to it, and the garbage collection may take it away.
        let root = ["content", "label", &digest, "containerd.io/gc.root=yes"];
        wait::until_true("a checkpoint that stays", PATIENCE, || {
            let mut ingest = self.containerd.ctr(&["content", "ingest"]);
            ingest.args(["--expected-digest", &digest, "checkpoint"]);
            run::with_input(&mut ingest, Some(&checkpoint), run::PATIENCE).is_ok()
                && (self.containerd.run_ctr(&root)).is_ok_and(|ran| ran.status.success())
        })?;
        let answer = self
            .containerd
            .tasks()
            .restore("frozen", &digest, checkpoint.len())?;
        self.forget("frozen")?;
        match answer {
            Ok(()) => Err(Failure::new("the restore was carried out")),
            Err(status) if status.code == Status::FAILED_PRECONDITION => {
                Refusal::find(&status.message)
            }
            Err(status) => Err(Failure::new(format!("refused with {status}"))),
        }
    }

    /// Seconds since the Unix epoch at which the present verdict was issued.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn verdict_issued_at_s(&self) -> Outcome<u64> {
        let status = json(&["status", "--output", "json"])?;
        status["verdict"]["issued_at"]
            .as_u64()
            .ok_or_else(|| Failure::new(format!("no time of issue in: {status}")))
    }

    /// Pins a foreign verdict key in place of the agent's.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn pin_foreign_key(&self) -> Outcome {
        fs::create_dir_all(ASIDE).doing(format!("make '{ASIDE}'"))?;
        for entry in fs::read_dir(TRUST)
            .doing(format!("list '{TRUST}'"))?
            .flatten()
        {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("verdict") {
                fs::copy(entry.path(), Path::new(ASIDE).join(&name)).doing("copy a key")?;
                fs::remove_file(entry.path()).doing("unpin a key")?;
            }
        }
        let keys = format!("{OPERATOR}/keys");
        let generate = [
            "keys", "generate", "--use", "verdict", "--name", "foreign", "--force",
        ];
        let mut generate = generate.to_vec();
        generate.extend(["--out", &keys]);
        portcullis(&generate)?;
        fs::copy(
            format!("{keys}/foreign.jwk"),
            format!("{TRUST}/foreign.jwk"),
        )
        .doing("pin the foreign key")
        .map(drop)
    }

    /// Pins the agent's verdict key again, and it alone.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn pin_own_key(&self) -> Outcome {
        fs::remove_file(format!("{TRUST}/foreign.jwk")).doing("unpin the foreign key")?;
        for entry in fs::read_dir(ASIDE)
            .doing(format!("list '{ASIDE}'"))?
            .flatten()
        {
            let to = Path::new(TRUST).join(entry.file_name());
            fs::copy(entry.path(), to).doing("pin the key again")?;
        }
        Ok(())
    }

    /// Lowers the age that a verdict may have, and waits for the present one to exceed it.
    /// [`Node::unset`] with `name` takes it back.
    ///
    /// # Errors
    ///
    /// When the settings cannot be written or there is no verdict.
    pub fn let_verdict_expire(&self, name: &str) -> Outcome {
        const AGE_S: u64 = 2;
        let settings = format!(
            "[attestation]\nmax_verdict_age = \"{AGE_S}s\"\n[agent]\nattest_interval = \"1s\"\n"
        );
        self.set(name, &settings)?;
        let end = UNIX_EPOCH + Duration::from_secs(self.verdict_issued_at_s()? + AGE_S + 1);
        wait::until_true("the verdict to grow old", PATIENCE, || {
            SystemTime::now() > end
        })
    }

    /// Removes the entry of a container whose task was refused, if there is one.
    ///
    /// # Errors
    ///
    /// When `ctr` cannot be run.
    pub fn forget(&self, id: &str) -> Outcome {
        self.containerd
            .run_ctr(&["container", "delete", id])
            .map(drop)
    }

    /// What exists now and did not exist before the host was set up, the daemons included.
    #[must_use]
    pub fn remains(&self) -> String {
        self.before.remains().to_string()
    }

    /// Stops everything, and fails if anything is left.
    ///
    /// # Errors
    ///
    /// When a part does not end, or leaves something.
    pub fn finish(mut self) -> Outcome {
        let mut faults = Vec::new();
        if self.agent.is_some() {
            faults.extend(self.stop_agent().err());
        }
        let Self {
            tpm,
            containerd,
            before,
            ..
        } = self;
        faults.extend(containerd.stop().err());
        drop(tpm);
        faults.extend(before.until_clean(PATIENCE).err());
        if faults.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Err(Failure::new(texts.join("; ")))
    }

    /// Leaves everything running.
    pub fn release(self) {
        let Self {
            tpm,
            containerd,
            agent,
            ..
        } = self;
        containerd.release();
        agent.into_iter().for_each(Daemon::release);
        // It would be killed with its value.
        let _running = std::mem::ManuallyDrop::new(tpm);
    }
}

fn drop_in(name: &str, toml: &str) -> Outcome {
    let path = format!("{DROP_INS}/{name}.toml");
    fs::write(&path, toml).doing(format!("write '{path}'"))
}

fn start_agent(logs: &Path) -> Outcome<Daemon> {
    let mut command = Command::new("/usr/libexec/portcullis/portcullis-agent");
    let mut agent = Daemon::start(&mut command, &logs.join("agent.log"))?;
    agent.until_ready(|| UnixStream::connect(AGENT_SOCKET).is_ok())?;
    Ok(agent)
}

/// What an operator does once for a host, step by step; returns the TPM's identity.
fn approve() -> Outcome<String> {
    let keys = format!("{OPERATOR}/keys");
    let captured = format!("{OPERATOR}/captured.json");
    let tag = format!("{OPERATOR}/host.tag");
    let reference = format!("{CONFIG}/reference.d/{BOOT_STATE}.jws");
    fs::create_dir_all(OPERATOR).doing(format!("make '{OPERATOR}'"))?;
    for key_use in ["reference", "tag"] {
        portcullis(&["keys", "generate", "--use", key_use, "--out", &keys])?;
        let name = format!("{key_use}.jwk");
        fs::copy(format!("{keys}/{name}"), format!("{CONFIG}/trust.d/{name}"))
            .doing(format!("pin '{name}'"))?;
    }
    let enrolled = json(&["enroll", "--output", "json"])?;
    let ueid = enrolled["ueid"]
        .as_str()
        .ok_or_else(|| Failure::new(format!("'portcullis enroll' names no TPM: {enrolled}")))?
        .to_owned();
    portcullis(&[
        "reference",
        "capture",
        "--name",
        BOOT_STATE,
        "--out",
        &captured,
    ])?;
    let reference_key = format!("{keys}/reference.pem");
    portcullis(&[
        "reference",
        "sign",
        "--key",
        &reference_key,
        "-i",
        &captured,
        "-o",
        &reference,
    ])?;
    let tag_key = format!("{keys}/tag.pem");
    let request = format!("{OPERATOR}/request.json");
    portcullis(&["tag", "request", "-o", &request])?;
    let mut issue = vec!["tag", "issue", "--key", &tag_key];
    issue.extend(["--request", &request, "-o", &tag]);
    for tag in TAGS {
        issue.extend(["--tag", tag]);
    }
    portcullis(&issue)?;
    portcullis(&["tag", "provision", &tag])?;
    portcullis(&["attest"])?;
    Ok(ueid)
}

fn portcullis(arguments: &[&str]) -> Outcome<String> {
    run::to_end(Command::new("portcullis").args(arguments))?.success()
}

fn json(arguments: &[&str]) -> Outcome<Value> {
    let text = portcullis(arguments)?;
    serde_json::from_str(&text).doing(format!("read '{}' as JSON", text.trim()))
}
