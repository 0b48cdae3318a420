//! One launch: opened, decided, admitted. The order is fixed by the types: there is no way to an
//! [`Admission`] that does not pass the gate, the hardening and the ledger.

use std::path::{Path, PathBuf};
use std::time::Instant;

use containerd_shim_protos::api::Mount;
use portcullis_config::node_rules::ImageName;
use portcullis_config::{Config, Mode, NodeRules};
use portcullis_gate::record::{ChangeRecord, ConfigDigests, ContainerRecord, Operation};
use portcullis_gate::{
    Code, Decision, LaunchPolicy, LaunchRequest, Permit, Refusal, Refusals, Requirement, RuleMode,
    quote,
};
use portcullis_hardening::{Baseline, Concessions, Hardened, OciConfig, Profile, harden};
use portcullis_host::{FactsPolicy, RuntimeBinary, joined_user_namespace};
use protobuf::well_known_types::any::Any;

use crate::bundle::{self, CONFIG, MAX_CONFIG_BYTES};
use crate::log;
use crate::options::RuntimeOptions;
use crate::status::TaskError;
use crate::stdio::Spawn;

mod admission;
mod agent;
mod break_glass;
mod clamp;
mod created;
mod docket;
mod enforcement;
mod floor;
mod node_rules;
mod origin;
mod reach;
mod resident;
mod runtime_choice;
mod runtime_version;

pub(crate) use admission::{Admission, recheck};
use break_glass::Waiver;
pub(crate) use clamp::{AdmittedExec, admit_exec, admit_update};
pub(crate) use created::Created;
use docket::Docket;
pub(crate) use enforcement::{never_began, refuse, verify_running, verify_stopped};
use floor::Floor;

/// What a launch is about, before anything was decided.
#[derive(Debug)]
pub(crate) struct Launch {
    docket: Docket,
    bundle: PathBuf,
    oci: OciConfig,
    /// SHA-256 of the configuration as containerd wrote it.
    before: String,
    restore: bool,
}

/// A launch that the gate let pass, or that audit mode lets go on.
#[derive(Debug)]
pub(crate) struct Decided {
    launch: Launch,
    permit: Option<Permit>,
    terms: Terms,
    profile: Box<Profile>,
    /// What is to be used instead of a permit.
    waiver: Option<Waiver>,
}

/// What this container must meet. Fixed at Create: later changes of node policy hold for the
/// next one.
#[derive(Debug)]
struct Terms {
    policy: LaunchPolicy,
    profile: String,
    require_tags: Vec<Requirement>,
    concessions: Concessions,
    rules: NodeRules,
    image: ImageName,
}

/// A launch against which nothing stands, or that audit mode lets go on.
#[derive(Debug)]
struct JudgedLaunch {
    config: OciConfig,
    /// `None` if hardening refuses it.
    baseline: Option<Baseline>,
    /// The level that the host takes of it, or has taken before.
    level: Option<String>,
    /// What is to be used for the rules that were waived.
    waiver: Option<Waiver>,
}

// === impl Launch ===

