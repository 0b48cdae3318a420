//! A containerd of its own, with CRI, at its usual place inside a world.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cgroup_driver::CgroupDriver;
use crate::cri::Cri;
use crate::daemon::Daemon;
use crate::failure::{Doing, Failure, Outcome};
use crate::image;
use crate::run::{self, Ran};
use crate::tasks::Tasks;
use crate::wait;
use crate::world::World;

/// Its socket.
pub const SOCKET: &str = "/run/containerd/containerd.sock";
/// Where Debian puts the CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";
/// containerd namespace in which `ctr` works here.
pub const NAMESPACE: &str = "default";
/// containerd namespace of all pods.
pub const POD_NAMESPACE: &str = "k8s.io";
/// Runtime type of our shim.
pub const PORTCULLIS: &str = "io.containerd.portcullis.v1";
/// Runtime type of containerd's own shim.
pub const RUNC: &str = "io.containerd.runc.v2";

/// Folder for its configuration.
const CONFIG: &str = "/etc/containerd/config.toml";
/// Pods get addresses from here; the network exists only inside a world.
const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "ptp",
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]],
           "dataDir": "/run/cni"}}]}
"#;

/// First number of the version of the containerd in folder `root`, or of this machine's.
///
/// # Errors
///
/// When it is not there or does not tell.
pub fn generation(root: Option<&Path>) -> Outcome<u32> {
    let mut command = Command::new("containerd");
    if let Some(root) = root {
        command = Command::new("chroot");
        command.arg(root).arg("containerd");
    }
    // Sample: `containerd github.com/containerd/containerd/v2 2.1.9+unknown `.
    let said = run::to_end(command.arg("--version"))?.success()?;
    let version = said.split_whitespace().nth(2).unwrap_or_default();
    let first = version.trim_start_matches('v').split('.').next();
    first
        .unwrap_or_default()
        .parse()
        .doing(format!("read the version in '{}'", said.trim()))
}

/// A running containerd.
#[derive(Debug)]
pub struct Containerd {
    daemon: Daemon,
    log: std::path::PathBuf,
}

// === impl Containerd ===

impl Containerd {
    /// Writes its configuration, starts it and imports our images.
    ///
    /// # Errors
    ///
    /// When a part cannot be written or started.
    pub fn start(world: &World) -> Outcome<Self> {
        fs::write(CONFIG, configuration()).doing(format!("write '{CONFIG}'"))?;
        fs::create_dir_all("/etc/cni/net.d").doing("make '/etc/cni/net.d'")?;
        fs::write("/etc/cni/net.d/10-lab.conflist", NETWORK).doing("write the pod network")?;
        let mut containerd = Self::resume(world)?;
        containerd.import(world)?;
        wait::until_true("CRI to be ready", wait::PATIENCE, || {
            containerd.cri().unmet().is_ok_and(|unmet| unmet.is_empty())
        })?;
        containerd.daemon.until_ready(|| true)?;
        Ok(containerd)
    }

    /// Starts it on what an earlier one has left.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn resume(world: &World) -> Outcome<Self> {
        let log = world.logs().join("containerd.log");
        let mut command = Command::new("containerd");
        command.args(["--config", CONFIG, "--log-level", "info"]);
        let mut daemon = Daemon::start(&mut command, &log)?;
        daemon.until_ready(|| {
            run::to_end(Command::new("ctr").arg("version")).is_ok_and(|ran| ran.status.success())
        })?;
        Ok(Self { daemon, log })
    }

    /// Stops it and starts it again; running containers go on.
    ///
    /// # Errors
    ///
    /// When it does not end or come up.
    pub fn restart(&mut self, world: &World) -> Outcome {
        self.daemon.stop()?;
        *self = Self::resume(world)?;
        wait::until_true("CRI to be ready", wait::PATIENCE, || {
            self.cri().unmet().is_ok_and(|unmet| unmet.is_empty())
        })
    }

    /// Kills it, as a crash would; containers and shims go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn crash(&mut self) -> Outcome {
        self.daemon.crash().map(drop)
    }

    /// Starts it again after [`Containerd::crash`].
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn recover(&mut self, world: &World) -> Outcome {
        *self = Self::resume(world)?;
        wait::until_true("CRI to be ready", wait::PATIENCE, || {
            self.cri().unmet().is_ok_and(|unmet| unmet.is_empty())
        })
    }

    /// First number of its version.
    ///
    /// # Errors
    ///
    /// When it does not tell.
    pub fn generation(&self) -> Outcome<u32> {
        generation(None)
    }

    /// `ctr` with `arguments`, in [`NAMESPACE`].
    #[must_use]
    pub fn ctr(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("ctr");
        command.args(["--namespace", NAMESPACE]).args(arguments);
        command
    }

    /// Runs `ctr` with `arguments` to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn run_ctr(&self, arguments: &[impl AsRef<OsStr>]) -> Outcome<Ran> {
        run::to_end(&mut self.ctr(arguments))
    }

    /// Its CRI service.
    #[must_use]
    pub fn cri(&self) -> Cri<'static> {
        Cri::new(Path::new(SOCKET))
    }

    /// Its Task API in [`NAMESPACE`].
    #[must_use]
    pub fn tasks(&self) -> Tasks<'static> {
        Tasks::new(Path::new(SOCKET), NAMESPACE)
    }

    /// All it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it; running containers go on.
    ///
    /// # Errors
    ///
    /// When it has to be killed.
    pub fn stop(mut self) -> Outcome {
        self.daemon.stop().map(drop)
    }

    /// Leaves it running.
    pub fn release(self) {
        self.daemon.release();
    }

    fn import(&self, world: &World) -> Outcome {
        let archive = world.private().join("images.tar");
        image::write_archive(&archive)?;
        let archive = archive
            .to_str()
            .ok_or_else(|| Failure::new("scratch folder is not named in UTF-8"))?;
        for namespace in [NAMESPACE, POD_NAMESPACE] {
            let mut command = Command::new("ctr");
            command.args(["--namespace", namespace, "images", "import", archive]);
            run::to_end(&mut command)?.success()?;
        }
        Ok(())
    }
}

/// The configuration: CRI with two runtime handlers. A machine without the right to raise a
/// process' out-of-memory priority needs `restrict_oom_score_adj`.
fn configuration() -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  max_container_log_line_size = 16384
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "{RUNC}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.portcullis]
      runtime_type = "{PORTCULLIS}"
      pod_annotations = ["portcullis.dev/*"]
{driver}"#,
        pause = image::PAUSE,
        driver = CgroupDriver::current().of_runtimes(),
    )
}
