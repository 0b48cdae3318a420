//! `portcullis check`

mod judgement;

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_config::{Config, Demands, Mode, namespace_of, paths};
use portcullis_gate::{Decision, LaunchRequest, Refusals, quote};
use portcullis_hardening::{Hardened, OciConfig, harden};
use portcullis_host::FactsPolicy;

use self::judgement::Judgement;
use crate::agent;
use crate::clock;
use crate::failure::Failure;
use crate::files;
use crate::report::Report;

/// A little more than the gate accepts, so that the gate's own refusal names the limit.
const CONFIG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Say whether an OCI configuration would start here, and how hardening would change it.
///
/// Asks the agent and decides as a launch does, but starts nothing and records nothing. Ends with 0
/// if it is permitted, with 1 if it is refused, with 2 if that cannot be decided; in audit mode,
/// where it would start all the same, too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis check config.json
  portcullis check --namespace k8s.io --output json /run/containerd/…/config.json
  runc spec && portcullis check --profile strict config.json")]
pub(crate) struct CheckArguments {
    /// The configuration, as runc or crun would read it; '-' is standard input.
    config: PathBuf,
    /// Hardening profile to judge by, instead of the one node policy gives the namespace.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The containerd namespace it would start in.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Root filesystem, instead of the one named in the configuration.
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
}

pub(crate) fn run(arguments: &CheckArguments) -> Result<Report, Failure> {
    let bytes = files::read(&arguments.config, CONFIG_LIMIT_BYTES)?;
    let oci = OciConfig::parse(&bytes)?;
    let settings = portcullis_config::load()?;
    let namespace = namespace_of(&arguments.namespace, |name| oci.annotation(name)).to_owned();
    let now = clock::now_unix_s();
    let mut demands = settings.demands(&arguments.namespace, |name| oci.annotation(name), now)?;
    if let Some(profile) = &arguments.profile {
        profile.clone_into(&mut demands.effective.profile);
    }
    let profile = demands.effective.profile.clone();

    let host = ask_gate(&settings, &demands, &arguments.config)?;
    let container = harden_here(&settings, &demands, oci, arguments);
    let judgement = Judgement {
        namespace: &namespace,
        profile: &profile,
        audit: settings.mode == Mode::Audit,
        host: &host,
        container: &container,
        now_unix_s: now,
    };
    Ok(judgement.report())
}

/// The gate's decision about this host, with a live reading.
fn ask_gate(settings: &Config, demands: &Demands<'_>, path: &Path) -> Result<Decision, Refusals> {
    let keys = portcullis_config::trusted_keys()?;
    let request = LaunchRequest {
        node: settings.node_name.clone(),
        subject: format!("configuration {}", quote(&path.display().to_string())),
        require_tags: demands.require_tags.clone(),
    };
    let snapshot = agent::snapshot(settings.snapshot_deadline);
    // What it sees is not kept: nothing starts on the strength of it.
    let mut moment =
        portcullis_host::moment(Path::new(paths::SEEN)).map_err(|error| error.refusal())?;
    Ok(portcullis_gate::decide(
        &demands.effective.policy,
        &keys,
        &request,
        snapshot.as_ref(),
        &mut moment,
    ))
}

/// The profile's view of the configuration, with the facts of this host.
fn harden_here(
    settings: &Config,
    demands: &Demands<'_>,
    oci: OciConfig,
    arguments: &CheckArguments,
) -> Result<Hardened, Refusals> {
    let profile = portcullis_config::profile(&demands.effective.profile)?;
    let policy = FactsPolicy::allowing(&settings.mounts_allow);
    let facts = portcullis_host::facts(&oci, rootfs(&oci, arguments).as_deref(), &policy)
        .map_err(|error| error.refusal())?;
    harden(oci, &profile, &facts, &demands.concessions)
}

/// The root filesystem: named by the caller, or by the configuration if it is there. Without one,
/// hardening does not know which writable directories the image needs.
fn rootfs(oci: &OciConfig, arguments: &CheckArguments) -> Option<PathBuf> {
    if let Some(named) = &arguments.rootfs {
        return Some(named.clone());
    }
    let bundle = arguments.config.parent()?;
    let path = bundle.join(oci.root_path()?);
    path.is_dir().then_some(path)
}
