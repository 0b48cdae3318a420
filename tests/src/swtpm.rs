//! A software TPM of its own for each test: own state, own ports, own process.
//!
//! [`Swtpm::start`] manufactures a TPM in a fresh temporary directory and serves it on two
//! free loopback ports (commands on `port`, control on `port + 1`, which is where tpm2-tss looks
//! for it). Dropping the value kills exactly that process.
//!
//! swtpm serves **one command client at a time**; a second one waits in the listen queue until
//! the first hangs up. Each method here opens a connection, does its work and hangs up, so a
//! system under test that lets go of an idle connection and a test that extends a PCR get along.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait;

/// How long swtpm may take to serve its first connection, or to answer one command.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many pairs of ports are tried before giving up.
const PORT_ATTEMPTS: usize = 50;
/// Ports are taken from here up to [`LAST_PORT`]: below Linux' default range of ephemeral ports,
/// so that an outgoing connection of another test cannot sit on one of ours.
const FIRST_PORT: u16 = 20_000;
/// See [`FIRST_PORT`].
const LAST_PORT: u16 = 32_000;
/// A TPM answer is at most 4 KiB; more than this is not a TPM.
const MAX_ANSWER_BYTES: usize = 8192;

/// Control command that powers the TPM off and on again.
const CONTROL_INIT: u32 = 0x02;

/// TPM_ST_NO_SESSIONS.
const NO_SESSIONS: u16 = 0x8001;
/// TPM_ST_SESSIONS.
const SESSIONS: u16 = 0x8002;
/// TPM_RS_PW, the session that is a plain password.
const PASSWORD_SESSION: u32 = 0x4000_0009;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;

/// What a freshly made TPM holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Also issue an EK and a platform certificate with a throw-away certificate authority.
    /// Costs about half a second.
    pub certificates: bool,
}

/// How the machine around the TPM goes down and comes up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCycle {
    /// Reboot: Shutdown(CLEAR), init, Startup(CLEAR). resetCount + 1, PCRs zero.
    Reset,
    /// TPM Restart: Shutdown(STATE), init, Startup(CLEAR). restartCount + 1, PCRs zero.
    Restart,
    /// Resume from suspend: Shutdown(STATE), init, Startup(STATE). restartCount + 1, PCRs kept.
    Resume,
    /// Power cut: init, Startup(CLEAR). Like `Reset`, and the clock is no longer safe.
    UncleanReset,
}

/// One running software TPM.
#[derive(Debug)]
pub struct Swtpm {
    child: Option<Child>,
    directory: TempDir,
    port: u16,
}

// === impl Swtpm ===