impl Launch {
    /// Reads the node's configuration and the bundle's. Nothing is trusted yet.
    ///
    /// # Errors
    ///
    /// A fault, which stops the launch in audit mode too: the node's files or the bundle's
    /// `config.json` cannot be used.
    pub(crate) async fn open(
        namespace: &str,
        id: &str,
        bundle: &Path,
        restore: bool,
    ) -> Result<Self, TaskError> {
        let operation = if restore {
            Operation::Restore
        } else {
            Operation::Create
        };
        let mut docket = Docket::open(namespace, id, operation)?;
        let path = bundle.join(CONFIG);
        let bytes = match bundle::read(&path, MAX_CONFIG_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                let expected = format!("a regular file of at most {MAX_CONFIG_BYTES} bytes");
                let found = quote(&error.to_string());
                let code = Code::OciConfigMalformed;
                let refusal = Refusal::new(code, docket.subject(), expected, found);
                return Err(docket.refuse_always(refusal.into()).await);
            }
        };
        let oci = match OciConfig::parse(&bytes) {
            Ok(oci) => oci,
            Err(refusals) => return Err(docket.refuse_always(refusals).await),
        };
        docket.describe(|annotation| oci.annotation(annotation));
        Ok(Self {
            docket,
            bundle: bundle.to_owned(),
            before: docket::sha256_hex(&bytes),
            oci,
            restore,
        })
    }

    /// The runtime options that a request came with.
    ///
    /// # Errors
    ///
    /// [`TaskError::Refused`] with `options-unknown`, or in enforcing mode `options-denied`.
    pub(crate) async fn options(
        &mut self,
        any: Option<&Any>,
        fallback: &RuntimeOptions,
    ) -> Result<RuntimeOptions, TaskError> {
        let options = match runtime_choice::chosen(any, fallback) {
            Ok(options) => options,
            Err(refusal) => return Err(self.docket.refuse_always(refusal.into()).await),
        };
        if let Some(refusals) = runtime_choice::denied(&options) {
            self.docket.refuse(refusals).await?;
        }
        Ok(options)
    }

    /// Asks the agent and decides; `mounts` are what is to become the root filesystem.
    ///
    /// # Errors
    ///
    /// [`TaskError::Refused`], recorded in the ledger if the agent answers at all.
    pub(crate) async fn decide(mut self, mounts: &[Mount]) -> Result<Decided, TaskError> {
        if self.restore {
            let refusal = Refusal::new(
                Code::RestoreDenied,
                self.docket.subject(),
                "a start from its image",
                "a restore from a checkpoint",
            );
            // In audit mode too: going on would start the image afresh instead of restoring it.
            return Err(self.docket.refuse_always(refusal.into()).await);
        }
        let terms = match self.terms() {
            Ok(terms) => terms,
            Err(refusals) => return Err(self.docket.refuse_always(refusals).await),
        };
        self.docket.record.profile = Some(terms.profile.clone());
        let relaxations = terms.concessions.relaxations.names();
        self.docket.record.relaxations = relaxations.map(str::to_owned).collect();
        // The profile is read, and paths are looked at, while the agent reads the TPM.
        let (decision, profile, reached) = tokio::join!(
            ask_gate(&self.docket, &terms.policy, &terms.require_tags),
            async { self.docket.config.profile(&terms.profile).map(Box::new) },
            reach::verify(&self.oci, mounts),
        );
        if let Err(fault) = reached {
            return Err(self.docket.refuse_always(fault.into()).await);
        }
        let profile = match profile {
            Ok(profile) => profile,
            Err(fault) => return Err(self.docket.refuse_always(fault).await),
        };
        let (permit, waiver) = match decision {
            Ok(Decision::Permitted(permit)) => {
                self.docket.record.verdict_sha256 = Some(permit.verdict_sha256.clone());
                (Some(permit), None)
            }
            Ok(Decision::Refused(refusals) | Decision::Undecided(refusals)) => {
                match break_glass::of_host(&self.docket, &self.oci, refusals) {
                    Ok(waiver) => (None, Some(waiver)),
                    Err(refusals) => {
                        self.docket.refuse(refusals).await?;
                        (None, None)
                    }
                }
            }
            Err(fault) => return Err(self.docket.refuse_always(fault).await),
        };
        let allowed = origin::Allowed {
            directories: &self.docket.config.mounts_allow,
            sources: &self.docket.config.root_sources,
        };
        let foreign = origin::refusals(&self.oci, &self.bundle, mounts, allowed);
        if let Some(refusals) = Refusals::from_vec(foreign) {
            self.docket.refuse(refusals).await?;
        }
        Ok(Decided {
            launch: self,
            permit,
            terms,
            profile,
            waiver,
        })
    }

    /// Node policy for this container, tightened by what its pod asks for.
    fn terms(&self) -> Result<Terms, Refusals> {
        let docket = &self.docket;
        let namespace = &docket.record.container.namespace;
        let annotation = |name: &str| self.oci.annotation(name);
        let demands = docket
            .config
            .demands(namespace, annotation, docket::unix_s())?;
        Ok(Terms {
            policy: demands.effective.policy,
            profile: demands.effective.profile,
            require_tags: demands.require_tags,
            concessions: demands.concessions,
            rules: demands.effective.node_rules,
            image: demands.image,
        })
    }
}

/// The gate's decision on a live snapshot.
async fn ask_gate(
    docket: &Docket,
    policy: &LaunchPolicy,
    require_tags: &[Requirement],
) -> Result<Decision, Refusals> {
    let mut moment = docket::moment()?;
    let request = LaunchRequest {
        node: docket.config.node_name.clone(),
        subject: docket.subject(),
        require_tags: require_tags.to_vec(),
    };
    let (snapshot, keys) = tokio::join!(agent::snapshot(docket.config.snapshot_deadline), async {
        portcullis_config::trusted_keys()
    },);
    let keys = keys?;
    let snapshot = snapshot.as_ref();
    let decision = portcullis_gate::decide(policy, &keys, &request, snapshot, &mut moment);
    docket::remember(&moment)?;
    Ok(decision)
}

