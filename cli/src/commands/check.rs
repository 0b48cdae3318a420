//! `portcullis check`

mod judgement;
mod node_rules;

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_config::{Config, Mode, paths};
use portcullis_gate::{Decision, LaunchRequest, Refusals, quote};
use portcullis_hardening::OciConfig;
use serde_json::Value;

pub(crate) use self::judgement::operations;
use self::judgement::{Host, Judgement, Part};
use crate::agent;
use crate::clock;
use crate::failure::Failure;
use crate::files;
use crate::report::Report;
use crate::trial::{KUBERNETES, Source, Trial};
use crate::workload::{
    self, DocumentError, Form, Given, ImageUser, Subject, Workload, WorkloadError,
};

/// A little more than the gate accepts, so that the gate's own refusal names the limit.
const INPUT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Say whether a workload would start here, how hardening would change it, and what would make it pass.
///
/// Takes an OCI configuration, a bundle, or Kubernetes objects that hold pods, in YAML or JSON. Asks
/// the agent and decides as a launch does, but starts nothing and records nothing. Ends with 0 if it
/// is permitted, with 1 if it is refused, with 2 if that cannot be decided; in audit mode, where it
/// would start all the same, too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis check config.json
  portcullis check /run/containerd/io.containerd.runtime.v2.task/k8s.io/ID
  portcullis check --offline --image-user 65532 deployment.yaml
  runc spec && portcullis check --profile strict config.json

  The smallest change that would pass, alone; for a pod a fragment of its manifest:
  portcullis check --offline --patch pod.yaml > patch.yaml
  kubectl patch --local -f pod.yaml --type strategic --patch-file patch.yaml -o yaml
  The same as JSON patch (RFC 6902), which is what a config.json always gets:
  portcullis check --offline --patch --output json pod.yaml > patch.json
  kubectl patch --local -f pod.yaml --type json --patch-file patch.json -o yaml")]
pub(crate) struct CheckArguments {
    /// A config.json, the directory of a bundle, or a manifest; '-' is standard input.
    path: PathBuf,
    /// What it is, where its content does not tell.
    #[arg(long = "as", value_enum, value_name = "FORM")]
    form: Option<Form>,
    /// Hardening profile to judge by, instead of the one node policy gives the namespace.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The containerd namespace that a configuration would start in.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// The Kubernetes namespace of pods whose manifest names none.
    #[arg(long, value_name = "NAME")]
    pod_namespace: Option<String>,
    /// The user of the images of a manifest, in numbers.
    #[arg(long, value_name = "UID[:GID]")]
    image_user: Option<ImageUser>,
    /// Root filesystem, instead of the one named in the configuration.
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Judge the workload alone, not the host: the agent is not asked.
    #[arg(long)]
    offline: bool,
    /// Settings to judge by, instead of those of this host.
    #[arg(long, value_name = "FILE", requires = "offline")]
    settings: Option<PathBuf>,
    /// Print only the smallest change of the workload that would pass.
    #[arg(long)]
    patch: bool,
}

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("cannot judge '{}'", path.display())]
    Document {
        path: PathBuf,
        #[source]
        source: DocumentError,
    },
    #[error("cannot judge {title} of '{}'", path.display())]
    Pod {
        path: PathBuf,
        title: String,
        #[source]
        source: WorkloadError,
    },
    #[error("cannot make '{}' pass: no change of it that is known here suffices; see the same command without '--patch'", path.display())]
    NoPatch { path: PathBuf },
}

/// What was given, read.
struct Input {
    form: Form,
    path: PathBuf,
    bytes: Vec<u8>,
    /// Root filesystem of a bundle, if it is there.
    rootfs: Option<PathBuf>,
}

/// The same, understood.
enum Content {
    Config(OciConfig),
    /// The objects of a manifest.
    Pods(Vec<Value>),
}

