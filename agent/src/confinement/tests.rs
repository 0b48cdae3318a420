//! Real attempts of a confined process. Each is made by this test program run once more, because
//! confinement is for good and some attempts end the process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::*;

/// Set in the process that makes an attempt: its name.
const ATTEMPT: &str = "PORTCULLIS_TEST_ATTEMPT";
/// Set there too: a directory as the agent's own.
const SCRATCH: &str = "PORTCULLIS_TEST_SCRATCH";
/// And a port as that of a software TPM.
const PORT: &str = "PORTCULLIS_TEST_PORT";
/// In front of what an attempt came to.
const CAME_TO: &str = "came to: ";

/// Makes one attempt in a process of its own and returns how that ended.
fn run(attempt: &str, scratch: &Path, port: u16) -> Output {
    let this = "confinement::tests::the_attempt_itself";
    Command::new(std::env::current_exe().unwrap())
        .args([this, "--exact", "--nocapture"])
        .env(ATTEMPT, attempt)
        .env(SCRATCH, scratch)
        .env(PORT, port.to_string())
        .output()
        .unwrap()
}

/// What one attempt came to, `ok` or the kernel's word.
fn outcome(attempt: &str, scratch: &Path, port: u16) -> String {
    let output = run(attempt, scratch, port);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let came_to = text.lines().find_map(|line| line.split_once(CAME_TO));
    came_to
        .unwrap_or_else(|| panic!("{attempt}: {}: {text}", output.status))
        .1
        .to_owned()
}

fn told(outcome: io::Result<()>) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(number) => nix::errno::Errno::from_raw(number).to_string(),
            None => error.to_string(),
        },
    }
}

fn attempt(name: &str, scratch: &Path, port: u16) -> io::Result<()> {
    let own = scratch.join("own");
    let outside = scratch.join("outside");
    let device = scratch.join("device");
    match name {
        "nothing" => Ok(()),
        "read a setting" => fs::read(scratch.join("settings/one")).map(drop),
        "read the log" => fs::read(scratch.join("log/events")).map(drop),
        "write the log" => fs::write(scratch.join("log/events"), "x"),
        "read beside the log" => fs::read(scratch.join("log/other")).map(drop),
        "write a setting" => fs::write(scratch.join("settings/one"), "x"),
        "replace an own file" => {
            fs::write(own.join("new"), "x")?;
            File::open(&own)?.sync_all()?;
            fs::rename(own.join("new"), own.join("old"))?;
            fs::remove_file(own.join("old"))
        }
        "make a device among the own files" => nix::sys::stat::mknod(
            &own.join("node"),
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::S_IRUSR,
            nix::sys::stat::makedev(1, 3),
        )
        .map_err(io::Error::from),
        "talk to the device" => OpenOptions::new()
            .read(true)
            .write(true)
            .open(&device)
            .map(drop),
        "read the passwords" => File::open("/etc/shadow").map(drop),
        "read outside" => fs::read(&outside).map(drop),
        "write outside" => fs::write(&outside, "x"),
        "make a file outside" => fs::write(scratch.join("new"), "x"),
        "remove a file outside" => fs::remove_file(&outside),
        "move a file out" => fs::rename(scratch.join("settings/one"), own.join("one")),
        "list the root" => fs::read_dir("/").map(drop),
        "change the kernel" => fs::write("/proc/sys/kernel/hostname", "x"),
        "reach the software TPM" => TcpStream::connect(("127.0.0.1", port)).map(drop),
        "reach another port" => TcpStream::connect(("127.0.0.1", port - 1)).map(drop),
        "listen" => TcpListener::bind(("127.0.0.1", 0)).map(drop),
        "reach a daemon" => UnixStream::connect(scratch.join("daemon")).map(drop),
        "write to a daemon" => UnixDatagram::unbound().map(drop),
        "start a thread" => std::thread::Builder::new()
            .spawn(|| File::open("/etc/shadow"))?
            .join()
            .map_err(|_panic| io::Error::other("panic"))?
            .map(drop),
        "signal another" => {
            let parent = nix::unistd::getppid();
            nix::sys::signal::kill(parent, nix::sys::signal::Signal::SIGCONT)
                .map_err(io::Error::from)
        }
        "fork" => Command::new("/bin/true").spawn().map(drop),
        "become a program" => Err(Command::new("/bin/true").exec()),
        "say how it stands" => {
            for line in fs::read_to_string("/proc/thread-self/status")?.lines() {
                println!("{line}");
            }
            Ok(())
        }
        other => Err(io::Error::other(format!("no attempt '{other}'"))),
    }
}