impl Swtpm {
    /// Makes and starts a TPM with a SHA-256 bank and an EK, without certificates.
    ///
    /// # Errors
    ///
    /// When swtpm or swtpm_setup is not installed, fails, or no pair of ports is free.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Options::default())
    }

    /// Makes and starts a TPM.
    ///
    /// # Errors
    ///
    /// As [`Swtpm::start`].
    pub fn start_with(options: Options) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("portcullis-swtpm-")
            .tempdir()?;
        manufacture(directory.path(), options)?;
        let mut last = io::Error::other("no port was tried");
        for _ in 0..PORT_ATTEMPTS {
            let Some(port) = free_port_pair() else {
                continue;
            };
            match launch(directory.path(), port) {
                Ok(child) => {
                    return Ok(Self {
                        child: Some(child),
                        directory,
                        port,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The transport as the agent's configuration writes it.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Port of the command channel; the control channel is one above.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id, or `None` after [`Swtpm::kill`].
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The directory that holds the TPM's state.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Kills the process as a crash would: no shutdown command, connections break.
    ///
    /// # Errors
    ///
    /// When the process cannot be signalled or reaped.
    pub fn kill(&mut self) -> io::Result<()> {
        match self.child.take() {
            None => Ok(()),
            Some(mut child) => {
                child.kill()?;
                child.wait().map(drop)
            }
        }
    }

    /// Starts the process again after [`Swtpm::kill`], with the same state and ports.
    ///
    /// # Errors
    ///
    /// When it is still running, or does not come up.
    pub fn start_again(&mut self) -> io::Result<()> {
        if self.child.is_some() {
            return Err(io::Error::other("swtpm is still running"));
        }
        self.child = Some(launch(self.directory.path(), self.port)?);
        Ok(())
    }

    /// Freezes the process (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen process go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Takes the TPM through a power cycle without ending the process.
    ///
    /// # Errors
    ///
    /// When a command fails; another client that holds its connection makes this time out.
    pub fn power_cycle(&self, cycle: PowerCycle) -> io::Result<()> {
        const CLEAR: u16 = 0;
        const STATE: u16 = 1;
        let (shutdown, startup) = match cycle {
            PowerCycle::Reset => (Some(CLEAR), CLEAR),
            PowerCycle::Restart => (Some(STATE), CLEAR),
            PowerCycle::Resume => (Some(STATE), STATE),
            PowerCycle::UncleanReset => (None, CLEAR),
        };
        // One connection for all of it, so that no other client sees a TPM before Startup.
        let mut stream = self.connect(self.port)?;
        if let Some(kind) = shutdown {
            exchange(&mut stream, &plain(0x0000_0145, &kind.to_be_bytes()))?;
        }
        let mut control = self.connect(self.port + 1)?;
        let mut request = CONTROL_INIT.to_be_bytes().to_vec();
        request.extend_from_slice(&0_u32.to_be_bytes());
        control.write_all(&request)?;
        let mut result = [0; 4];
        control.read_exact(&mut result)?;
        if u32::from_be_bytes(result) != 0 {
            return Err(io::Error::other(format!(
                "swtpm refused to initialise: {result:02x?}"
            )));
        }
        exchange(&mut stream, &plain(0x0000_0144, &startup.to_be_bytes()))?;
        Ok(())
    }

    /// Extends PCR `index` of the SHA-256 bank by `digest`.
    ///
    /// # Errors
    ///
    /// When the TPM refuses or cannot be reached.
    pub fn extend(&self, index: u32, digest: [u8; 32]) -> io::Result<()> {
        let mut body = index.to_be_bytes().to_vec();
        body.extend_from_slice(&9_u32.to_be_bytes()); // size of the authorisation area
        body.extend_from_slice(&PASSWORD_SESSION.to_be_bytes());
        body.extend_from_slice(&[0, 0, 0, 0, 0]); // no nonce, no attributes, empty password
        body.extend_from_slice(&1_u32.to_be_bytes()); // one digest
        body.extend_from_slice(&SHA256.to_be_bytes());
        body.extend_from_slice(&digest);
        self.command(&frame(SESSIONS, 0x0000_0182, &body)).map(drop)
    }

    /// Reads PCR `index` (0 to 23) of the SHA-256 bank.
    ///
    /// # Errors
    ///
    /// When the TPM refuses or cannot be reached.
    pub fn pcr(&self, index: u32) -> io::Result<[u8; 32]> {
        let mut bitmap = [0_u8; 3];
        let byte = bitmap
            .get_mut((index / 8) as usize)
            .ok_or_else(|| io::Error::other(format!("there is no PCR {index}")))?;
        *byte = 1 << (index % 8);
        let mut body = 1_u32.to_be_bytes().to_vec();
        body.extend_from_slice(&SHA256.to_be_bytes());
        body.push(3);
        body.extend_from_slice(&bitmap);
        let answer = self.command(&plain(0x0000_017e, &body))?;
        answer
            .last_chunk::<32>()
            .copied()
            .ok_or_else(|| io::Error::other("short answer to PCR_Read"))
    }

    /// Sends one command and returns the whole answer, header included.
    ///
    /// # Errors
    ///
    /// When the TPM cannot be reached or answers with another code than success.
    pub fn command(&self, command: &[u8]) -> io::Result<Vec<u8>> {
        exchange(&mut self.connect(self.port)?, command)
    }

    /// Sends one command and returns the whole answer, whatever its code.
    ///
    /// # Errors
    ///
    /// When the TPM cannot be reached.
    pub fn answer(&self, command: &[u8]) -> io::Result<Vec<u8>> {
        ask(&mut self.connect(self.port)?, command).map(|(_, answer)| answer)
    }

    fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&loopback(port), wait::scaled(PATIENCE))?;
        stream.set_read_timeout(Some(wait::scaled(PATIENCE)))?;
        stream.set_write_timeout(Some(wait::scaled(PATIENCE)))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self
            .pid()
            .ok_or_else(|| io::Error::other("swtpm is not running"))?;
        kill(
            Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?),
            signal,
        )?;
        Ok(())
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("swtpm on port {}: cannot be stopped: {error}", self.port);
        }
    }
}

// === making and starting ===