pub(crate) fn run(arguments: &CheckArguments) -> Result<Report, Failure> {
    let input = input(arguments)?;
    // What is given is looked at first: it can be mended where there are no settings.
    let content = content(&input)?;
    let settings = settings(arguments)?;
    let namespace = match content {
        Content::Config(_) => arguments.namespace.as_str(),
        Content::Pods(_) => KUBERNETES,
    };
    let trial = Trial::new(
        &settings,
        namespace,
        arguments.profile.as_deref(),
        input.rootfs.as_deref(),
        clock::now_unix_s(),
    );
    let parts = match content {
        Content::Config(oci) => vec![of_config(&trial, &input, oci)?],
        Content::Pods(documents) => of_pods(&trial, &input, &documents, arguments)?,
    };
    if arguments.patch {
        return patch(&parts, &input);
    }
    let host = if arguments.offline {
        Host::NotAsked
    } else {
        hold_policy(&settings)?;
        let decision = ask_gate(&settings, namespace, &parts, &input.path)?;
        Host::Asked(node_rules::held(decision, &settings, namespace, &parts)?)
    };
    let judgement = Judgement {
        audit: settings.mode == Mode::Audit,
        host: &host,
        parts: &parts,
        now_unix_s: clock::now_unix_s(),
    };
    Ok(judgement.report())
}

fn content(input: &Input) -> Result<Content, Failure> {
    Ok(match input.form {
        Form::Config => Content::Config(OciConfig::parse(&input.bytes)?),
        Form::Pod => {
            let documents = workload::parse(&input.bytes);
            Content::Pods(documents.map_err(|source| unreadable(input, source))?)
        }
    })
}

fn unreadable(input: &Input, source: DocumentError) -> Failure {
    let path = input.path.clone();
    Failure::usage(CheckError::Document { path, source })
}

/// Reads what was given, and finds out what it is.
fn input(arguments: &CheckArguments) -> Result<Input, Failure> {
    let bundle = arguments.path.is_dir();
    let path = if bundle {
        arguments.path.join("config.json")
    } else {
        arguments.path.clone()
    };
    let bytes = files::read(&path, INPUT_LIMIT_BYTES)?;
    let mut input = Input {
        form: Form::Config,
        path,
        bytes,
        rootfs: arguments.rootfs.clone(),
    };
    input.form = match arguments.form {
        Some(form) => form,
        // So that a configuration that cannot be read is refused as a launch would.
        None if bundle
            || input
                .path
                .file_name()
                .is_some_and(|name| name == "config.json") =>
        {
            Form::Config
        }
        None => workload::recognise(&input.bytes).map_err(|source| unreadable(&input, source))?,
    };
    Ok(input)
}

/// Refuses a policy bundle that launches refuse because a newer one was used. Remembers nothing.
fn hold_policy(settings: &Config) -> Result<(), Refusals> {
    let known = portcullis_host::newest_policy(Path::new(paths::GATE_STATE))
        .map_err(|error| error.refusal())?;
    if let (Some(known), Some(bundle)) = (known, &settings.bundle) {
        known.is_succeeded_by(&bundle.newest())?;
    }
    Ok(())
}

fn settings(arguments: &CheckArguments) -> Result<Config, Failure> {
    let Some(path) = &arguments.settings else {
        return Ok(portcullis_config::load()?);
    };
    let text = files::read_text(path)?;
    let path = path.display().to_string();
    Ok(portcullis_config::parse(&path, &text, "localhost")?)
}

fn of_config(trial: &Trial<'_>, input: &Input, oci: OciConfig) -> Result<Part, Failure> {
    let rootfs = input.rootfs.clone().or_else(|| rootfs(&oci, &input.path));
    let trial = trial.within(rootfs.as_deref());
    let document = Value::Object(oci.as_map().clone());
    let workload = Workload::of_config(oci);
    let mut judged = Vec::new();
    for subject in &workload.subjects {
        judged.push(trial.judge(subject)?);
    }
    let refused: Vec<&Subject> = judged
        .iter()
        .filter(|it| it.result.is_err())
        .map(|it| &it.subject)
        .collect();
    let remedy = refused
        .first()
        .map(|subject| trial.remedy_of_config(subject));
    let patch = remedy.as_ref().and_then(|remedy| remedy.patch(&document));
    Ok(Part {
        workload,
        judged,
        patch,
        fragment: None,
        offers: remedy.map(|remedy| remedy.offers).unwrap_or_default(),
    })
}

