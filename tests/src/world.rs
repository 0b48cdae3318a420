//! A private world for one test or for the demo.
//!
//! Two processes hold it up. The *keeper* stays on the machine's side: it makes the cgroups,
//! starts the *first process* of a new process namespace, waits for it and clears up. The first
//! process builds the mounts, starts the payload, and collects orphans. When it ends, the kernel
//! ends everything in its namespace; it ends with the payload, with the keeper (parent-death
//! signal), and the keeper ends with whoever started it. So nothing can be left running.
//!
//! Inside, `/etc`, `/usr` and `/var` are writable copies, `/run` is empty, the folders that
//! containerd, CNI and Portcullis use are empty, and the network has only a loopback.
//! A world may have the root file system of another system, from a folder ([`Root`]);
//! then all of it is a writable copy.

mod cgroups;
mod mounts;
mod remains;
mod root;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::failure::{Doing, Failure, Outcome};

pub use remains::{Census, Remains};
pub use root::Root;

/// Set inside a world; holds its scratch folder.
pub const MARK: &str = "PORTCULLIS_WORLD";
/// File in the scratch folder with the first process' id, as the machine sees it.
pub const FIRST_PROCESS: &str = "first-process";
/// File in the scratch folder that a test body leaves when it ran to its end.
const FINISHED: &str = "finished";
/// In front of a figure that a test has measured.
const MEASURED: &str = "measured: ";
/// `PATH` inside: where packages put programs, and nothing else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a world is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// On a machine with both cgroup versions: also mount version 2, as the machine does.
    /// crun before 1.9 refuses to run when it sees both.
    pub unified: bool,
}

/// How to make one world.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder on the machine for logs; becomes the mount point `<scratch>/world` inside.
    pub scratch: PathBuf,
    /// What it is like.
    pub shape: Shape,
    /// Its root file system, if not this machine's.
    pub root: Option<Root>,
    /// Do not end with the payload, nor with the process that started the keeper.
    pub keep: bool,
    /// Program and arguments to run inside.
    pub payload: Vec<OsString>,
}

/// Proof of being inside a world.
#[derive(Debug)]
pub struct World {
    scratch: PathBuf,
}

/// Runs the body of a test inside a world of its own.
///
/// ```ignore
/// #[test]
/// fn a_container_starts() -> Outcome {
///     in_world!(|world| Containerd::start(world, &Setup::default()).map(drop))
/// }
/// ```
///
/// Works by running this test binary again, inside, with this one test selected; what follows
/// the macro is run on both sides. [`World::current`] tells them apart.
#[macro_export]
macro_rules! in_world {
    ($body:expr) => {
        $crate::in_world!($crate::world::Shape::default(), $body)
    };
    ($shape:expr, $body:expr) => {{
        fn here() {}
        $crate::world::run_test(
            env!("CARGO_BIN_EXE_portcullis-lab").as_ref(),
            ::std::any::type_name_of_val(&here),
            $shape,
            $body,
        )
    }};
}

// === impl Shape ===

impl Default for Shape {
    fn default() -> Self {
        Self { unified: true }
    }
}

// === impl World ===

impl World {
    /// The world this process is in, if it is in one.
    #[must_use]
    pub fn current() -> Option<Self> {
        std::env::var_os(MARK).map(|scratch| Self {
            scratch: scratch.into(),
        })
    }

    /// Folder for logs; seen from outside as well.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.scratch.join("log")
    }

    /// Shows an empty folder at `at` whose file system can have its ids mapped.
    ///
    /// # Errors
    ///
    /// When it cannot be made or mounted.
    pub fn mount_mappable(&self, at: &str) -> Outcome {
        std::fs::create_dir_all(at).doing(format!("make '{at}'"))?;
        mounts::mappable(&self.scratch, at.as_ref(), 0o755)
    }

    /// Folder in memory that nobody outside sees.
    #[must_use]
    pub fn private(&self) -> PathBuf {
        self.scratch.join("world")
    }
}

/// Folder with the root file system that a world of this process' would have, if it is not this
/// machine's; none inside a world.
#[must_use]
pub fn other_root() -> Option<PathBuf> {
    if std::env::var_os(MARK).is_some() {
        return None;
    }
    root::other()
}

