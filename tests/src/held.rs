//! An OCI runtime that stops where a test wants it to: a script around the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::failure::{Doing, Failure, Outcome};
use crate::wait::{self, PATIENCE};

/// Where the script is; a program that only root can write, as a node's runtime must be.
pub const PROGRAM: &str = "/usr/local/sbin/held-runtime";
/// Folder for what script and test tell each other.
const TALK: &str = "/run/held-runtime";

/// Where to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the real runtime is called.
    Before,
    /// After it has ended.
    After,
}

/// The script, in place.
#[derive(Debug)]
pub struct HeldRuntime(());

/// A runtime command that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The script's process.
    pub pid: u32,
}

// === impl HeldRuntime ===

impl HeldRuntime {
    /// Installs the script around `real` (`runc`, `crun`). Only for use inside a world.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn install(real: &str) -> Outcome<Self> {
        fs::create_dir_all(TALK).doing(format!("make '{TALK}'"))?;
        fs::create_dir_all("/usr/local/sbin").doing("make '/usr/local/sbin'")?;
        fs::write(PROGRAM, script(real)).doing(format!("write '{PROGRAM}'"))?;
        fs::set_permissions(PROGRAM, fs::Permissions::from_mode(0o755))
            .doing(format!("set the mode of '{PROGRAM}'"))?;
        Ok(Self(()))
    }

    /// Settings that make it the node's runtime.
    #[must_use]
    pub fn settings(&self) -> String {
        format!("[runtime]\nbinary = \"{PROGRAM}\"\n")
    }

    /// From now on, calls of `verb` whose last argument is `last` (the container's id; for `kill`
    /// the signal) stop.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn hold(&self, verb: &str, when: When, last: &str) -> Outcome {
        let _was_not_there = fs::remove_file(format!("{TALK}/reached")).is_err();
        self.order(verb, when.word(), last, "")
    }

    /// From now on, calls of `verb` for `id` have the real runtime killed after `seconds`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn kill_after(&self, verb: &str, id: &str, seconds: &str) -> Outcome {
        self.order(verb, "kill", id, seconds)
    }

    /// From now on, calls of `verb` whose last argument is `last` do nothing, and say that they
    /// did it.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn skip(&self, verb: &str, last: &str) -> Outcome {
        self.order(verb, "skip", last, "")
    }

    fn order(&self, verb: &str, what: &str, last: &str, text: &str) -> Outcome {
        let path = format!("{TALK}/{verb}.{what}.{last}");
        fs::write(&path, text).doing(format!("write '{path}'"))
    }

    /// Waits until a command has stopped.
    ///
    /// # Errors
    ///
    /// When none does.
    pub fn stopped(&self) -> Outcome<Stopped> {
        wait::until("a runtime command to stop", PATIENCE, || {
            let text = fs::read_to_string(format!("{TALK}/reached")).ok()?;
            text.trim().parse().ok().map(|pid| Stopped { pid })
        })
    }

    /// Lets everything go on, now and from now on.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn release(&self) -> Outcome {
        for entry in fs::read_dir(TALK).doing("list the orders")?.flatten() {
            if entry.file_name() != "calls" {
                fs::remove_file(entry.path()).doing("take an order back")?;
            }
        }
        Ok(())
    }

    /// The commands called so far, as `verb last-argument`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(format!("{TALK}/calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Stopped {
    /// Kills the script.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn kill(self) -> Outcome {
        kill(self.pid)
    }

    /// The process that called the runtime: the shim.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn caller(self) -> Outcome<u32> {
        parent_of(self.pid)
    }
}

impl When {
    const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// Kills a process of this world.
///
/// # Errors
///
/// When it is gone.
pub fn kill(pid: u32) -> Outcome {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).doing(format!("kill process {pid}"))
}

/// Who started process `pid`, or has taken it over.
///
/// # Errors
///
/// When it is gone.
pub fn parent_of(pid: u32) -> Outcome<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .doing(format!("look at process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|parent| parent.trim().parse().ok())
        .ok_or_else(|| Failure::new("a process without parent"))
}

/// Whether process `pid` exists and has not ended.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

fn script(real: &str) -> String {
    format!(
        r#"#!/bin/sh
# The verb is the first word that is neither a global flag nor a flag's value.
verb= value=
for word in "$@"; do
  if [ -n "$value" ]; then value=; continue; fi
  case $word in
    --root|--log|--log-format) value=1 ;;
    --*) ;;
    *) verb=$word; break ;;
  esac
done
for last in "$@"; do :; done
at={TALK}/$verb
stop() {{
  [ -e "$at.$1.$last" ] || return 0
  echo $$ > {TALK}/reached.new
  mv {TALK}/reached.new {TALK}/reached
  while [ -e "$at.$1.$last" ]; do sleep 0.01; done
}}
echo "$verb $last" >> {TALK}/calls
if [ -e "$at.skip.$last" ]; then exit 0; fi
stop before
if [ -e "$at.kill.$last" ]; then
  {real} "$@" &
  sleep "$(cat "$at.kill.$last")"
  kill -9 $!
  wait $!
  exit
fi
[ -e "$at.after.$last" ] || exec {real} "$@"
{real} "$@"
status=$?
stop after
exit $status
"#
    )
}
