//! Exec: added as a clamped copy, started from that copy only.

use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::events::task::{TaskExecAdded, TaskExecStarted};
use portcullis_hardening::EXEC_LIMITS;
use serde_json::Value;

use super::{Phase, Process, Shim};
use crate::events::topic;
use crate::launch;
use crate::status::TaskError;
use crate::stdio::{ConsoleSocket, Source, Streams};

/// Longest time from the decision on an exec to its start: a decision is about a moment.
const START_LIMIT: Duration = Duration::from_secs(60);

impl Shim {
    /// Takes the exec's process spec, gated and clamped to the container's own bounds.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: refused, a duplicate id, a container that has ended.
    pub(crate) async fn add_exec(
        self: Arc<Self>,
        id: String,
        exec_id: String,
        streams: Streams,
        spec: Vec<u8>,
    ) -> Result<(), TaskError> {
        crate::args::valid_id("exec id", &exec_id).map_err(|error| TaskError::Malformed {
            what: error.to_string(),
        })?;
        let admission = self.with(&id, |container| {
            self.exec_allowed(container, &exec_id)?;
            Ok(container.admission.clone())
        })?;
        let spec = with_terminal(spec, streams.terminal);
        let admitted = launch::admit_exec(&admission, &exec_id, &spec).await?;
        self.with(&id, |container| {
            // Once more: another request may have come while the gate was asked.
            self.exec_allowed(container, &exec_id)?;
            let mut process = Process::new(streams);
            process.exec = Some(admitted);
            container.execs.insert(exec_id.clone(), process);
            Ok(())
        })?;
        self.events.send(
            topic::EXEC_ADDED,
            &TaskExecAdded {
                container_id: id,
                exec_id,
                ..TaskExecAdded::default()
            },
        );
        Ok(())
    }

    fn exec_allowed(&self, container: &super::Container, exec_id: &str) -> Result<(), TaskError> {
        if container.execs.contains_key(exec_id) {
            return Err(TaskError::Exists {
                what: "exec",
                id: exec_id.to_owned(),
            });
        }
        // One whose init has ended while an exec starts still counts as running, to callers too:
        // the exec can be added, as to the stock shim, and its start is refused.
        if matches!(container.phase(), Phase::Stopped | Phase::Paused) {
            let phase = container.phase().word();
            return Err(TaskError::WrongPhase {
                verb: "exec in",
                id: container.id.clone(),
                phase,
            });
        }
        Ok(())
    }

    /// Runs the clamped copy.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: init has ended, or the runtime's own failure.
    pub(crate) async fn start_exec(
        self: Arc<Self>,
        id: String,
        exec_id: String,
    ) -> Result<u32, TaskError> {
        let launching = self.launching();
        let (runtime, options, bundle, streams, spec) = self.with(&id, |container| {
            let init = container.init.phase;
            if init != Phase::Running || container.init_exit_held.is_some() {
                return Err(TaskError::WrongPhase {
                    verb: "exec in",
                    id: id.clone(),
                    phase: init.word(),
                });
            }
            let process = container.process(&exec_id)?;
            process.expect(Phase::Created, "start", &exec_id)?;
            if process.made_at.elapsed() > START_LIMIT {
                let phase = "admitted too long ago, exec anew";
                return Err(TaskError::WrongPhase {
                    verb: "start",
                    id: exec_id.clone(),
                    phase,
                });
            }
            let admitted = process.exec.take().ok_or_else(|| TaskError::WrongPhase {
                verb: "start",
                id: exec_id.clone(),
                phase: "already tried",
            })?;
            process.phase = Phase::Starting;
            let streams = process.streams.clone();
            container.execs_alive += 1;
            let mut runtime = container.runtime.clone();
            runtime.confine(admitted.floor);
            Ok((
                runtime,
                container.options.clone(),
                container.bundle.clone(),
                streams,
                admitted.spec,
            ))
        })?;
        let tag = self.call_tag("exec");
        let launched = async {
            let source = Source {
                id: &exec_id,
                namespace: &self.settings.namespace,
                spawn: &|command| self.spawn(command),
            };
            let (child, mut relay) = streams.open(&options, source).await?;
            let console = streams
                .terminal
                .then(|| ConsoleSocket::listen(&bundle, &tag))
                .transpose()?;
            let console_name = console.as_ref().map(ConsoleSocket::name);
            let call = runtime.exec(&id, &tag, &spec, child, console_name)?;
            let pid = self.run(call).await?.unwrap_or_default();
            if let Some(console) = console
                && let Err(error) = console
                    .receive()
                    .and_then(|terminal| relay.attach_terminal(terminal))
            {
                // It runs already, and nobody would know of it.
                Self::kill_child(pid);
                return Err(error.into());
            }
            Ok::<_, TaskError>((pid, relay))
        }
        .await;
        let pid = self.exec_launched(&id, &exec_id, launched)?;
        self.tell_early_exit(pid);
        drop(launching);
        Ok(pid)
    }

    fn exec_launched(
        &self,
        id: &str,
        exec_id: &str,
        launched: Result<(u32, crate::stdio::Relay), TaskError>,
    ) -> Result<u32, TaskError> {
        self.with(id, |container| {
            let process = container.process(exec_id)?;
            match launched {
                Ok((pid, relay)) => {
                    process.pid = pid;
                    process.phase = Phase::Running;
                    process.attach(relay);
                    if container.init_collected() {
                        // It slipped in while what was left of the container was being killed.
                        Self::kill_child(pid);
                    }
                    self.events.send(
                        topic::EXEC_STARTED,
                        &TaskExecStarted {
                            container_id: id.to_owned(),
                            exec_id: exec_id.to_owned(),
                            pid,
                            ..TaskExecStarted::default()
                        },
                    );
                    Ok(pid)
                }
                Err(error) => {
                    // It never ran, so it has no end to tell: left to be deleted, as by the
                    // stock shim. Its spec is used up.
                    process.phase = Phase::Created;
                    self.exec_gone(container);
                    Err(error)
                }
            }
        })
    }
}

/// The process spec with the terminal that the request says, which counts where they differ: the
/// stock shim writes it over, and clients leave the spec's as it was for init. What cannot be
/// read is left for the gate to refuse.
fn with_terminal(spec: Vec<u8>, terminal: bool) -> Vec<u8> {
    const KEY: &str = "terminal";
    let Ok(Value::Object(mut process)) = portcullis_json::parse(&spec, EXEC_LIMITS) else {
        return spec;
    };
    if process
        .get(KEY)
        .and_then(Value::as_bool)
        .unwrap_or_default()
        == terminal
    {
        return spec;
    }
    process.insert(KEY.to_owned(), terminal.into());
    Value::Object(process).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(spec: &str, terminal: bool) -> String {
        String::from_utf8(with_terminal(spec.into(), terminal)).unwrap()
    }

    #[test]
    fn an_exec_gets_the_terminal_that_its_request_says() {
        assert_eq!(
            asked(r#"{"cwd":"/"}"#, true),
            r#"{"cwd":"/","terminal":true}"#
        );
        assert_eq!(
            asked(r#"{"terminal":true}"#, false),
            r#"{"terminal":false}"#
        );
        assert_eq!(asked(r#"{ "cwd": "/" }"#, false), r#"{ "cwd": "/" }"#);
    }

    #[test]
    fn a_spec_that_can_be_read_in_two_ways_is_left_to_be_refused() {
        let twice = r#"{"cwd":"/","cwd":"/tmp"}"#;
        assert_eq!(asked(twice, true), twice);
        assert_eq!(asked("[]", true), "[]");
    }
}
