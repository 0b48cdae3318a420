//! Judging of workloads by this node's policy, with nothing started and nothing recorded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use portcullis_config::{Config, namespace_of};
use portcullis_gate::{Refusal, Refusals};
use portcullis_hardening::{Hardened, MountSource, OciConfig, Profile, Relaxations, harden};
use portcullis_host::FactsPolicy;
use serde_json::Value;

use crate::remedy::operator::{Offer, effect};
use crate::remedy::{self, Edit, Step, config, fragment, manifest};
use crate::workload::{Given, PodPlace, Subject, Workload, WorkloadError};

/// The containerd namespace of Kubernetes.
pub(crate) const KUBERNETES: &str = "k8s.io";
/// How long an exception may last that is proposed, in seconds: somebody should look again.
const RELAXATION_S: u64 = 90 * 86_400;

/// What workloads are judged by.
pub(crate) struct Trial<'a> {
    settings: &'a Config,
    /// The containerd namespace.
    namespace: &'a str,
    /// In place of what node policy says.
    profile: Option<&'a str>,
    rootfs: Option<&'a Path>,
    now_unix_s: u64,
    profiles: RefCell<BTreeMap<String, Rc<Profile>>>,
}

/// One container and what became of it.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) subject: Subject,
    /// Policy namespace.
    pub(crate) namespace: String,
    pub(crate) profile: String,
    pub(crate) result: Result<Hardened, Refusals>,
    /// What would be refused if its image, whose user is not known, runs as root.
    pub(crate) if_root: Option<Refusals>,
}

/// What an attempt gives up beside what node policy does.
#[derive(Debug, Clone, Copy, Default)]
struct Extra<'a> {
    relaxation: Option<&'a str>,
    mount: Option<&'a str>,
}

/// What would make a workload pass.
#[derive(Debug, Default)]
pub(crate) struct Remedy {
    /// Steps that are known to suffice, none of them idle; `None` if none are known.
    pub(crate) steps: Option<Vec<Step>>,
    pub(crate) offers: Vec<Offer>,
}

/// A manifest, and a pod in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) document: &'a Value,
    pub(crate) place: &'a PodPlace,
    pub(crate) given: &'a Given,
}

// === impl Trial ===

impl<'a> Trial<'a> {
    pub(crate) fn new(
        settings: &'a Config,
        namespace: &'a str,
        profile: Option<&'a str>,
        rootfs: Option<&'a Path>,
        now_unix_s: u64,
    ) -> Self {
        Self {
            settings,
            namespace,
            profile,
            rootfs,
            now_unix_s,
            profiles: RefCell::default(),
        }
    }

