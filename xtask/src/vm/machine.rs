//! A machine: its disk, its firmware's variables and its TPM, which live from boot to boot.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::disk::{self, blank};
use super::results::Results;
use super::root::write;
use crate::packages::find;
use crate::screen;
use crate::step::{self, Failed, Outcome};

/// Firmware that enforces Secure Boot.
pub(super) const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// Its variables, with Microsoft's keys, by which Debian's shim is signed.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
/// Size of the disk on which results come back, in MiB.
const RESULTS_MIB: u32 = 256;
/// In front of what the guest wants to be shown at once.
const NOTE: &str = "vm: ";
/// Exit status of `timeout` when it had to end the program.
const TIMED_OUT: i32 = 124;
/// How long swtpm may take to offer its socket, or to end after QEMU.
const PATIENCE: Duration = Duration::from_secs(20);

/// One machine, in a folder of its own.
#[derive(Debug)]
pub(super) struct Machine {
    folder: PathBuf,
    /// Longest time from power on to power off, in seconds.
    limit_s: u32,
}

/// A software TPM at work; killed with its value.
struct Tpm(Child);

// === impl Machine ===

impl Machine {
    /// A new machine in `folder` with a copy of `disk`, factory settings and a new TPM.
    pub(super) fn make(folder: &Path, disk: &Path, limit_s: u32) -> Outcome<Self> {
        super::root::remove(&[folder])?;
        fs::create_dir_all(folder).map_err(|source| Failed::File {
            deed: format!("make '{}'", folder.display()),
            source,
        })?;
        let machine = Self {
            folder: folder.to_path_buf(),
            limit_s,
        };
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]);
        step::run(copy.arg(disk).arg(machine.disk()))?;
        let variables = machine.folder.join("variables.fd");
        fs::copy(VARIABLES, &variables).map_err(|source| Failed::File {
            deed: format!("copy '{VARIABLES}'"),
            source,
        })?;
        machine.manufacture_tpm()?;
        Ok(machine)
    }

    /// The machine that an earlier run has left in `folder`.
    pub(super) fn open(folder: &Path, limit_s: u32) -> Outcome<Self> {
        let machine = Self {
            folder: folder.to_path_buf(),
            limit_s,
        };
        if machine.disk().is_file() {
            return Ok(machine);
        }
        let folder = folder.display();
        Err(Failed::Missing(format!(
            "no machine is left in '{folder}'; '--keep' leaves one"
        )))
    }

    fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// A TPM with EK and platform certificates of an authority of its own.
    fn manufacture_tpm(&self) -> Outcome {
        let authority = self.folder.join("authority");
        for folder in [&authority, &self.folder.join("tpm")] {
            fs::create_dir_all(folder).map_err(|source| Failed::File {
                deed: format!("make '{}'", folder.display()),
                source,
            })?;
        }
        let tool = find("swtpm_localca").unwrap_or_else(|| PathBuf::from("swtpm_localca"));
        let at = |name: &str| authority.join(name).display().to_string();
        write(
            &authority.join("setup.conf"),
            &format!(
                "create_certs_tool = {}\ncreate_certs_tool_config = {}\n\
                 create_certs_tool_options = {}\n",
                tool.display(),
                at("localca.conf"),
                at("localca.options")
            ),
        )?;
        write(
            &authority.join("localca.conf"),
            &format!(
                "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
                authority.display(),
                at("key.pem"),
                at("certificate.pem"),
                at("serial")
            ),
        )?;
        write(
            &authority.join("localca.options"),
            "--platform-manufacturer Portcullis\n--platform-version 1\n--platform-model guest\n",
        )?;
        let mut setup = Command::new("swtpm_setup");
        setup
            .args(["--tpm2", "--create-ek-cert", "--create-platform-cert"])
            .args(["--lock-nvram", "--overwrite", "--pcr-banks", "sha256,sha1"])
            .arg("--config")
            .arg(authority.join("setup.conf"))
            .arg("--tpmstate")
            .arg(self.folder.join("tpm"));
        step::output(&mut setup).map(drop)
    }

    /// Puts other boot loader settings on its disk.
    pub(super) fn set_grub(&self, text: &str) -> Outcome {
        disk::set_grub(&self.disk(), text)
    }

    /// Boots it with the files of `job` on its third disk, waits until it has powered itself off,
    /// and returns what came back, kept in `job`'s folder `results`. It may take `patience` times
    /// the limit of one boot.
    pub(super) fn boot(&self, job: &Path, patience: u32) -> Outcome<Results> {
        let mut pack = Command::new("tar");
        pack.arg("--create")
            .arg("--file")
            .arg(self.folder.join("job.img"));
        pack.arg("--directory").arg(job.join("files")).arg(".");
        step::run(&mut pack)?;
        let out = self.folder.join("results.img");
        blank(&out, RESULTS_MIB)?;
        let serial = job.join("serial.txt");
        {
            let mut tpm = Tpm::start(&self.folder)?;
            self.run(&serial, self.limit_s.saturating_mul(patience))?;
            tpm.end()?;
        }
        let mut unpack = Command::new("tar");
        unpack.arg("--extract").arg("--file").arg(&out);
        step::run(unpack.arg("--directory").arg(job)).map_err(|failed| {
            let serial = serial.display();
            Failed::Missing(format!("no results came back ({failed}); see '{serial}'"))
        })?;
        let results = job.join("results");
        if results.is_dir() {
            return Ok(Results::of(results));
        }
        let serial = serial.display();
        Err(Failed::Missing(format!(
            "the guest went off without results; see '{serial}'"
        )))
    }

    /// Runs QEMU to the end. Never with KVM: it may be there and not work, and a guest in software
    /// is the same everywhere.
    fn run(&self, serial: &Path, limit_s: u32) -> Outcome {
        let mut qemu = Command::new("timeout");
        qemu.args(["--kill-after=5", &limit_s.to_string()]);
        qemu.args(["qemu-system-x86_64", "-machine", "q35,smm=on"])
            .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
            .args(["-m", "2048", "-smp", "2"])
            .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
            .args(["-global", "ICH9-LPC.disable_s3=1"]);
        let drives = [
            format!("if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}"),
            "if=pflash,format=raw,unit=1,file=variables.fd".to_owned(),
            "if=virtio,format=raw,file=disk.img".to_owned(),
            "if=virtio,format=raw,file=results.img".to_owned(),
            "if=virtio,format=raw,readonly=on,file=job.img".to_owned(),
        ];
        qemu.args(drives.iter().flat_map(|drive| ["-drive", drive]));
        qemu.args(["-chardev", "socket,id=tpm,path=tpm.sock"])
            .args(["-tpmdev", "emulator,id=tpm0,chardev=tpm"])
            .args(["-device", "tpm-crb,tpmdev=tpm0"])
            .args(["-chardev", "stdio,id=serial,signal=off"])
            .args(["-serial", "chardev:serial", "-monitor", "none"])
            // A kernel that panics asks for a reboot, which ends the run.
            .args(["-display", "none", "-net", "none", "-no-reboot"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let failed = |source| Failed::Run {
            line: "qemu-system-x86_64".to_owned(),
            source,
        };
        let mut child = qemu.spawn().map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| failed(no_output()))?;
        let mut log = fs::write(serial, "")
            .and_then(|()| fs::OpenOptions::new().append(true).open(serial))
            .map_err(failed)?;
        let start = Instant::now();
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(failed)?;
            io::Write::write_all(&mut log, &line).map_err(failed)?;
            io::Write::write_all(&mut log, b"\n").map_err(failed)?;
            let text = String::from_utf8_lossy(&line);
            if let Some((_, note)) = text.split_once(NOTE) {
                let seconds = start.elapsed().as_secs();
                screen::say(&format!("    {seconds:>3} s  {}", note.trim_end()));
            }
        }
        let status = child.wait().map_err(failed)?;
        let serial = serial.display();
        match status.code() {
            Some(0) => Ok(()),
            Some(TIMED_OUT) => Err(Failed::Missing(format!(
                "the guest did not power off within {limit_s} s; see '{serial}'; a busy machine \
                 needs a longer '--boot-limit'"
            ))),
            _ => Err(Failed::Ended {
                line: format!("qemu-system-x86_64 (see '{serial}')"),
                status,
            }),
        }
    }
}