// === impl Decided ===

impl Decided {
    /// Hardens the configuration, writes it into the bundle and records the launch.
    ///
    /// The root filesystem must be mounted: what is added to the configuration depends on what the
    /// image has at `/tmp`, `/var/tmp` and `/run`.
    ///
    /// # Errors
    ///
    /// [`TaskError::Refused`]: the configuration asks for what the profile denies, image, level or
    /// versions are not what node policy asks, or the ledger does not take the record.
    pub(crate) async fn admit(
        mut self,
        options: &RuntimeOptions,
        spawn: Spawn<'_>,
    ) -> Result<Admission, TaskError> {
        let docket = &mut self.launch.docket;
        let runtime_binary = match runtime_choice::trusted(options, &docket.config.runtime.binary) {
            Ok(binary) => binary,
            Err(refusal) => return Err(docket.refuse_always(refusal.into()).await),
        };
        let judged = self.judge(&runtime_binary, spawn).await?;
        let docket = &mut self.launch.docket;
        // Audit mode changes nothing: it shows what enforcing would do.
        let audit = docket.config.mode == Mode::Audit;
        let bytes = if audit {
            self.launch.oci.to_bytes()
        } else {
            judged.config.to_bytes()
        };
        let after = docket::sha256_hex(&bytes);
        docket.record.config_sha256 = Some(ConfigDigests {
            before: self.launch.before.clone(),
            after: after.clone(),
        });
        // Last, for what is refused takes no level. Should there be no record now, the host keeps
        // its level without a workload, until it is released.
        let level = judged.level.filter(|_| !audit);
        if let Err(refusals) = node_rules::pin(level.as_deref()) {
            docket.refuse(refusals).await?;
        }
        // Last of all: what is used is used, whatever becomes of the launch.
        let mut waived_until: Option<u64> = None;
        for waiver in self.waiver.into_iter().chain(judged.waiver) {
            match waiver.claim(docket, &self.launch.oci) {
                Ok(end) => waived_until = Some(waived_until.map_or(end, |until| until.min(end))),
                Err(refusals) => return Err(docket.refuse_always(refusals).await),
            }
        }
        docket.record_permitted().await?;
        let floor = Floor::of(
            &docket.config,
            &self.profile,
            &self.terms.concessions.relaxations,
        );
        let systemd_cgroup =
            options.systemd_cgroup || wants_systemd(&docket.config, &self.launch.oci);
        write(
            &self.launch.bundle,
            &bytes,
            runtime_binary.path(),
            options,
            systemd_cgroup,
        )?;
        Ok(Admission {
            namespace: docket.record.container.namespace.clone(),
            container: docket.record.container.clone(),
            permit: self.permit,
            waived_until,
            require_tags: self.terms.require_tags,
            policy: self.terms.policy,
            baseline: judged.baseline,
            config_sha256: after,
            audit,
            floor,
            shares_pid_namespace: admission::shares_pid_namespace(&self.launch.oci),
            systemd_cgroup,
            runtime_binary: runtime_binary.path().to_owned(),
            level,
        })
    }

