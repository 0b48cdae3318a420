//! The two that are compared.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::containerd::{PORTCULLIS, RUNC};
use crate::failure::{Doing, Failure, Outcome};
use crate::node::Node;
use crate::require;
use crate::world::World;

/// Handler of our pods, as `containerd.rs` configures it.
const OUR_HANDLER: &str = "portcullis";
/// Handler of the peer's pods if it is containerd's own shim.
const RUNC_HANDLER: &str = "runc";
/// Handler of any other peer's pods.
const PEER_HANDLER: &str = "peer";
/// containerd's configuration in a world.
const CONFIG: &str = "/etc/containerd/config.toml";

/// One shim.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// containerd's name of the runtime.
    pub(super) runtime: String,
    /// Name of the program.
    pub(super) shim: String,
    /// CRI's name of it.
    pub(super) handler: &'static str,
    /// For names of containers.
    pub(super) word: &'static str,
}

// === impl Side ===

impl Side {
    /// Our shim.
    pub(super) fn ours() -> Self {
        Self {
            runtime: PORTCULLIS.to_owned(),
            shim: "containerd-shim-portcullis-v1".to_owned(),
            handler: OUR_HANDLER,
            word: "ours",
        }
    }

    /// The peer: `from` is put where a package would put `shim`, and containerd's CRI is told of
    /// it, unless it is containerd's own.
    pub(super) fn peer(
        runtime: &str,
        shim: &str,
        from: Option<&PathBuf>,
        (node, world): (&mut Node, &World),
    ) -> Outcome<Self> {
        if let Some(from) = from {
            let to = Path::new("/usr/bin").join(shim);
            fs::copy(from, &to).doing(format!("install '{}' as the peer", from.display()))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
                .doing(format!("set the mode of '{}'", to.display()))?;
        } else if require::find(shim).is_none() {
            return Err(Failure::new(format!(
                "the peer '{shim}' of runtime '{runtime}' is not installed; name its program"
            )));
        }
        let own = runtime == RUNC;
        if !own {
            let handler = format!(
                "    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{PEER_HANDLER}]\n      \
                 runtime_type = \"{runtime}\"\n"
            );
            let mut config = fs::read_to_string(CONFIG).doing(format!("read '{CONFIG}'"))?;
            config.push_str(&handler);
            fs::write(CONFIG, config).doing(format!("write '{CONFIG}'"))?;
            node.restart_containerd(world)?;
        }
        Ok(Self {
            runtime: runtime.to_owned(),
            shim: shim.to_owned(),
            handler: if own { RUNC_HANDLER } else { PEER_HANDLER },
            word: "peer",
        })
    }
}