    /// The same trial with the root filesystem at `rootfs`.
    pub(crate) fn within<'b>(&self, rootfs: Option<&'b Path>) -> Trial<'b>
    where
        'a: 'b,
    {
        Trial::new(
            self.settings,
            self.namespace,
            self.profile,
            rootfs,
            self.now_unix_s,
        )
    }

    fn profile(&self, name: &str) -> Result<Rc<Profile>, Refusals> {
        if let Some(known) = self.profiles.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let profile = Rc::new(self.settings.profile(name)?);
        let mut profiles = self.profiles.borrow_mut();
        profiles.insert(name.to_owned(), Rc::clone(&profile));
        Ok(profile)
    }

    /// Judges one container as a launch would.
    pub(crate) fn judge(&self, subject: &Subject) -> Result<Judged, Refusals> {
        let (judged, if_root) = (self.attempt(subject, Extra::default())?, None);
        let (subject, namespace, profile, result) = judged;
        let if_root = match (&subject.image_user, &result) {
            (Some(_), Ok(_)) => self.attempt(&subject.as_root()?, Extra::default())?.3.err(),
            _ => if_root,
        };
        Ok(Judged {
            subject,
            namespace,
            profile,
            result,
            if_root,
        })
    }

    /// The container with what this host adds to it, its namespace and profile, and the outcome.
    fn attempt(
        &self,
        subject: &Subject,
        extra: Extra<'_>,
    ) -> Result<(Subject, String, String, Result<Hardened, Refusals>), Refusals> {
        let mut subject = subject.clone();
        let mut allowed = self.settings.mounts_allow.clone();
        allowed.extend(extra.mount.map(str::to_owned));
        let annotation = |name: &str| subject.config.annotation(name);
        let namespace = namespace_of(self.namespace, annotation).to_owned();
        let mut demands = self
            .settings
            .demands(self.namespace, annotation, self.now_unix_s)?;
        if let Some(profile) = self.profile {
            profile.clone_into(&mut demands.effective.profile);
        }
        let name = demands.effective.profile.clone();
        let profile = self.profile(&name)?;
        let hooks = profile.hashed_hooks(&subject.config);
        let policy = FactsPolicy::allowing(&allowed).hashing(&hooks);
        let facts = subject.facts(self.rootfs, &policy);
        let rules = &demands.effective.node_rules.image;
        let found = rules.refusals(&demands.image);
        let mut concessions = demands.concessions;
        if let Some(relaxation) = extra.relaxation {
            let names = concessions.relaxations.names().chain([relaxation]);
            concessions.relaxations = Relaxations::from_iter(names);
        }
        let config = subject.config.clone();
        let result = facts.and_then(|facts| harden(config, &profile, &facts, &concessions));
        let (standing, noted) = concessions.modes.sorted(found);
        let result = match (result, standing) {
            (Ok(mut hardened), None) => {
                hardened.audited.refusals.extend(noted);
                Ok(hardened)
            }
            (Ok(_), Some(refusals)) => Err(refusals),
            (Err(mut refusals), standing) => {
                refusals.extend(standing.into_iter().flatten());
                Err(refusals)
            }
        };
        Ok((subject, namespace, name, result))
    }

    /// What in `config` would have to change, and what else the operator could do.
    pub(crate) fn remedy_of_config(&self, subject: &Subject) -> Remedy {
        let config = Value::Object(subject.config.as_map().clone());
        let attempt = |steps: &[Step]| {
            let edited = remedy::edit::applied(&config, steps);
            let edited = OciConfig::parse(edited.to_string().as_bytes())?;
            self.attempt(&Subject::of_config(edited), Extra::default())?
                .3
                .map(drop)
        };
        Remedy {
            steps: remedy::search(attempt, |refusals| config::propose(&config, refusals)),
            offers: self.offers(std::slice::from_ref(subject)),
        }
    }

    /// What in the manifest would have to change, and what else the operator could do.
    pub(crate) fn remedy_of_pod(&self, source: Source<'_>, workload: &Workload) -> Remedy {
        let attempt = |steps: &[Step]| {
            let document = remedy::edit::applied(source.document, steps);
            let workload = match Workload::of_pod(&document, source.place, source.given) {
                Ok(workload) => workload,
                Err(WorkloadError::Config(refusals)) => return Err(vec![(None, refusals)]),
                Err(WorkloadError::Field(error)) => {
                    let code = portcullis_gate::Code::OciConfigMalformed;
                    let refusal = Refusal::new(code, "manifest", "a pod", error.to_string());
                    return Err(vec![(None, refusal.into())]);
                }
            };
            let troubles = self.troubles(&workload);
            if troubles.is_empty() {
                Ok(())
            } else {
                Err(troubles)
            }
        };
        let propose = |troubles: &Vec<(Option<Subject>, Refusals)>| {
            let mut steps = Vec::new();
            for (subject, refusals) in troubles {
                let Some(subject) = subject else { continue };
                if let Some(step) = image_step(subject, refusals) {
                    steps.push(step);
                } else {
                    let (document, place) = (source.document, source.place);
                    steps.append(&mut manifest::propose(document, place, subject, refusals));
                }
            }
            steps
        };
        Remedy {
            steps: remedy::search(attempt, propose),
            offers: self.offers(&workload.subjects),
        }
    }

    /// Everything in `workload` that stands against its start.
    fn troubles(&self, workload: &Workload) -> Vec<(Option<Subject>, Refusals)> {
        let mut troubles = Vec::new();
        for subject in &workload.subjects {
            match self.judge(subject) {
                Err(refusals) => troubles.push((None, refusals)),
                Ok(judged) => {
                    let refusals = judged.result.err().or(judged.if_root);
                    if let Some(refusals) = refusals {
                        troubles.push((Some(judged.subject), refusals));
                    }
                }
            }
        }
        troubles
    }

    /// What the operator could give up so that less is refused, each tried by itself.
    fn offers(&self, subjects: &[Subject]) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        for subject in subjects {
            let Ok((_, namespace, name, Err(before))) = self.attempt(subject, Extra::default())
            else {
                continue;
            };
            let Ok(profile) = self.profile(&name) else {
                continue;
            };
            for (relaxation, summary) in profile.relaxations() {
                let extra = Extra {
                    relaxation: Some(relaxation),
                    ..Extra::default()
                };
                let settings = self.relaxation(relaxation, &namespace, subject);
                let offer = ("relaxation", relaxation, summary, settings);
                self.offer(subject, &before, extra, offer, &mut offers);
            }
            for path in self.unlisted(subject) {
                let extra = Extra {
                    mount: Some(&path),
                    ..Extra::default()
                };
                let summary = "any container of the node may mount it";
                let listed = Value::from(path.as_str());
                let settings = format!("[mounts]\nallow = [{listed}]\n");
                let offer = ("mounts-allow", path.as_str(), summary, settings);
                self.offer(subject, &before, extra, offer, &mut offers);
            }
        }
        offers
    }

    fn offer(
        &self,
        subject: &Subject,
        before: &Refusals,
        extra: Extra<'_>,
        (kind, name, summary, settings): (&'static str, &str, &str, String),
        offers: &mut Vec<Offer>,
    ) {
        let Ok((.., result)) = self.attempt(subject, extra) else {
            return;
        };
        let (gone, suffices) = effect(before, &result.map(drop));
        let known = offers.iter().any(|it| it.kind == kind && it.name == name);
        if gone > 0 && !known {
            offers.push(Offer {
                kind,
                name: name.to_owned(),
                summary: summary.to_owned(),
                settings,
                suffices,
            });
        }
    }

    /// A `[[relaxation]]` for the image of `subject`, to be put into the settings.
    fn relaxation(&self, name: &str, namespace: &str, subject: &Subject) -> String {
        let image = subject.config.annotation("io.kubernetes.cri.image-name");
        let digest = image
            .and_then(|image| image.split_once('@'))
            .map_or("sha256:DIGEST-OF-THE-IMAGE", |(_, digest)| digest);
        let end = i64::try_from(self.now_unix_s.saturating_add(RELAXATION_S)).unwrap_or(i64::MAX);
        let end = jiff::Timestamp::from_second(end).unwrap_or(jiff::Timestamp::MAX);
        format!(
            "[[relaxation]]\nname = {}\nnamespace = {}\nimage = {}\nexpires = \"{}\"\nreason = \"WHY, AND WHO ASKED\"\n",
            Value::from(name),
            Value::from(namespace),
            Value::from(digest),
            end.strftime("%Y-%m-%d"),
        )
    }

    /// Paths of the host that `subject` mounts and nobody has said anything about. What no container
    /// gets is not offered.
    fn unlisted(&self, subject: &Subject) -> Vec<String> {
        let mut subject = subject.clone();
        let policy = FactsPolicy::allowing(&self.settings.mounts_allow);
        let Ok(facts) = subject.facts(self.rootfs, &policy) else {
            return Vec::new();
        };
        let unlisted = |index| facts.mount_sources.get(&index) == Some(&MountSource::Unlisted);
        let binds = subject.config.bind_mounts();
        let paths = binds.filter(|bind| unlisted(bind.index)).map(|bind| {
            let host_path = subject.host_path(bind.index);
            host_path.unwrap_or(bind.source).to_owned()
        });
        paths.collect()
    }
}

/// What helps if all that is wrong is that the user of an image is not known: the kubelet then looks
/// at the image.
fn image_step(subject: &Subject, refusals: &Refusals) -> Option<Step> {
    let of_root = |refusal: &Refusal| refusal.rule == Some(portcullis_gate::Rule::NonRoot);
    let pointer = subject.image_user.as_deref()?;
    let container = subject.manifest_pointer.as_deref()?;
    let unknown = pointer.starts_with(container) && refusals.iter().all(of_root);
    let pointer = format!("{container}/securityContext/runAsNonRoot");
    unknown.then(|| vec![Edit::set(pointer, true)])
}

// === impl Remedy ===

impl Remedy {
    /// The operations of a patch (RFC 6902) of `document`.
    pub(crate) fn patch(&self, document: &Value) -> Option<Value> {
        let steps = self.steps.as_ref()?;
        Some(remedy::edit::patch(document, steps).into())
    }

    /// The fragment of a manifest to merge into the object at `place`.
    pub(crate) fn fragment(&self, document: &Value, place: &PodPlace) -> Option<Value> {
        let steps = self.steps.as_ref()?;
        Some(fragment::fragment(document, &place.object, steps))
    }
}