/// Runs swtpm_setup with a configuration that reaches nothing outside `directory`.
fn manufacture(directory: &Path, options: Options) -> io::Result<()> {
    let state = directory.join("state");
    std::fs::create_dir(&state)?;
    let authority = directory.join("ca");
    std::fs::create_dir(&authority)?;
    let at = |name: &str| authority.join(name).display().to_string();
    std::fs::write(
        at("localca.conf"),
        format!(
            "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
            authority.display(),
            at("key.pem"),
            at("certificate.pem"),
            at("serial")
        ),
    )?;
    std::fs::write(
        at("localca.options"),
        "--platform-manufacturer Portcullis\n--platform-version 1\n--platform-model test\n",
    )?;
    let tool = find_program("swtpm_localca").unwrap_or_else(|| PathBuf::from("swtpm_localca"));
    std::fs::write(
        at("setup.conf"),
        format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\n\
             create_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
            tool.display(),
            at("localca.conf"),
            at("localca.options")
        ),
    )?;
    let mut setup = Command::new("swtpm_setup");
    setup.args(["--tpm2", "--createek", "--decryption", "--lock-nvram"]);
    setup.args(["--pcr-banks", "sha256"]);
    setup
        .arg("--config")
        .arg(at("setup.conf"))
        .arg("--tpmstate")
        .arg(&state);
    if options.certificates {
        setup.args(["--create-ek-cert", "--create-platform-cert"]);
    }
    let output = setup
        .stdin(Stdio::null())
        .output()
        .map_err(|e| naming("swtpm_setup", &e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(io::Error::other(format!(
        "swtpm_setup ended with {}: {}",
        output.status,
        said.trim()
    )))
}

/// Starts swtpm on `port` and `port + 1` and waits until it serves them.
fn launch(directory: &Path, port: u16) -> io::Result<Child> {
    let pid_file = directory.join("pid");
    if pid_file.exists() {
        std::fs::remove_file(&pid_file)?;
    }
    let option = |head: &str, path: &Path| {
        let mut text = OsStr::new(head).to_os_string();
        text.push(path);
        text
    };
    let mut child = Command::new("swtpm")
        .args(["socket", "--tpm2"])
        .arg("--tpmstate")
        .arg(option("dir=", &directory.join("state")))
        .args(["--flags", flags()?])
        .args(["--server", &format!("type=tcp,port={port}")])
        .args(["--ctrl", &format!("type=tcp,port={}", port + 1)])
        .arg("--pid")
        .arg(option("file=", &pid_file))
        .arg("--log")
        .arg(option("level=1,file=", &directory.join("log")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| naming("swtpm", &e))?;
    match wait_until_served(&mut child, &pid_file, port) {
        Ok(()) => Ok(child),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// How it shall start and end. From 0.8 on it shuts the TPM down in order before a loss of power,
/// which would make an unclean reset a clean one; earlier ones know no word against that.
fn flags() -> io::Result<&'static str> {
    let mut question = Command::new("swtpm");
    question.args(["socket", "--tpm2", "--print-capabilities"]);
    let answer = question.output().map_err(|e| naming("swtpm", &e))?;
    let known = String::from_utf8_lossy(&answer.stdout).contains("opt-disable-auto-shutdown");
    Ok(if known {
        "not-need-init,startup-clear,disable-auto-shutdown"
    } else {
        "not-need-init,startup-clear"
    })
}

/// Waits until `child` itself (not another test's swtpm) answers on `port`.
///
/// swtpm writes its pid file after both sockets are bound, and ends if it cannot bind one:
/// so a pid file with the child's id means that the ports are the child's.
fn wait_until_served(child: &mut Child, pid_file: &Path, port: u16) -> io::Result<()> {
    let deadline = Instant::now() + wait::scaled(PATIENCE);
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!(
                "swtpm ended with {status} on port {port}"
            )));
        }
        let written = std::fs::read_to_string(pid_file).unwrap_or_default();
        if written.trim().parse() == Ok(child.id()) {
            let mut stream = TcpStream::connect_timeout(&loopback(port), wait::scaled(PATIENCE))?;
            stream.set_read_timeout(Some(wait::scaled(PATIENCE)))?;
            // GetCapability(properties, 1 item): an answer proves that Startup is done.
            let body = [6_u32, 0x100, 1].map(u32::to_be_bytes).concat();
            return exchange(&mut stream, &plain(0x0000_017a, &body)).map(drop);
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "swtpm did not come up",
            ));
        }
        // Nothing to wait on: the file is written by another process. Look again soon.
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// An even port such that it and the next one are free right now.
pub(crate) fn free_port_pair() -> Option<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let pairs = (LAST_PORT - FIRST_PORT) / 2;
    // Processes start at different places, so that parallel test binaries rarely meet.
    let start = u16::try_from(u64::from(std::process::id()) * 101 % u64::from(pairs)).ok()?;
    let step = NEXT.fetch_add(1, Ordering::Relaxed) % pairs;
    let port = FIRST_PORT + 2 * ((start + step) % pairs);
    let free = |port| TcpListener::bind(loopback(port)).is_ok();
    (free(port) && free(port + 1)).then_some(port)
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|at| at.join(name))
        .find(|at| at.is_file())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn naming(program: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot run '{program}': {error}"))
}

