//! What would have passed, for a decision of which only the record is left.

use std::path::PathBuf;

use portcullis_gate::{Refusal, Rule};
use portcullis_hardening::OciConfig;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{list_at, text_at};
use crate::clock;
use crate::commands::check::operations;
use crate::files;
use crate::findings::pointer_of;
use crate::paint::{plain, strong};
use crate::remedy::operator::Offer;
use crate::remedy::rebuilt::{self, Recorded};
use crate::trial::Trial;
use crate::workload::Subject;

/// Where containerd keeps the bundles of containers.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task";
/// Largest configuration that is read, in bytes.
const CONFIG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// The profiles that need no settings.
const BUILT_IN: [&str; 3] = ["baseline", "restricted", "strict"];

/// On what a patch was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// The configuration that was judged.
    Bundle,
    /// One that is refused with the same words.
    Rebuilt,
    /// Nothing: none could be had.
    Nothing,
}

/// What would have passed.
#[derive(Debug)]
pub(super) struct Remedies {
    ground: Ground,
    /// True if there is something to mend in the workload.
    wanted: bool,
    patch: Option<Value>,
    offers: Vec<Offer>,
}

/// What node policy makes of a rule.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) rows: Vec<(&'static str, String)>,
    pub(super) profiles: Value,
    pub(super) mode: Value,
}

/// Finds out what would have passed instead of what `record` is about.
pub(super) fn of_record(record: &Map<String, Value>) -> Remedies {
    let recorded = recorded(record);
    let mut remedies = Remedies {
        ground: Ground::Nothing,
        wanted: !recorded.is_empty(),
        patch: None,
        offers: Vec::new(),
    };
    // Without settings there is no policy to try anything by; the record is shown all the same.
    let (true, Ok(settings)) = (remedies.wanted, portcullis_config::load()) else {
        return remedies;
    };
    let namespace = text_at(record, "/container/namespace");
    let profile = text_at(record, "/profile");
    let profile = Some(profile.as_str()).filter(|profile| !profile.is_empty());
    let now = clock::now_unix_s();
    let trial = Trial::new(&settings, &namespace, profile, None, now);
    let (subject, ground) = match bundle(record) {
        Some(subject) => (subject, Ground::Bundle),
        None => match same(&trial, &recorded) {
            Some(subject) => (subject, Ground::Rebuilt),
            None => return remedies,
        },
    };
    let document = Value::Object(subject.config.as_map().clone());
    let remedy = trial.remedy_of_config(&subject);
    remedies.ground = ground;
    remedies.patch = remedy.patch(&document);
    remedies.offers = remedy.offers;
    remedies
}

/// The refusals about the configuration, as the record has them.
fn recorded(record: &Map<String, Value>) -> Vec<Recorded> {
    let refusals = list_at(record, "refusals").iter();
    refusals
        .filter_map(|refusal| {
            let text = |key: &str| refusal.get(key).and_then(Value::as_str).unwrap_or_default();
            let pointer = text("subject").strip_prefix("config.json ")?;
            Some(Recorded {
                code: text("code").to_owned(),
                rule: text("rule").to_owned(),
                pointer: pointer.to_owned(),
                expected: text("expected").to_owned(),
                found: text("found").to_owned(),
            })
        })
        .collect()
}

/// The configuration that was judged, if its bundle is still there and has not changed since.
fn bundle(record: &Map<String, Value>) -> Option<Subject> {
    let plain_name = |name: &String| !name.is_empty() && !name.contains('/') && name != "..";
    let namespace = Some(text_at(record, "/container/namespace")).filter(plain_name)?;
    let id = Some(text_at(record, "/container/id")).filter(plain_name)?;
    let path = PathBuf::from(BUNDLES)
        .join(namespace)
        .join(id)
        .join("config.json");
    let bytes = files::read(&path, CONFIG_LIMIT_BYTES).ok()?;
    let digest = portcullis_attestation::hex::encode(&Sha256::digest(&bytes));
    if digest != text_at(record, "/config_sha256/before") {
        return None;
    }
    OciConfig::parse(&bytes).ok().map(Subject::of_config)
}