/// Runs `body` inside a world: directly if this process is in one, else by starting this
/// program again in there. `place` is the path of a function nested in the test.
///
/// # Errors
///
/// When the world cannot be made, the body fails, or something is left behind.
pub fn run_test(
    keeper: &Path,
    place: &str,
    shape: Shape,
    body: impl FnOnce(&World) -> Outcome,
) -> Outcome {
    if let Some(world) = World::current() {
        body(&world)?;
        let mark = world.scratch.join(FINISHED);
        return std::fs::write(&mark, "").doing("note that the test ran");
    }
    let test = test_name(place);
    let scratch = tempfile::Builder::new()
        .prefix("portcullis-lab-")
        .tempdir()
        .doing("make a scratch folder")?;
    let program = std::env::current_exe().doing("find this program")?;
    let plan = Plan {
        scratch: scratch.path().to_owned(),
        shape,
        root: Root::for_tests(&program),
        keep: false,
        payload: [
            program.as_os_str(),
            test.as_ref(),
            "--exact".as_ref(),
            "--nocapture".as_ref(),
            "--test-threads=1".as_ref(),
        ]
        .map(OsString::from)
        .to_vec(),
    };
    let output = plan.command(keeper).output().doing("start the keeper")?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let finished = scratch.path().join(FINISHED).exists();
    for line in text.iter().flat_map(|text| text.lines()) {
        if let Some((_, figure)) = line.split_once(MEASURED) {
            println!("{MEASURED}{figure}");
        }
    }
    if output.status.success() && finished {
        return Ok(());
    }
    // Set off, so that nobody takes its lines for those of the outer run.
    for line in text.iter().flat_map(|text| text.lines()) {
        println!("| {line}");
    }
    print_logs(&scratch.path().join("log"));
    Err(Failure::new(if output.status.success() {
        format!("no test named '{test}' ran inside the world")
    } else {
        format!(
            "the world ended with {}; its output is above",
            output.status
        )
    }))
}

/// Prints a figure that is shown outside too, when the test succeeds as well (with `--nocapture`).
pub fn measured(figure: &str) {
    println!("{MEASURED}{figure}");
}

/// `crate::module::test::here` to `module::test`, the name by which the runner knows it.
fn test_name(place: &str) -> String {
    let inner: Vec<&str> = place.split("::").collect();
    let parts = inner.len().saturating_sub(1);
    inner
        .into_iter()
        .take(parts)
        .skip(1)
        .filter(|part| *part != "{{closure}}")
        .collect::<Vec<_>>()
        .join("::")
}

/// Prints the end of every log, for the reader of a failed test.
fn print_logs(folder: &Path) {
    const LINES: usize = 40;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.len().saturating_sub(LINES);
        println!("--- end of {}", entry.path().display());
        for line in lines.into_iter().skip(tail) {
            println!("| {line}");
        }
    }
}

// === impl Plan ===

impl Plan {
    /// The command that starts the keeper.
    #[must_use]
    pub fn command(&self, keeper: &Path) -> Command {
        let mut command = Command::new(keeper);
        command.arg("world").args(self.arguments());
        command
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec!["--scratch".into(), self.scratch.clone().into_os_string()];
        if !self.shape.unified {
            arguments.push("--without-unified".into());
        }
        if let Some(root) = &self.root {
            arguments.extend(["--root".into(), root.folder.clone().into_os_string()]);
            for shown in &root.shown {
                arguments.extend(["--show".into(), shown.clone().into_os_string()]);
            }
        }
        if self.keep {
            arguments.push("--keep".into());
        }
        arguments.push("--".into());
        arguments.extend(self.payload.iter().cloned());
        arguments
    }

