//! What is done about drift beside telling of it: running containers, and the webhook.
//!
//! Both take rights that the agent's unit has not, to look at every process and to use the network.
//! So it is a process of its own for each message: `portcullis-agent --responder`, started by
//! systemd for a connection to [`paths::RESPONDER`], or by the notifier where nobody listens there.
//! It reads the settings itself and takes from the message only that there is drift, and of what.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portcullis_config::{AgentConfig, Config, Mode, OnDriftPods, paths};
use portcullis_gate::Code;
use serde_json::Value;

use crate::errand::{Errand, own_program};
use crate::log;
use crate::notifier::MESSAGE_LIMIT_BYTES;

/// How long whoever listens may take to accept a message.
const HANDOVER_LIMIT: Duration = Duration::from_secs(5);
/// Responders of ours that run at a time.
const CROWD: usize = 8;
/// `portcullis containers` takes 15 s at most.
const PODS_LIMIT: Duration = Duration::from_secs(30);
/// `portcullis-fetch --post-drift` takes a minute at most.
const WEBHOOK_LIMIT: Duration = Duration::from_secs(70);

/// Responders that were started from here.
#[derive(Debug, Default)]
pub(crate) struct Responders(Vec<Child>);

// === impl Responders ===

impl Responders {
    /// Whether there is anything to do for one.
    pub(crate) fn are_wanted(config: &AgentConfig) -> bool {
        config.on_drift_pods != OnDriftPods::Leave || config.on_drift_webhook.is_some()
    }

    /// Brings `message` to a responder, and does not wait for it.
    ///
    /// # Errors
    ///
    /// If none can be started.
    pub(crate) fn respond(&mut self, message: &[u8]) -> io::Result<()> {
        match hand_over(Path::new(paths::RESPONDER), message) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let fields = [("path", paths::RESPONDER), ("cause", &*error.to_string())];
                log::warn("responder does not listen, starting one", &fields);
            }
        }
        self.0
            .retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        if self.0.len() >= CROWD {
            return Err(io::Error::other("too many responders run already"));
        }
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--responder")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        // The pipe takes it whole.
        let written = child.stdin.take().map(|mut input| input.write_all(message));
        self.0.push(child);
        written.unwrap_or(Ok(()))
    }
}

fn hand_over(socket: &Path, message: &[u8]) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(HANDOVER_LIMIT))?;
    stream.write_all(message)
}

// --- the responder itself ---

/// Does what `config` says about the message on standard input. Whether all of it was done.
///
/// # Errors
///
/// If there is no message of drift.
pub(crate) fn run(config: &Config) -> io::Result<bool> {
    let mut message = Vec::new();
    let limit = u64::try_from(MESSAGE_LIMIT_BYTES).unwrap_or(u64::MAX);
    io::stdin().take(limit).read_to_end(&mut message)?;
    let event: Value = serde_json::from_slice(&message)?;
    if event.get("event").and_then(Value::as_str) != Some("drift") {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "not a message of drift",
        ));
    }
    let pods = see_to_containers(config, &event);
    let webhook = config.agent.on_drift_webhook.is_none() || tell_webhook(&message);
    Ok(pods && webhook)
}

fn see_to_containers(config: &Config, event: &Value) -> bool {
    let (action, done, not_done) = match config.agent.on_drift_pods {
        OnDriftPods::Leave => return true,
        OnDriftPods::Pause => ("pause", "containers paused", "container not paused"),
        OnDriftPods::Stop => ("stop", "containers stopped", "container not stopped"),
    };
    let why_not = if config.mode == Mode::Audit {
        Some("mode is audit")
    } else if concerns_host(event) {
        None
    } else {
        Some("the clock has jumped, nothing else")
    };
    if let Some(reason) = why_not {
        log::info("containers left as they are", &[("reason", reason)]);
        return true;
    }
    match act(action) {
        Ok(answer) => told(&answer, done, not_done),
        Err(cause) => {
            log::error(not_done, &[("container", "any"), ("cause", &cause)]);
            false
        }
    }
}

