//! A real Keylime verifier and registrar, and the node's side of its protocol.
//!
//! Keylime comes from PyPI, into a folder that [`HOME`] names (`cargo xtask test` makes it). Its own
//! agent is in no registry; `tests/data/keylime-agent.py` quotes with tpm2-tools in its place.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::failure::{Doing, Failure, Outcome};
use crate::programs;
use crate::run;
use crate::swtpm::Swtpm;
use crate::wait;
use crate::world::World;

/// Names the folder in which Keylime is installed: a Python environment, and `templates`.
pub const HOME: &str = "PORTCULLIS_KEYLIME";
/// Where Keylime keeps its state in a world.
const STATE: &str = "/run/keylime";
/// The agent's identity at Keylime.
pub const UUID: &str = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000";
/// Where the stand-in's AK stays in the TPM.
const AK: &str = "0x81018001";
/// A PCR that only Keylime's policy looks at.
pub const PCR: u32 = 15;
/// Two Python programs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// The verifier's port, by its settings.
const VERIFIER_PORT: u16 = 8881;
/// The registrar's.
const REGISTRAR_PORT: u16 = 8890;

/// Verifier, registrar and the node's side.
#[derive(Debug)]
pub struct Keylime {
    verifier: Option<Daemon>,
    registrar: Option<Daemon>,
    agent: Option<Daemon>,
}

// === impl Keylime ===

impl Keylime {
    /// Whether it is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        home().is_some_and(|home| program(&home, "keylime_verifier").exists())
    }

    /// Starts verifier and registrar, and the node's side on `tpm`, which the verifier then
    /// attests every two seconds: it asks that PCR 15 be zero.
    ///
    /// # Errors
    ///
    /// When one of them does not come up.
    pub fn start(world: &World, tpm: &Swtpm) -> Outcome<Self> {
        let home = home().ok_or_else(|| Failure::new(format!("'{HOME}' is not set")))?;
        settings(&home)?;
        let mut keylime = Self {
            verifier: None,
            registrar: None,
            agent: None,
        };
        keylime.verifier = Some(daemon(world, &home, "keylime_verifier", VERIFIER_PORT)?);
        keylime.registrar = Some(daemon(world, &home, "keylime_registrar", REGISTRAR_PORT)?);
        let port = free_port()?;
        keylime.agent = Some(stand_in(world, &home, tpm, port)?);
        enlist(port)?;
        Ok(keylime)
    }

    /// A file of the verifier's certificate authority.
    #[must_use]
    pub fn authority(&self, name: &str) -> String {
        format!("{STATE}/cv_ca/{name}")
    }

    /// Waits until the verifier says `status` of the node.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn until(&self, status: &str) -> Outcome {
        wait::until_true(&format!("Keylime to say {status}"), PATIENCE, || {
            asked(&["-X", "GET"], None)
                .is_ok_and(|answer| answer["results"]["attestation_status"] == status)
        })
    }

    /// Ends the node's side: the verifier can no longer reach it.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn stop_node(&mut self) -> Outcome {
        crash(&mut self.agent)
    }

    /// Ends the verifier.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn stop_verifier(&mut self) -> Outcome {
        crash(&mut self.verifier)
    }

    /// Ends everything.
    ///
    /// # Errors
    ///
    /// When something does not end.
    pub fn finish(mut self) -> Outcome {
        for daemon in [&mut self.agent, &mut self.verifier, &mut self.registrar] {
            if daemon.is_some() {
                crash(daemon)?;
            }
        }
        Ok(())
    }
}

