//! The shim that ours is measured beside.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::packages::find;
use crate::step::{Failed, Outcome};

/// containerd's own.
const OWN: &str = "io.containerd.runc.v2";
/// Ours, which cannot be its own peer.
const OURS: &str = "io.containerd.portcullis.v1";
/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks whether it has.
const PAUSE: Duration = Duration::from_millis(5);

/// A runtime and its shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// containerd's name of the runtime.
    pub(crate) runtime: String,
    /// Name of the program that containerd runs for it.
    pub(crate) shim: String,
    /// The program, unless the installed one of that name is meant.
    pub(crate) from: Option<PathBuf>,
}

// === impl Peer ===

impl Peer {
    /// The peer that the command line names; containerd's own shim if it names none.
    ///
    /// With a program alone, the runtime is the one whose shim is named so.
    pub(crate) fn chosen(against: Option<&Path>, runtime: Option<&str>) -> Outcome<Self> {
        let from = against.map(whole).transpose()?;
        let runtime = match (runtime, &from) {
            (Some(runtime), _) => runtime.to_owned(),
            (None, Some(from)) => runtime_of(from)?,
            (None, None) => OWN.to_owned(),
        };
        let shim = shim_of(&runtime)?;
        // containerd's own comes with containerd, which may not be installed yet.
        if from.is_none() && runtime != OWN && find(&shim).is_none() {
            return Err(Failed::Missing(format!(
                "'--runtime {runtime}': there is no program '{shim}'; name one with '--against'"
            )));
        }
        Ok(Self {
            runtime,
            shim,
            from,
        })
    }

    /// Whether it is containerd's own shim, as installed, to which the promises refer.
    pub(crate) fn is_own(&self) -> bool {
        self.runtime == OWN && self.from.is_none()
    }
}

/// The whole path of a shim; without a slash it would be looked up among the installed programs.
fn whole(path: &Path) -> Outcome<PathBuf> {
    let path = std::path::absolute(path).map_err(|source| Failed::File {
        deed: format!("find '{}'", path.display()),
        source,
    })?;
    examine(&path)?;
    Ok(path)
}

/// The program that containerd runs for `runtime`: `containerd-shim-`, and the last two parts.
fn shim_of(runtime: &str) -> Outcome<String> {
    let parts: Vec<&str> = runtime.split('.').collect();
    let plain = |part: &&str| {
        let mut bytes = part.bytes();
        !part.is_empty()
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    match parts.as_slice() {
        [_, .., name, version] if parts.len() > 2 && parts.iter().all(plain) => {
            if runtime == OURS {
                return Err(Failed::Missing(format!(
                    "'--runtime {OURS}' is what is measured; give an earlier build another name, \
                     say io.containerd.portcullis.v0"
                )));
            }
            Ok(format!("containerd-shim-{name}-{version}"))
        }
        _ => Err(Failed::Missing(format!(
            "'--runtime {}': expected at least three parts of letters, digits, '-' and '_' with \
             dots between them, such as {OWN}",
            runtime.escape_default()
        ))),
    }
}

/// The runtime whose shim is named as `program` is.
fn runtime_of(program: &Path) -> Outcome<String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let rest = name.strip_prefix("containerd-shim-");
    match rest.and_then(|rest| rest.split_once('-')) {
        Some((runtime, version)) => Ok(format!("io.containerd.{runtime}.{version}")),
        None => Err(Failed::Missing(format!(
            "'--against {}' is not named containerd-shim-NAME-VERSION; say with '--runtime' under \
             which name containerd is to run it",
            program.display()
        ))),
    }
}

/// Fails unless `path` is a program that answers `-v` as a shim does.
fn examine(path: &Path) -> Outcome {
    let shown = path.display();
    let wrong = |what: &str| Failed::Missing(format!("'--against {shown}': {what}"));
    let found = fs::metadata(path).map_err(|source| Failed::File {
        deed: format!("use '--against {shown}'"),
        source,
    })?;
    if !found.is_file() {
        return Err(wrong("not a file"));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(wrong("not executable; 'chmod +x' it if it is a program"));
    }
    let mut version = Command::new(path);
    version.arg("-v").stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = version
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| wrong(&format!("cannot be run: {source}")))?;
    let ended = ends(&mut child).map_err(|source| Failed::Run {
        line: format!("{shown} -v"),
        source,
    })?;
    if !ended {
        return Err(wrong(&format!(
            "not a containerd shim: '-v' is not answered within {} s",
            PATIENCE.as_secs()
        )));
    }
    let output = child.wait_with_output().map_err(|source| Failed::Run {
        line: format!("{shown} -v"),
        source,
    })?;
    if output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Version:") {
        return Ok(());
    }
    Err(wrong(&format!(
        "not a containerd shim: '-v' ended with {} and named no 'Version:'",
        output.status
    )))
}