/// A configuration that is refused just so.
fn same(trial: &Trial<'_>, recorded: &[Recorded]) -> Option<Subject> {
    let config = rebuilt::config(recorded)?;
    let config = OciConfig::parse(config.to_string().as_bytes()).ok()?;
    let subject = Subject::of_config(config);
    let refusals = trial.judge(&subject).ok()?.result.err()?;
    let said = |refusal: &Refusal| Recorded {
        code: refusal.code.to_string(),
        rule: refusal.rule.map_or("", Rule::id).to_owned(),
        pointer: pointer_of(refusal).to_owned(),
        expected: refusal.expected.clone(),
        found: refusal.found.clone(),
    };
    let mut now: Vec<Recorded> = refusals.iter().map(said).collect();
    let mut then = recorded.to_vec();
    now.sort();
    then.sort();
    (now == then).then_some(subject)
}

/// What this host's policy says about `rule`, as far as there are settings, and what the profiles do.
pub(super) fn policy(rule: Rule) -> Policy {
    let mut policy = Policy::default();
    let settings = portcullis_config::load().ok();
    if let Some(settings) = &settings {
        let mode = settings.rules.of(rule);
        policy.mode = mode.as_str().into();
        policy
            .rows
            .push(("mode on this node", mode.as_str().to_owned()));
        for namespace in &settings.namespaces {
            for (_, mode) in namespace.rules.iter().filter(|(known, _)| *known == rule) {
                let text = format!("{} in namespaces '{}'", mode.as_str(), namespace.pattern);
                policy.rows.push(("mode", text));
            }
        }
    }
    let order = match settings {
        Some(settings) => settings.profile_order,
        None => BUILT_IN.map(str::to_owned).to_vec(),
    };
    policy.profiles = profiles(&order, rule, &mut policy.rows);
    policy
}

/// Which profiles apply `rule`, and their relaxations for it.
fn profiles(order: &[String], rule: Rule, rows: &mut Vec<(&'static str, String)>) -> Value {
    let mut all = Map::new();
    for name in order {
        let Ok(profile) = portcullis_config::profile(name) else {
            continue;
        };
        let applies = profile.applies(rule);
        let relaxations: Vec<&str> = profile
            .relaxations_of(rule)
            .map(|(relaxation, _)| relaxation)
            .collect();
        let mut text = format!(
            "{name}: {}",
            if applies { "applied" } else { "not applied" }
        );
        if !relaxations.is_empty() {
            text.push_str(&format!("; relaxations: {}", relaxations.join(", ")));
        }
        rows.push(("profile", text));
        all.insert(
            name.clone(),
            json!({"applies": applies, "relaxations": relaxations}),
        );
    }
    Value::Object(all)
}

// === impl Ground ===

impl Ground {
    const fn id(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Rebuilt => "rebuilt",
            Self::Nothing => "not-tried",
        }
    }
}

// === impl Remedies ===

impl Remedies {
    pub(super) fn text(&self) -> String {
        if !self.wanted {
            return String::new();
        }
        let (tried, ground) = match self.ground {
            Ground::Bundle => ("It was tried", "on the configuration of the container."),
            Ground::Rebuilt => (
                "It was tried",
                "on a configuration that is refused with the same words; the record holds none.",
            ),
            Ground::Nothing => {
                return format!(
                    "\n{}\n  The record holds no configuration, and its refusals do not say enough to rebuild one.\n  \
                     Ask 'portcullis check' with the configuration or the manifest.\n",
                    strong("No change was tried")
                );
            }
        };
        let mut text = String::new();
        match &self.patch {
            Some(Value::Array(patch)) => {
                let heading = strong("This change of config.json would have passed");
                text.push_str(&format!("\n{heading}\n  {tried} {ground}\n"));
                for line in operations(patch).lines() {
                    text.push_str(&format!("  {}\n", plain(line)));
                }
            }
            _ => {
                let heading = strong("No change of it that is known here would have passed");
                text.push_str(&format!("\n{heading}\n"));
            }
        }
        for offer in &self.offers {
            let heading = format!("The operator could allow it: {}", plain(&offer.summary));
            text.push_str(&format!("\n{}\n", strong(&heading)));
            for line in offer.settings.lines() {
                text.push_str(&format!("  {}\n", plain(line)));
            }
        }
        text
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "tried_on": self.ground.id(),
            "patch": self.patch,
            "operator": self.offers.iter().map(Offer::to_json).collect::<Vec<_>>(),
        })
    }
}