    /// The keeper: makes the world, waits for its end, clears up.
    ///
    /// # Errors
    ///
    /// When a part cannot be made, or something is left at the end.
    pub fn keep_world(&self) -> Outcome<ExitCode> {
        if !self.keep {
            set_pdeathsig(Signal::SIGTERM).doing("ask for a signal when the parent ends")?;
        }
        let mut ends = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
        ] {
            ends.add(signal);
        }
        ends.thread_block().doing("hold back signals")?;
        let events = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC).doing("watch signals")?;
        let world = self.scratch.join("world");
        for folder in [&world, &self.scratch.join("log")] {
            std::fs::create_dir_all(folder).doing(format!("make '{}'", folder.display()))?;
        }
        cgroups::sweep();
        let groups = cgroups::Groups::create()?;
        let ended = self.hold(&groups, &events);
        let cleared = groups.remove();
        let removed = std::fs::remove_dir(&world).doing("remove the mount point of the world");
        let status = ended?;
        cleared?;
        removed?;
        Ok(exit_code(status))
    }

    /// Starts the first process and waits until it has ended.
    fn hold(&self, groups: &cgroups::Groups, events: &SignalFd) -> Outcome<ExitStatus> {
        groups.join()?;
        let outside = std::fs::File::open("/proc/self/ns/cgroup")
            .doing("open the machine's cgroup namespace")?;
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWCGROUP)
            .doing("leave the process and cgroup namespaces")?;
        groups.settle()?;
        let this = std::env::current_exe().doing("find this program")?;
        let mut first = Command::new(this)
            .arg("world-inside")
            .args(self.arguments())
            .spawn()
            .doing("start the first process")?;
        let noted = std::fs::write(self.scratch.join(FIRST_PROCESS), first.id().to_string());
        let ended = wait_for_end(&mut first, events);
        noted.doing("note the first process")?;
        // Where systemd has mounted version 2 (`nsdelegate`) no process gets out of the cgroup of its
        // namespace, not even one of root.
        setns(outside, CloneFlags::CLONE_NEWCGROUP)
            .doing("go back to the machine's cgroup namespace")?;
        groups.leave()?;
        ended
    }

    /// The first process: builds the mounts, starts the payload, collects orphans.
    ///
    /// # Errors
    ///
    /// When a part cannot be made.
    pub fn run_inside(&self) -> Outcome<ExitCode> {
        set_pdeathsig(Signal::SIGKILL).doing("ask for a signal when the keeper ends")?;
        // The keeper holds signals back, and children inherit that.
        SigSet::empty()
            .thread_set_mask()
            .doing("let signals through")?;
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC,
        )
        .doing("leave the mount, network, host-name and IPC namespaces")?;
        nix::unistd::sethostname("node-1").doing("name the host")?;
        mounts::build(self)?;
        mounts::loopback_up()?;
        let [program, arguments @ ..] = self.payload.as_slice() else {
            return Err(Failure::new("nothing to run in the world"));
        };
        let payload = Command::new(program)
            .args(arguments)
            .env("PATH", PATH)
            .env("TMPDIR", self.scratch.join("world/tmp"))
            .env(MARK, &self.scratch)
            .spawn()
            .doing(format!("start '{}'", program.display()))?;
        collect_until(&payload, self.keep)
    }
}

/// Waits until `first` has ended; a signal to this process ends it, and with it its world.
fn wait_for_end(first: &mut Child, events: &SignalFd) -> Outcome<ExitStatus> {
    loop {
        if let Some(status) = first.try_wait().doing("look after the first process")? {
            return Ok(status);
        }
        let event = events.read_signal().doing("read a signal")?;
        let number = event.map(|event| event.ssi_signo.cast_signed());
        if number != Some(Signal::SIGCHLD as i32) {
            first.kill().doing("end the world")?;
        }
    }
}

/// Collects ended processes until `payload` is among them (or for ever, if the world is kept).
fn collect_until(payload: &Child, keep: bool) -> Outcome<ExitCode> {
    let payload = Pid::from_raw(payload.id().cast_signed());
    loop {
        let ended = match waitpid(None, None) {
            Ok(status) => status,
            Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => {
                std::thread::park();
                continue;
            }
            Err(error) => return Err(error).doing("wait for a process"),
        };
        if ended.pid() != Some(payload) || keep {
            continue;
        }
        return Ok(match ended {
            WaitStatus::Exited(_, code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
            _ => ExitCode::from(u8::MAX),
        });
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::test_name;

    #[test]
    fn a_test_is_known_by_its_path_below_the_crate() {
        assert_eq!(
            test_name("suite::needs_root::starts::here"),
            "needs_root::starts"
        );
        assert_eq!(test_name("suite::starts::{{closure}}::here"), "starts");
    }
}