/// Not a test of its own: what the tests below run. By itself it finds no attempt to make.
#[test]
fn the_attempt_itself() {
    let Ok(name) = std::env::var(ATTEMPT) else {
        return;
    };
    let scratch = PathBuf::from(std::env::var_os(SCRATCH).unwrap());
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let access = files::Access {
        // The status of a process is read by one attempt.
        read: vec![scratch.join("settings"), "/proc/self/task".into()],
        files: vec![scratch.join("log/events")],
        write: vec![scratch.join("own"), scratch.join("not there")],
        device: Some(scratch.join("device")),
        ports: if port == 0 { vec![] } else { vec![port] },
    };
    let confinement = confine_thread(&access).unwrap();
    assert_eq!(confinement.missing, Vec::<String>::new());
    println!("{CAME_TO}{}", told(attempt(&name, &scratch, port)));
}

mod needs_root {
    use super::*;

    fn is_root() -> bool {
        if nix::unistd::geteuid().is_root() {
            return true;
        }
        let promised = std::env::var("PORTCULLIS_TEST_REQUIRE").unwrap_or_default();
        assert!(!promised.split(',').any(|need| need.trim() == "root"));
        eprintln!("skipped: needs root");
        false
    }

    fn scratch() -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        fs::create_dir(path.join("own")).unwrap();
        fs::create_dir(path.join("settings")).unwrap();
        fs::create_dir(path.join("log")).unwrap();
        for file in [
            "settings/one",
            "outside",
            "device",
            "log/events",
            "log/other",
        ] {
            fs::write(path.join(file), "contents").unwrap();
        }
        scratch
    }

    #[test]
    fn its_own_files_its_device_and_threads_are_left_to_it() {
        if !is_root() {
            return;
        }
        let scratch = scratch();
        for name in [
            "nothing",
            "read a setting",
            "read the log",
            "replace an own file",
            "talk to the device",
        ] {
            assert_eq!(outcome(name, scratch.path(), 0), "ok", "{name}");
        }
    }

    #[test]
    fn every_other_file_is_closed_to_it_although_it_is_root() {
        if !is_root() {
            return;
        }
        let scratch = scratch();
        for name in [
            "write a setting",
            "write the log",
            "read beside the log",
            "read the passwords",
            "read outside",
            "write outside",
            "make a file outside",
            "remove a file outside",
            "list the root",
            "change the kernel",
            "start a thread",
        ] {
            let came_to = outcome(name, scratch.path(), 0);
            assert!(came_to.starts_with("EACCES"), "{name}: {came_to}");
        }
        let moved = outcome("move a file out", scratch.path(), 0);
        assert!(
            moved.starts_with("EXDEV") || moved.starts_with("EACCES"),
            "{moved}"
        );
        assert_eq!(
            fs::read(scratch.path().join("outside")).unwrap(),
            b"contents"
        );
    }

    #[test]
    fn it_makes_no_sockets_processes_or_devices_and_signals_nobody() {
        if !is_root() {
            return;
        }
        let scratch = scratch();
        let _daemon = std::os::unix::net::UnixListener::bind(scratch.path().join("daemon"));
        for name in [
            "make a device among the own files",
            "reach a daemon",
            "write to a daemon",
            "listen",
            "signal another",
            "fork",
        ] {
            let came_to = outcome(name, scratch.path(), 0);
            assert!(came_to.starts_with("EPERM"), "{name}: {came_to}");
        }
    }

    #[test]
    fn of_the_network_it_reaches_the_software_tpm_only() {
        if !is_root() {
            return;
        }
        let scratch = scratch();
        // Two ports in a row, both with somebody listening.
        let (other, tpm) = (0..100)
            .find_map(|_| {
                let other = TcpListener::bind("127.0.0.1:0").ok()?;
                let next = other.local_addr().ok()?.port().checked_add(1)?;
                Some((other, TcpListener::bind(("127.0.0.1", next)).ok()?))
            })
            .unwrap();
        let port = tpm.local_addr().unwrap().port();
        assert_eq!(
            outcome("reach the software TPM", scratch.path(), port),
            "ok"
        );
        let refused = outcome("reach another port", scratch.path(), port);
        assert!(refused.starts_with("EACCES"), "{refused}");
        let refused = outcome("reach a daemon", scratch.path(), port);
        assert!(refused.starts_with("EPERM"), "{refused}");
        drop(other);
    }

    #[test]
    fn what_only_foreign_code_would_do_ends_it() {
        if !is_root() {
            return;
        }
        let scratch = scratch();
        let ended = run("become a program", scratch.path(), 0).status;
        assert_eq!(ended.signal(), Some(libc::SIGSYS), "{ended}");
    }

    #[test]
    fn nothing_is_left_in_any_of_the_five_sets() {
        if !is_root() {
            return;
        }
        let scratch = scratch();
        let output = run("say how it stands", scratch.path(), 0);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in [
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "Seccomp_filters:\t3",
        ] {
            assert!(text.lines().any(|one| one == line), "no '{line}' in {text}");
        }
    }
}
