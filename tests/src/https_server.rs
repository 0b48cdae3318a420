//! A TLS server on the loopback address, with an authority of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::failure::{Doing, Failure, Outcome};
use crate::run;
use crate::world::World;

/// Names the server by its address, as clients do that have no DNS.
const EXTENSIONS: &str = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

/// openssl's server, which answers with files that hold whole HTTP answers.
#[derive(Debug)]
pub struct HttpsServer {
    daemon: Daemon,
    pages: PathBuf,
    certificates: PathBuf,
    port: u16,
}

// === impl HttpsServer ===

impl HttpsServer {
    /// Makes an authority, a certificate of it for 127.0.0.1 and an authority that nobody
    /// certifies with, and starts the server. Its files are in `folder`.
    ///
    /// # Errors
    ///
    /// When `openssl` fails, or the server does not listen.
    pub fn start(world: &World, folder: &Path) -> Outcome<Self> {
        let (certificates, pages) = (folder.join("certificates"), folder.join("pages"));
        for folder in [&certificates, &pages] {
            fs::create_dir_all(folder).doing(format!("make '{}'", folder.display()))?;
        }
        certify(&certificates)?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("find a port")?;
        let port = free.local_addr().doing("find a port")?.port();
        drop(free);
        let mut command = openssl(&pages);
        command.args(["s_server", "-quiet", "-HTTP", "-accept"]);
        command.arg(format!("127.0.0.1:{port}"));
        for (option, name) in [("-cert", "server.pem"), ("-key", "server.key")] {
            command.arg(option).arg(certificates.join(name));
        }
        let log = world.logs().join("https-server.log");
        let mut daemon = Daemon::start(&mut command, &log)?;
        daemon.until_ready(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
        Ok(Self {
            daemon,
            pages,
            certificates,
            port,
        })
    }

    /// Answers questions for `name` with `status`, such as `200 OK`, `headers` and `body`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn answer(&self, name: &str, status: &str, headers: &str, body: &str) -> Outcome {
        let answer = format!(
            "HTTP/1.0 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        fs::write(self.pages.join(name), answer).doing(format!("write page '{name}'"))
    }

    /// Address of the page `name`.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}/{name}", self.port)
    }

    /// Certificate of the authority that the server's certificate is of.
    #[must_use]
    pub fn authority(&self) -> String {
        self.certificates.join("ca.pem").display().to_string()
    }

    /// Certificate of an authority that has nothing to do with the server.
    #[must_use]
    pub fn other_authority(&self) -> String {
        self.certificates.join("other.pem").display().to_string()
    }

    /// Stops the server.
    ///
    /// # Errors
    ///
    /// When it has ended by itself.
    pub fn stop(mut self) -> Outcome {
        self.daemon.stop().map(drop)
    }
}

fn openssl(folder: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder);
    command
}

fn certify(folder: &Path) -> Outcome {
    fs::write(folder.join("extensions"), EXTENSIONS).doing("write certificate extensions")?;
    for line in [
        "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=authority -days 2 \
         -keyout ca.key -out ca.pem",
        "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=other -days 2 \
         -keyout other.key -out other.pem",
        "req -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=verifier \
         -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile extensions -out server.pem",
    ] {
        let ran = run::to_end(openssl(folder).args(line.split_whitespace()))?;
        if !ran.status.success() {
            return Err(Failure::new(format!("'{}': {}", ran.line, ran.stderr)));
        }
    }
    Ok(())
}