/// Whether something of the host differs: its boot, its PCRs or its tag. That a verdict is void
/// because the clock jumped, as by an operator or in sleep, says nothing about the host.
fn concerns_host(event: &Value) -> bool {
    let findings = event.get("findings").and_then(Value::as_array);
    findings.into_iter().flatten().any(|finding| {
        finding.get("code").and_then(Value::as_str) != Some(Code::VerdictWithheld.as_str())
    })
}

/// Runs `portcullis containers`, and returns what it says.
fn act(action: &str) -> Result<Value, String> {
    let program = own_program("portcullis").map_err(|error| log::chain(&error))?;
    let arguments = ["containers", action, "--all", "--output", "json"].map(str::to_owned);
    let errand = Errand {
        program: program.path(),
        arguments: &arguments,
        limit: PODS_LIMIT,
    };
    let returned = errand.run(b"").map_err(|error| log::chain(&error))?;
    let answer: Option<Value> = serde_json::from_slice(&returned.output).ok();
    // What went wrong before anything was done is on standard error already.
    answer
        .filter(|answer| answer.get("done").is_some_and(Value::is_array))
        .ok_or_else(|| format!("'portcullis containers' ended with {}", returned.status))
}

/// Says what was done. Whether that was all.
fn told(answer: &Value, done: &str, not_done: &str) -> bool {
    let list = |name: &str| answer.get(name).and_then(Value::as_array);
    let count = |name: &str| list(name).map_or(0, Vec::len).to_string();
    let failed = list("failed").map_or(&[][..], Vec::as_slice);
    let fields = [
        ("count", &*count("done")),
        ("already", &*count("already")),
        ("failed", &*count("failed")),
    ];
    log::warn(done, &fields);
    for one in failed {
        let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
        let pid = one.get("pid").map(Value::to_string).unwrap_or_default();
        let fields = [
            ("namespace", text("namespace")),
            ("container", text("id")),
            ("pid", &pid),
            ("cause", text("cause")),
        ];
        log::error(not_done, &fields);
    }
    failed.is_empty()
}

/// Has the message posted. Why that was in vain the other program says itself.
fn tell_webhook(message: &[u8]) -> bool {
    let posted = own_program("portcullis-fetch")
        .map_err(Into::into)
        .and_then(|program| {
            let errand = Errand {
                program: program.path(),
                arguments: &["--post-drift".to_owned()],
                limit: WEBHOOK_LIMIT,
            };
            errand.run(message)
        });
    match posted {
        Ok(returned) => returned.status.success(),
        Err(error) => {
            let cause = log::chain(&error);
            log::error("drift not told to webhook", &[("cause", &cause)]);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_clock_that_jumped_stops_no_container_and_all_else_does() {
        let event = |codes: &[&str]| {
            let findings: Vec<Value> = codes.iter().map(|code| json!({ "code": code })).collect();
            json!({ "event": "drift", "findings": findings })
        };
        for (codes, concerns) in [
            (&["verdict-withheld"][..], false),
            (&[][..], false),
            (&["pcr-drift"][..], true),
            (&["host-rebooted"][..], true),
            (&["asset-tag-missing"][..], true),
            (&["verdict-withheld", "pcr-drift"][..], true),
        ] {
            assert_eq!(concerns_host(&event(codes)), concerns, "{codes:?}");
        }
        assert!(concerns_host(&json!({ "findings": [{}] })));
    }

    #[test]
    fn a_container_that_was_not_stopped_is_no_success() {
        let answer = |failed: Value| json!({ "done": [{}], "already": [], "failed": failed });
        assert!(told(&answer(json!([])), "done", "not done"));
        let failed = answer(json!([{ "id": "web", "cause": "cannot" }]));
        assert!(!told(&failed, "done", "not done"));
    }

    #[test]
    fn a_message_goes_whole_to_whoever_listens() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("responder.sock");
        let nobody = hand_over(&path, b"{}").unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        let message = vec![b'x'; MESSAGE_LIMIT_BYTES];
        let sent = message.clone();
        let sender = std::thread::spawn(move || hand_over(&path, &sent));
        let mut received = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut received).unwrap();
        sender.join().unwrap().unwrap();
        assert_eq!(received, message);
    }
}