fn no_output() -> io::Error {
    io::Error::other("it has no output")
}

// === impl Tpm ===

impl Tpm {
    /// Starts it and waits until it can be reached. Paths are relative: those of sockets are short.
    fn start(folder: &Path) -> Outcome<Self> {
        let socket = folder.join("tpm.sock");
        let failed = |source| Failed::Run {
            line: "swtpm".to_owned(),
            source,
        };
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => (),
        }
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", "dir=tpm"])
            .args(["--ctrl", "type=unixio,path=tpm.sock"])
            .args(["--log", "level=1,file=tpm.log"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut tpm = Self(child);
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            if let Some(status) = tpm.0.try_wait().map_err(failed)? {
                let line = "swtpm".to_owned();
                return Err(Failed::Ended { line, status });
            }
            if Instant::now() > deadline {
                return Err(Failed::Missing("swtpm offers no socket".to_owned()));
            }
            // Nothing to wait on: the file is made by another process.
            thread::park_timeout(Duration::from_millis(5));
        }
        Ok(tpm)
    }

    /// Waits for its end, which comes with QEMU's: it saves its state then.
    fn end(&mut self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = self.0.try_wait().map_err(|source| Failed::Run {
                line: "swtpm".to_owned(),
                source,
            })?;
            if ended.is_some() {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        Err(Failed::Missing("swtpm did not end with QEMU".to_owned()))
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Ended already, if all went well.
        if matches!(self.0.try_wait(), Ok(None))
            && let Err(error) = self.0.kill().and_then(|()| self.0.wait())
        {
            screen::say(&format!("swtpm cannot be ended: {error}"));
        }
    }
}