/// They do not heed SIGTERM for many seconds, and their workers outlive them.
fn crash(daemon: &mut Option<Daemon>) -> Outcome {
    let mut daemon = daemon
        .take()
        .ok_or_else(|| Failure::new("it is not running"))?;
    let pid = daemon.pid();
    let workers = pid.map(children).unwrap_or_default();
    daemon.crash()?;
    for worker in workers {
        crate::held::kill(worker)?;
    }
    Ok(())
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn home() -> Option<PathBuf> {
    std::env::var_os(HOME).map(PathBuf::from)
}

fn program(home: &Path, name: &str) -> PathBuf {
    home.join("bin").join(name)
}

fn with_settings(command: &mut Command) -> &mut Command {
    command.env("KEYLIME_DIR", STATE);
    for part in ["verifier", "registrar", "tenant", "ca", "logging"] {
        let variable = format!("KEYLIME_{}_CONFIG", part.to_uppercase());
        command.env(variable, format!("{STATE}/etc/{part}.conf"));
    }
    command
}

/// Keylime's own defaults, but for the agent's TLS, which the stand-in does not have.
fn settings(home: &Path) -> Outcome {
    let folder = format!("{STATE}/etc");
    fs::create_dir_all(&folder).doing(format!("make '{folder}'"))?;
    let templates = home.join("templates");
    let mut make = Command::new(program(home, "keylime_upgrade_config"));
    make.args(["--defaults", "--out", &folder, "--templates"]);
    run::to_end(with_settings(make.arg(templates)))?.success()?;
    let path = format!("{folder}/verifier.conf");
    let text = fs::read_to_string(&path).doing(format!("read '{path}'"))?;
    let text = text.replace("enable_agent_mtls = True", "enable_agent_mtls = False");
    fs::write(&path, text).doing(format!("write '{path}'"))
}

fn daemon(world: &World, home: &Path, name: &str, port: u16) -> Outcome<Daemon> {
    let mut command = Command::new(program(home, name));
    let log = world.logs().join(format!("{name}.log"));
    let mut daemon = Daemon::start(with_settings(&mut command), &log)?;
    daemon.until_ready_within(PATIENCE, || is_served(port))?;
    Ok(daemon)
}

fn is_served(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("look for a free port")?;
    Ok(listener.local_addr().doing("ask for a port")?.port())
}

/// Makes an AK that stays in the TPM, and starts the stand-in with it.
fn stand_in(world: &World, home: &Path, tpm: &Swtpm, port: u16) -> Outcome<Daemon> {
    let folder = format!("{STATE}/node");
    fs::create_dir_all(&folder).doing(format!("make '{folder}'"))?;
    let tool = |line: &str| -> Outcome {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&folder);
        let ran = run::to_end(command.env("TPM2TOOLS_TCTI", tpm.tcti()))?;
        ran.success().map(drop)
    };
    // swtpm has room for three objects and keeps what nobody flushes.
    for line in [
        "tpm2_createek -Q -c ek.ctx -G ecc -u ek.pub",
        "tpm2_flushcontext -t",
        "tpm2_createak -Q -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -n ak.name",
        "tpm2_flushcontext -t",
        &format!("tpm2_evictcontrol -Q -C o -c ak.ctx {AK}"),
        "tpm2_flushcontext -t",
        "openssl genrsa -out transport.key 2048",
        "openssl rsa -in transport.key -pubout -out transport.pem",
    ] {
        tool(line)?;
    }
    let mut command = Command::new(program(home, "python3"));
    command
        .arg(programs::shipped("tests/data/keylime-agent.py"))
        .args([&port.to_string(), AK, &folder])
        .env("TPM2TOOLS_TCTI", tpm.tcti());
    let mut daemon = Daemon::start(&mut command, &world.logs().join("keylime-agent.log"))?;
    daemon.until_ready_within(PATIENCE, || is_served(port))?;
    Ok(daemon)
}

/// Tells the verifier of the node, as Keylime's tenant would.
fn enlist(port: u16) -> Outcome {
    let mut encode = Command::new("openssl");
    encode.args(["base64", "-A", "-in", &format!("{STATE}/node/ak.pub")]);
    let ak = run::to_end(&mut encode)?.success()?;
    let policy = json!({ "mask": format!("{:#x}", 1 << PCR), PCR.to_string(): ["0".repeat(64)] });
    let request = json!({
        "v": null, "cloudagent_ip": "127.0.0.1", "cloudagent_port": port,
        "tpm_policy": policy.to_string(), "runtime_policy": "", "runtime_policy_name": "",
        "runtime_policy_key": "", "mb_policy": null, "mb_policy_name": "", "mb_refstate": null,
        "ima_sign_verification_keys": "[]", "metadata": "{}", "revocation_key": "",
        "accept_tpm_hash_algs": ["sha256"], "accept_tpm_encryption_algs": ["ecc"],
        "accept_tpm_signing_algs": ["ecdsa"], "ak_tpm": ak.trim(), "mtls_cert": null,
        "supported_version": "2.2",
    });
    let answer = asked(&["-X", "POST"], Some(&request))?;
    if answer["code"] == 200 {
        return Ok(());
    }
    Err(Failure::new(format!("Keylime answers {answer}")))
}

/// Asks the verifier about the node.
fn asked(method: &[&str], body: Option<&Value>) -> Outcome<Value> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10"]);
    for (option, name) in [
        ("--cacert", "cacert.crt"),
        ("--cert", "client-cert.crt"),
        ("--key", "client-private.pem"),
    ] {
        curl.args([option, &format!("{STATE}/cv_ca/{name}")]);
    }
    curl.args(method);
    if let Some(body) = body {
        curl.args(["--header", "Content-Type: application/json", "--data"]);
        curl.arg(body.to_string());
    }
    curl.arg(format!(
        "https://127.0.0.1:{VERIFIER_PORT}/v2.2/agents/{UUID}"
    ));
    let text = run::to_end(&mut curl)?.success()?;
    serde_json::from_str(&text).doing(format!("read '{}'", text.trim()))
}
