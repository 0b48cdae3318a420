//! An HTTPS server that notes what is posted to it, made of `openssl s_server`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::failure::{Doing, Outcome};
use crate::run;

/// Where it listens.
pub const ADDRESS: &str = "127.0.0.1:8443";
/// Answers each connection with the next status, and keeps what it was sent. The FIFO stays open,
/// so that the server waits for the client to hang up.
const SCRIPT: &str = r#"
rm -f answers && mkfifo answers && exec 3<>answers
for status in "$@"; do
  printf 'HTTP/1.1 %s\r\nLocation: https://127.0.0.1:8443/elsewhere\r\nContent-Length: 0\r\n\r\n' "$status" >&3
  openssl s_server -accept 127.0.0.1:8443 -cert server.pem -key server.key -quiet -naccept 1 \
    <answers >>received
done
"#;

/// A running server.
#[derive(Debug)]
pub struct Webhook {
    folder: PathBuf,
    daemon: Daemon,
}

// === impl Webhook ===

impl Webhook {
    /// Makes an authority and a certificate of it in `folder`, and answers one connection for each
    /// of `statuses`, in order: `503 Busy`.
    ///
    /// # Errors
    ///
    /// When openssl cannot make or serve them.
    pub fn start(folder: &Path, statuses: &[&str]) -> Outcome<Self> {
        fs::create_dir_all(folder).doing("make a folder")?;
        fs::write(folder.join("received"), "").doing("make a file")?;
        authority(folder, "ca")?;
        fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").doing("write names")?;
        openssl(
            folder,
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key \
             -out server.csr -subj /CN=webhook",
        )?;
        openssl(
            folder,
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
             -extfile names -out server.pem",
        )?;
        let mut command = Command::new("sh");
        command
            .current_dir(folder)
            .args(["-ec", SCRIPT, "sh"])
            .args(statuses);
        let daemon = Daemon::start(&mut command, &folder.join("log"))?;
        Ok(Self {
            folder: folder.to_owned(),
            daemon,
        })
    }

    /// Certificate of the authority that its own is of.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Certificate of an authority that its own is not of.
    ///
    /// # Errors
    ///
    /// When openssl cannot make it.
    pub fn other_authority(&self) -> Outcome<PathBuf> {
        authority(&self.folder, "other")?;
        Ok(self.folder.join("other.pem"))
    }

    /// All that it was sent: requests with heads and bodies.
    #[must_use]
    pub fn received(&self) -> String {
        fs::read_to_string(self.folder.join("received")).unwrap_or_default()
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// When it was not running.
    pub fn finish(mut self) -> Outcome {
        let pid = self.daemon.pid().unwrap_or_default();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        self.daemon.crash()?;
        for child in children.unwrap_or_default().split_whitespace() {
            crate::held::kill(child.parse().doing("read a process id")?)?;
        }
        Ok(())
    }
}

fn authority(folder: &Path, name: &str) -> Outcome {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -keyout {name}.key -out {name}.pem -subj /CN={name}"
        ),
    )
}

fn openssl(folder: &Path, arguments: &str) -> Outcome {
    let mut command = Command::new("openssl");
    command
        .current_dir(folder)
        .args(arguments.split_whitespace());
    run::to_end(&mut command)?.success().map(drop)
}
