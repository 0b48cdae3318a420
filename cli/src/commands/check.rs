//! `portcullis check`

mod judgement;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_attestation::boot_id::BootId;
use portcullis_config::{Config, Effective, Mode, namespace_of};
use portcullis_gate::{
    Code, Decision, LaunchRequest, Moment, Refusal, Refusals, Requirement, quote,
};
use portcullis_hardening::{Hardened, OciConfig, Relaxations, harden};
use portcullis_host::FactsPolicy;

use self::judgement::Judgement;
use crate::agent;
use crate::clock;
use crate::failure::Failure;
use crate::files;
use crate::report::Report;

/// A little more than the gate accepts, so that the gate's own refusal names the limit.
const CONFIG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Annotation by which a pod asks for more tags than the node does.
const REQUIRE_TAGS: &str = "portcullis.dev/require-tags";

/// Annotation by which a pod asks for a stricter profile than the node does.
const PROFILE: &str = "portcullis.dev/profile";

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

/// What node policy and the configuration's own annotations ask for.
struct Demands<'a> {
    effective: Effective<'a>,
    require_tags: Vec<Requirement>,
    relaxations: Relaxations,
}

pub(crate) fn run(arguments: &CheckArguments) -> Result<Report, Failure> {
    let bytes = files::read(&arguments.config, CONFIG_LIMIT_BYTES)?;
    let oci = OciConfig::parse(&bytes)?;
    let settings = portcullis_config::load()?;
    let namespace = namespace_of(&arguments.namespace, |name| oci.annotation(name)).to_owned();
    let now = clock::now_unix_s();
    let demands = demands(
        &settings,
        &namespace,
        &oci,
        arguments.profile.as_deref(),
        now,
    )?;
    let profile = demands.effective.profile.clone();

    let host = ask_gate(&settings, &demands, &arguments.config, now)?;
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

fn demands<'a>(
    settings: &'a Config,
    namespace: &str,
    oci: &OciConfig,
    profile: Option<&str>,
    now: u64,
) -> Result<Demands<'a>, Refusals> {
    let mut effective = settings.effective(namespace);
    if let Some(wanted) = oci.annotation(PROFILE) {
        effective.tighten_profile(wanted)?;
    }
    if let Some(profile) = profile {
        profile.clone_into(&mut effective.profile);
    }
    let require_tags = match oci.annotation(REQUIRE_TAGS).map(Requirement::parse) {
        None => Vec::new(),
        Some(Ok(requirement)) => vec![requirement],
        Some(Err(error)) => {
            let subject = format!("annotation '{REQUIRE_TAGS}'");
            let expected = "a Kubernetes label selector";
            let found = quote(&error.to_string());
            return Err(
                Refusal::new(Code::TagRequirementMalformed, subject, expected, found).into(),
            );
        }
    };
    let image = oci
        .annotation("io.kubernetes.cri.image-name")
        .unwrap_or_default();
    let digest = image.split_once('@').map_or("", |(_, digest)| digest);
    let relaxations = effective.relaxations_for(digest, now).collect();
    Ok(Demands {
        effective,
        require_tags,
        relaxations,
    })
}

/// The gate's decision about this host, with a live reading.
fn ask_gate(
    settings: &Config,
    demands: &Demands<'_>,
    path: &Path,
    now: u64,
) -> Result<Decision, Refusals> {
    let keys = portcullis_config::trusted_keys()?;
    let boot_id = portcullis_host::boot_id().map_err(|error| error.refusal())?;
    let boot_id = BootId::parse(&boot_id).ok_or_else(|| {
        Refusal::new(
            Code::HostUnreadable,
            "boot id of the kernel",
            "a UUID",
            quote(&boot_id),
        )
    })?;
    let request = LaunchRequest {
        node: settings.node_name.clone(),
        subject: format!("configuration {}", quote(&path.display().to_string())),
        require_tags: demands.require_tags.clone(),
    };
    let snapshot = agent::snapshot(settings.snapshot_deadline);
    let moment = Moment {
        unix_s: now,
        boot_id,
        newest_seen: None,
    };
    Ok(portcullis_gate::decide(
        &demands.effective.policy,
        &keys,
        &request,
        snapshot.as_ref(),
        &moment,
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
    let rootfs = match rootfs(&oci, arguments) {
        None => None,
        Some(path) => Some(portcullis_host::open_rootfs(&path).map_err(|error| error.refusal())?),
    };
    let policy = FactsPolicy {
        mounts_allow: settings.mounts_allow.iter().map(PathBuf::from).collect(),
        ..FactsPolicy::default()
    };
    let facts = portcullis_host::facts(
        &oci,
        rootfs.as_ref().map(|directory| directory.as_fd()),
        &policy,
    )
    .map_err(|error| error.refusal())?;
    harden(oci, &profile, &facts, &demands.relaxations)
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