fn of_pods(
    trial: &Trial<'_>,
    input: &Input,
    documents: &[Value],
    arguments: &CheckArguments,
) -> Result<Vec<Part>, Failure> {
    let given = Given {
        image_user: arguments.image_user,
        namespace: arguments.pod_namespace.clone(),
    };
    let places = workload::pods(documents).map_err(|source| unreadable(input, source))?;
    let mut parts = Vec::new();
    for place in places {
        let Some(document) = documents.get(place.document) else {
            continue;
        };
        let workload = Workload::of_pod(document, &place, &given).map_err(|source| {
            Failure::usage(CheckError::Pod {
                path: input.path.clone(),
                title: place.title.clone(),
                source,
            })
        })?;
        let mut judged = Vec::new();
        for subject in &workload.subjects {
            judged.push(trial.judge(subject)?);
        }
        let trouble = judged
            .iter()
            .any(|it| it.result.is_err() || it.if_root.is_some());
        let source = Source {
            document,
            place: &place,
            given: &given,
        };
        let remedy = trouble.then(|| trial.remedy_of_pod(source, &workload));
        let remedy = remedy.as_ref();
        parts.push(Part {
            patch: remedy.and_then(|remedy| remedy.patch(document)),
            fragment: remedy.and_then(|remedy| remedy.fragment(document, &place)),
            offers: remedy.map(|it| it.offers.clone()).unwrap_or_default(),
            workload,
            judged,
        });
    }
    Ok(parts)
}

/// Only the changes that would pass.
fn patch(parts: &[Part], input: &Input) -> Result<Report, Failure> {
    if parts
        .iter()
        .any(|part| part.is_troubled() && part.patch.is_none())
    {
        let path = input.path.clone();
        return Err(Failure::refused(CheckError::NoPatch { path }));
    }
    let mut texts = Vec::new();
    let mut operations = Vec::new();
    for part in parts {
        if let Some(Value::Array(patch)) = &part.patch {
            operations.extend(patch.iter().cloned());
        }
        texts.extend(part.patch_text(parts.len() > 1));
    }
    let none = match input.form {
        Form::Config => "[]",
        Form::Pod => "{}",
    };
    let text = if texts.is_empty() {
        none.to_owned()
    } else {
        texts.join("---\n")
    };
    Ok(Report::done(text, Value::Array(operations)))
}

/// The gate's decision about this host, with a live reading; the tags that any of the workloads
/// asks for count.
fn ask_gate(
    settings: &Config,
    namespace: &str,
    parts: &[Part],
    path: &Path,
) -> Result<Decision, Failure> {
    let keys = portcullis_config::trusted_keys()?;
    let now = clock::now_unix_s();
    let snapshot = agent::snapshot(settings.snapshot_deadline);
    let subjects = parts.iter().flat_map(|part| &part.workload.subjects);
    let mut asked: Vec<(portcullis_gate::LaunchPolicy, LaunchRequest)> = Vec::new();
    for subject in subjects {
        let annotation = |name: &str| subject.config.annotation(name);
        let demands = settings.demands(namespace, annotation, now)?;
        let request = LaunchRequest {
            node: settings.node_name.clone(),
            subject: format!("workload {}", quote(&path.display().to_string())),
            require_tags: demands.require_tags.clone(),
        };
        asked.push((demands.effective.policy.clone(), request));
    }
    let mut permitted = None;
    for (policy, request) in &asked {
        // What it sees is not kept: nothing starts on the strength of it.
        let mut moment =
            portcullis_host::moment(Path::new(paths::SEEN)).map_err(|error| error.refusal())?;
        let snapshot = snapshot.as_ref();
        let decision = portcullis_gate::decide(policy, &keys, request, snapshot, &mut moment);
        match decision {
            Decision::Permitted(_) => permitted = Some(decision),
            Decision::Refused(_) | Decision::Undecided(_) => return Ok(decision),
        }
    }
    permitted.ok_or_else(|| unreadable_nothing(path))
}

/// There is always a container; a file without any has been refused before.
fn unreadable_nothing(path: &Path) -> Failure {
    Failure::usage(CheckError::Document {
        path: path.to_path_buf(),
        source: DocumentError::Empty,
    })
}

/// The root filesystem that the configuration names, if it is there. Without one, hardening does
/// not know which writable directories the image needs.
fn rootfs(oci: &OciConfig, config: &Path) -> Option<PathBuf> {
    let path = config.parent()?.join(oci.root_path()?);
    path.is_dir().then_some(path)
}

/// The refusals of a host that was asked.
fn host_refusals(decision: &Decision) -> Option<&Refusals> {
    match decision {
        Decision::Permitted(_) => None,
        Decision::Refused(refusals) | Decision::Undecided(refusals) => Some(refusals),
    }
}