    /// Judges the container by its profile and by the rules about what it comes from and runs on;
    /// all reasons are told together.
    ///
    /// # Errors
    ///
    /// [`TaskError::Refused`].
    async fn judge(
        &mut self,
        runtime_binary: &RuntimeBinary,
        spawn: Spawn<'_>,
    ) -> Result<JudgedLaunch, TaskError> {
        let docket = &mut self.launch.docket;
        let permit = self.permit.as_ref();
        let ueid = permit.map(|permit| &permit.ueid);
        let oci = &self.launch.oci;
        let rootfs = self.launch.bundle.join(oci.root_path().unwrap_or_default());
        let mut waiver: Option<Waiver> = None;
        let modes = self.terms.concessions.modes.clone();
        // A rule may hide another one behind it: each turn waives one more, or is the last.
        let (around, hardened, standing) = loop {
            let around = match node_rules::judge(&self.terms, permit, runtime_binary, spawn).await {
                Ok(around) => around,
                Err(fault) => return Err(docket.refuse_always(fault.into()).await),
            };
            let hardened = hardened(docket, (&self.terms, &self.profile), oci, &rootfs);
            let mut against = Vec::new();
            let hardened = match hardened {
                Ok(hardened) => Some(hardened),
                Err(refusals) => {
                    against.extend(refusals);
                    None
                }
            };
            // What cannot be read comes first, so that it stops the launch in audit mode too.
            against.extend(around.standing.iter().flat_map(Refusals::iter).cloned());
            let Some(refusals) = Refusals::from_vec(against) else {
                break (around, hardened, None);
            };
            let before = waiver.take().map(Waiver::into_rules).unwrap_or_default();
            match break_glass::of_rules(docket, oci, refusals, ueid, before) {
                Ok(found) => {
                    for rule in found.rules() {
                        let modes = &mut self.terms.concessions.modes;
                        modes.loosen(*rule, RuleMode::Audit);
                    }
                    waiver = Some(found);
                }
                Err(refusals) => break (around, hardened, Some(refusals)),
            }
        };
        let (config, baseline) = match hardened {
            Some(hardened) => {
                docket.record.changes = hardened.changes.iter().map(ChangeRecord::from).collect();
                hardened.audited.add_to(&mut docket.record.audited);
                // A token is for this start: what comes later is held to what the container has now,
                // under the modes that it would have had without one.
                let baseline = Baseline {
                    modes,
                    ..hardened.baseline
                };
                (hardened.config, Some(baseline))
            }
            None => (oci.clone(), None),
        };
        docket.record.audited.note(&around.audited);
        if let Some(refusals) = standing {
            docket.refuse(refusals).await?;
        }
        Ok(JudgedLaunch {
            config,
            baseline,
            level: around.level,
            waiver,
        })
    }
}

/// The profile's view of the configuration.
fn hardened(
    docket: &Docket,
    (terms, profile): (&Terms, &Profile),
    oci: &OciConfig,
    rootfs: &Path,
) -> Result<Hardened, Refusals> {
    let begun = Instant::now();
    let policy =
        FactsPolicy::allowing(&docket.config.mounts_allow).hashing(&profile.hashed_hooks(oci));
    let mut facts =
        portcullis_host::facts(oci, Some(rootfs), &policy).map_err(|error| error.refusal())?;
    if let (None, Some(path)) = (&facts.user_namespace, joined_user_namespace(oci)) {
        facts.user_namespace = resident::maps(path)?;
    }
    let hardened = harden(oci.clone(), profile, &facts, &terms.concessions);
    let id = &docket.record.container.id;
    log::took(&format!("hardening of '{id}'"), begun);
    hardened
}

/// The hardened configuration, and what `delete` must know if this process is gone by then.
fn write(
    bundle: &Path,
    config: &[u8],
    binary: &Path,
    options: &RuntimeOptions,
    systemd_cgroup: bool,
) -> Result<(), TaskError> {
    let path = bundle.join(CONFIG);
    bundle::replace(&path, config).map_err(|source| TaskError::Bundle {
        verb: "write",
        path: path.display().to_string(),
        source,
    })?;
    Created {
        binary: binary.display().to_string(),
        root: options.root.clone(),
        systemd_cgroup,
    }
    .write(bundle)
}

/// The node says so, or the cgroup path has systemd's form `slice:prefix:name`.
fn wants_systemd(config: &Config, oci: &OciConfig) -> bool {
    let by_path = || {
        let path = oci.cgroups_path().unwrap_or_default();
        !path.starts_with('/') && path.split(':').count() == 3
    };
    config.runtime.systemd_cgroup || by_path()
}

/// Names for one container in records and refusals, from the annotations that CRI sets.
fn container_record<'a>(
    namespace: &str,
    id: &str,
    annotation: impl Fn(&str) -> Option<&'a str>,
) -> ContainerRecord {
    let named = |key: &str| annotation(key).map(str::to_owned);
    ContainerRecord {
        namespace: namespace.to_owned(),
        id: id.to_owned(),
        sandbox_id: named("io.kubernetes.cri.sandbox-id"),
        pod: named("io.kubernetes.cri.sandbox-name"),
        pod_namespace: named("io.kubernetes.cri.sandbox-namespace"),
        pod_uid: named("io.kubernetes.cri.sandbox-uid"),
        name: named("io.kubernetes.cri.container-name"),
        image: named("io.kubernetes.cri.image-name"),
    }
}