/// Whether `child` ends in time; it is killed if not.
fn ends(child: &mut Child) -> io::Result<bool> {
    let until = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::park_timeout(PAUSE);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{OURS, Peer};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    const SHIM: &str = "#!/bin/sh\necho 'containerd-shim-x-v1:'; echo '  Version:  1'\n";

    fn script(folder: &Path, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        let path = folder.join(name);
        // Written by another process: one that tests start meanwhile would inherit a writing end
        // of ours, and a file that is written cannot be run.
        let source = folder.join(format!("{name}.text"));
        fs::write(&source, text).unwrap();
        let copied = std::process::Command::new("cp")
            .arg(&source)
            .arg(&path)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn fault(against: &Path, runtime: Option<&str>) -> String {
        Peer::chosen(Some(against), runtime)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn containerds_own_shim_is_the_peer_unless_another_is_named() {
        let own = Peer::chosen(None, None).unwrap();
        assert_eq!(own.shim, "containerd-shim-runc-v2");
        assert!(own.is_own());
        let text = Peer::chosen(None, Some("io.containerd.ghost.v7"))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("'containerd-shim-ghost-v7'") && text.contains("--against"),
            "{text}"
        );
    }

    #[test]
    fn a_program_is_run_under_the_name_that_is_given_or_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let shim = script(folder.path(), "containerd-shim-runc-v2-rs", SHIM, 0o755);
        let peer = Peer::chosen(Some(&shim), None).unwrap();
        assert_eq!(peer.runtime, "io.containerd.runc.v2-rs");
        assert_eq!(peer.shim, "containerd-shim-runc-v2-rs");
        assert_eq!(peer.from.as_deref(), Some(shim.as_path()));
        let peer = Peer::chosen(Some(&shim), Some("io.containerd.portcullis.v0")).unwrap();
        assert_eq!(peer.shim, "containerd-shim-portcullis-v0");
        let peer = Peer::chosen(Some(&shim), Some("io.containerd.runc.v2")).unwrap();
        assert!(
            !peer.is_own(),
            "a program that is given is not the installed one"
        );
    }

    #[test]
    fn names_that_containerd_could_not_use_are_refused() {
        for name in [
            "runc",
            "a.b",
            "io.containerd..v2",
            "io/x.runc.v2",
            "io.x.runc.v2\n",
            "",
        ] {
            let text = Peer::chosen(None, Some(name)).unwrap_err().to_string();
            assert!(text.contains("three parts"), "{name}: {text}");
        }
        let text = Peer::chosen(None, Some(OURS)).unwrap_err().to_string();
        assert!(text.contains("another name"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_shim_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let runtime = Some("io.containerd.x.v1");
        let missing = fault(&at.join("none"), runtime);
        assert!(
            missing.contains("none'") && missing.contains("No such file"),
            "{missing}"
        );
        assert!(fault(at, runtime).contains("not a file"));
        let plain = script(at, "plain", SHIM, 0o644);
        assert!(fault(&plain, runtime).contains("not executable"));
        let silent = script(at, "silent", "#!/bin/sh\nexit 0\n", 0o755);
        assert!(fault(&silent, runtime).contains("not a containerd shim"));
        let failing = script(at, "failing", "#!/bin/sh\necho Version: 1; exit 3\n", 0o755);
        assert!(fault(&failing, runtime).contains("exit status: 3"));
        let garbage = script(at, "garbage", "\u{1}\u{2}", 0o755);
        assert!(fault(&garbage, runtime).contains("cannot be run"));
        let shim = script(at, "shim", SHIM, 0o755);
        assert!(fault(&shim, None).contains("--runtime"));
    }
}