// === TPM frames ===

pub(crate) fn plain(code: u32, body: &[u8]) -> Vec<u8> {
    frame(NO_SESSIONS, code, body)
}

fn frame(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap_or(u32::MAX);
    let mut command = tag.to_be_bytes().to_vec();
    command.extend_from_slice(&size.to_be_bytes());
    command.extend_from_slice(&code.to_be_bytes());
    command.extend_from_slice(body);
    command
}

fn exchange(stream: &mut TcpStream, command: &[u8]) -> io::Result<Vec<u8>> {
    match ask(stream, command)? {
        (0, answer) => Ok(answer),
        (code, _) => Err(io::Error::other(format!("TPM answered 0x{code:03x}"))),
    }
}

/// The response code and the whole answer.
fn ask(stream: &mut TcpStream, command: &[u8]) -> io::Result<(u32, Vec<u8>)> {
    stream.write_all(command)?;
    let mut answer = vec![0; 10];
    stream.read_exact(&mut answer)?;
    let field = |at: usize| {
        let bytes = answer
            .get(at..at + 4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok());
        bytes.map(u32::from_be_bytes).unwrap_or_default()
    };
    let (size, code) = (field(2) as usize, field(6));
    if !(10..=MAX_ANSWER_BYTES).contains(&size) {
        return Err(io::Error::other(format!("TPM answer of {size} bytes")));
    }
    answer.resize(size, 0);
    let (_, rest) = answer.split_at_mut(10);
    stream.read_exact(rest)?;
    Ok((code, answer))
}

#[cfg(test)]
mod needs_swtpm {
    use super::{Options, PowerCycle, Swtpm};

    #[test]
    fn serves_a_tpm_and_ends_with_its_value() {
        crate::needs!(Swtpm);
        let tpm = Swtpm::start().unwrap();
        assert_eq!(tpm.pcr(10).unwrap(), [0; 32]);
        tpm.extend(10, [7; 32]).unwrap();
        assert_ne!(tpm.pcr(10).unwrap(), [0; 32]);
        let pid = tpm.pid().unwrap();
        drop(tpm);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn two_tpms_share_nothing() {
        crate::needs!(Swtpm);
        let (one, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
        one.extend(9, [1; 32]).unwrap();
        assert_eq!(other.pcr(9).unwrap(), [0; 32]);
        assert_ne!(one.port(), other.port());
    }

    #[test]
    fn a_resume_keeps_pcr_values_and_a_reset_does_not() {
        crate::needs!(Swtpm);
        let tpm = Swtpm::start().unwrap();
        tpm.extend(9, [1; 32]).unwrap();
        let value = tpm.pcr(9).unwrap();
        tpm.power_cycle(PowerCycle::Resume).unwrap();
        assert_eq!(tpm.pcr(9).unwrap(), value);
        for cycle in [
            PowerCycle::Restart,
            PowerCycle::Reset,
            PowerCycle::UncleanReset,
        ] {
            tpm.extend(9, [1; 32]).unwrap();
            tpm.power_cycle(cycle).unwrap();
            assert_eq!(tpm.pcr(9).unwrap(), [0; 32], "{cycle:?}");
        }
    }

    #[test]
    fn comes_back_on_the_same_ports_after_a_crash() {
        crate::needs!(Swtpm);
        let mut tpm = Swtpm::start_with(Options { certificates: true }).unwrap();
        let port = tpm.port();
        tpm.kill().unwrap();
        assert!(tpm.pcr(0).is_err());
        tpm.start_again().unwrap();
        assert_eq!(tpm.port(), port);
        assert_eq!(tpm.pcr(9).unwrap(), [0; 32]);
    }
}
