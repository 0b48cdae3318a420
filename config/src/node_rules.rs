//! Rules about what a workload comes from and what it may run beside and on: pure functions over
//! what is set for its namespace and what is known of it. The shim, the hook and the command that
//! tries a configuration all judge by these.

use std::collections::BTreeMap;

use portcullis_gate::{
    Code, ImageReference, Refusal, Refusals, Rule, RuleMode, RuleModes, RuntimeVersion, Version,
    quote,
};

use crate::image_pattern::ImagePattern;

/// Why a host has the level that it has taken.
const FIRST: &str = "since its first workload";

/// What is asked of images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageRules {
    /// Whether an image must be named by its digest.
    pub digest_only: bool,
    /// Lists of patterns, each of which must cover the image; those without a pattern are left out.
    pub registries: Vec<Vec<ImagePattern>>,
}

/// What is asked of levels of sensitivity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SensitivityRules {
    /// The key of the asset tag that holds the host's level; empty for none.
    pub tag: String,
    /// Whether a host without a level by tag takes that of its first workload.
    pub pin: bool,
    /// Levels of the workload: none if nobody names one, several if namespaces contradict.
    pub workload: Vec<String>,
}

/// What is asked of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionRules {
    /// The oldest kernel.
    pub kernel: Option<Version>,
    /// The oldest runc.
    pub runc: Option<Version>,
    /// The oldest crun.
    pub crun: Option<Version>,
    /// The oldest libseccomp of the runtime.
    pub libseccomp: Option<Version>,
    /// Versions that are not accepted, whatever else is.
    pub deny: Vec<(Program, Version)>,
}

/// Of what there are rules about versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The kernel.
    Kernel,
    /// The OCI runtime runc.
    Runc,
    /// The OCI runtime crun.
    Crun,
    /// The library by which the runtime makes filters.
    Libseccomp,
}

/// All rules about one workload, beside those of its profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeRules {
    /// About its image.
    pub image: ImageRules,
    /// About its level.
    pub sensitivity: SensitivityRules,
    /// About what it runs on.
    pub versions: VersionRules,
}

/// Which image a workload is of, as far as somebody who can be believed says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ImageName {
    /// Nobody who can be believed.
    #[default]
    Unknown,
    /// The pause image, which the node's settings of containerd name.
    Sandbox,
    /// This one.
    Named(String),
}

/// What the rules have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// The level that the host has taken.
    pub pin: bool,
    /// The kernel's release.
    pub kernel: bool,
    /// The version of the OCI runtime.
    pub runtime: Asked,
}

/// Whether an OCI runtime is asked for its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// No rule needs it.
    Never,
    /// Once for each file.
    Once,
    /// Each time, since a library counts that is a file of its own.
    Anew,
}

/// What is known of one workload and its host.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// Its image.
    pub image: &'a ImageName,
    /// The levels of the host.
    pub host: HostLevels<'a>,
    /// The text of `uname -r`.
    pub kernel: Option<&'a str>,
    /// What the OCI runtime says of itself, or why it says nothing.
    pub runtime: Result<&'a RuntimeVersion, &'a str>,
}

/// What the rules say about one workload.
#[derive(Debug)]
pub struct Judged {
    /// What stands against it.
    pub standing: Option<Refusals>,
    /// What rules in audit found, which stops nothing.
    pub audited: Vec<Refusal>,
    /// The level that the host takes if it starts, or has taken before; `None` where none is taken.
    pub level: Option<String>,
}

/// The levels that this host has.
#[derive(Debug, Clone, Copy)]
pub struct HostLevels<'a> {
    /// The verified tags; `None` if nobody vouches for any, because the host itself is refused.
    pub tags: Option<&'a BTreeMap<String, String>>,
    /// The level that it took of its first workload.
    pub pinned: Option<&'a str>,
}

// === impl NodeRules ===

impl NodeRules {
    /// What has to be found out for [`NodeRules::refusals`]: nothing for what is off.
    #[must_use]
    pub fn wants(&self, modes: &RuleModes) -> Wants {
        let is_on = |rule| modes.of(rule) != RuleMode::Off;
        Wants {
            pin: self.sensitivity.pin && is_on(Rule::Sensitivity),
            kernel: self.versions.asks_kernel() && is_on(Rule::KernelVersion),
            runtime: match is_on(Rule::RuntimeVersion) && self.versions.asks_runtime() {
                false => Asked::Never,
                true if self.versions.asks_library() => Asked::Anew,
                true => Asked::Once,
            },
        }
    }

    /// Judges `workload` by the rules, each as its mode says. A rule in audit has the host take no
    /// level: it changes nothing.
    #[must_use]
    pub fn judge(&self, workload: &Workload<'_>, modes: &RuleModes) -> Judged {
        let (standing, audited) = modes.sorted(self.refusals(workload));
        let level = self.sensitivity.to_pin(workload.host);
        let is_enforced = modes.of(Rule::Sensitivity) == RuleMode::Enforce;
        Judged {
            standing,
            audited,
            level: level.filter(|_| is_enforced).map(str::to_owned),
        }
    }

    /// Everything against `workload`, each with its rule.
    fn refusals(&self, workload: &Workload<'_>) -> Vec<Refusal> {
        let mut refusals = self.image.refusals(workload.image);
        refusals.extend(self.sensitivity.refusals(workload.host));
        let release = workload.kernel.unwrap_or_default();
        refusals.extend(self.versions.kernel_refusals(release));
        refusals.extend(self.versions.runtime_refusals(workload.runtime));
        refusals
    }
}

// === impl ImageRules ===

impl ImageRules {
    /// Takes over what another table asks: it can only add.
    pub(crate) fn tighten(&mut self, other: &Self) {
        self.digest_only |= other.digest_only;
        self.registries.extend(other.registries.iter().cloned());
    }

    /// Everything against `image`, each with its rule.
    #[must_use]
    pub fn refusals(&self, image: &ImageName) -> Vec<Refusal> {
        let name = match image {
            // What the node's administrator has set is no choice of a workload.
            ImageName::Sandbox => return Vec::new(),
            ImageName::Named(name) => Some(name.as_str()),
            ImageName::Unknown => None,
        };
        let reference = name.and_then(ImageReference::parse);
        let found = || name.map_or_else(|| "none".to_owned(), quote);
        let mut refusals = Vec::new();
        if self.digest_only && reference.is_none_or(|it| it.digest().is_none()) {
            let (code, expected) = match reference {
                None => (Code::ImageUnknown, "a name by CRI with a digest"),
                Some(_) => (Code::ImageDigestMissing, "a digest"),
            };
            refusals.push(about(Rule::ImageDigest, code, "image", expected, found()));
        }
        for list in &self.registries {
            let code = match reference {
                None => Code::ImageUnknown,
                Some(image) if list.iter().any(|pattern| pattern.matches(&image)) => continue,
                Some(_) => Code::ImageRegistryDenied,
            };
            let expected = format!("one of {}", shown(list));
            refusals.push(about(Rule::ImageRegistry, code, "image", expected, found()));
        }
        refusals
    }
}

fn shown(list: &[ImagePattern]) -> String {
    let mut text = String::new();
    for pattern in list {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&quote(&pattern.to_string()));
    }
    text
}

// === impl SensitivityRules ===

impl SensitivityRules {
    /// Whether anything is asked.
    const fn is_on(&self) -> bool {
        self.pin || !self.tag.is_empty()
    }

    /// Everything against a workload of this level on a host of these.
    ///
    /// # Source
    /// NIST SP 800-190, 4.3.4: a host runs workloads of one level.
    fn refusals(&self, host: HostLevels<'_>) -> Vec<Refusal> {
        if !self.is_on() {
            return Vec::new();
        }
        let Some(level) = self.level() else {
            let mut levels = String::new();
            for level in &self.workload {
                levels.push_str(if levels.is_empty() { "" } else { " and " });
                levels.push_str(&quote(level));
            }
            let found = if levels.is_empty() { "none" } else { &levels };
            let code = Code::SensitivityUnknown;
            let expected = "one level by node policy";
            return vec![about(Rule::Sensitivity, code, "workload", expected, found)];
        };
        let mut refusals = Vec::new();
        let pinned = host.pinned.filter(|_| self.pin);
        let tagged = host.tags.and_then(|tags| self.tagged(tags));
        // Where nobody vouches for tags, the host may have one that says another level.
        let is_known = match host.tags {
            Some(_) => tagged.is_some() || self.pin,
            None => pinned.is_some() || self.tag.is_empty(),
        };
        if !is_known {
            let expected = format!("a tag {}", quote(&self.tag));
            let code = Code::SensitivityUnknown;
            refusals.push(about(Rule::Sensitivity, code, "host", expected, "none"));
        }
        if let Some(tagged) = tagged.filter(|tagged| *tagged != level) {
            refusals.push(mismatch(level, tagged, "by its asset tag"));
        }
        if let Some(pinned) = pinned.filter(|pinned| *pinned != level) {
            refusals.push(mismatch(level, pinned, FIRST));
        }
        refusals
    }

    fn to_pin(&self, host: HostLevels<'_>) -> Option<&str> {
        let has_other = match host.tags {
            Some(tags) => self.tagged(tags).is_some(),
            None => !self.tag.is_empty() && host.pinned.is_none(),
        };
        self.level().filter(|_| self.pin && !has_other)
    }

    /// The level of the workload.
    fn level(&self) -> Option<&str> {
        match self.workload.as_slice() {
            [level] => Some(level),
            _ => None,
        }
    }

    fn tagged<'t>(&self, tags: &'t BTreeMap<String, String>) -> Option<&'t str> {
        // An empty key is none that a tag could have.
        tags.get(&self.tag).map(String::as_str)
    }
}

/// Whether `held`, the level that the host has taken, is the `level` of a workload for which it was
/// to take one.
///
/// # Errors
///
/// `sensitivity-mismatch`: another workload was first, or the level was released meanwhile.
pub fn verify_held(level: &str, held: Option<&str>) -> Result<(), Refusal> {
    match held {
        Some(held) if held == level => Ok(()),
        Some(held) => Err(mismatch(level, held, FIRST)),
        None => {
            let expected = format!("level {}, as it was decided on", quote(level));
            let found = "none: it was released";
            let code = Code::SensitivityMismatch;
            Err(about(Rule::Sensitivity, code, "this host", expected, found))
        }
    }
}

/// A workload of `level` on a host that is for those of another one.
fn mismatch(level: &str, host: &str, why: &str) -> Refusal {
    let expected = format!("level {}, as the host has {why}", quote(host));
    let code = Code::SensitivityMismatch;
    about(Rule::Sensitivity, code, "workload", expected, quote(level))
}

// === impl VersionRules ===

impl VersionRules {
    /// Whether anything is asked of the OCI runtime.
    fn asks_runtime(&self) -> bool {
        let oldest = [&self.runc, &self.crun, &self.libseccomp];
        oldest.into_iter().any(Option::is_some) || self.denies_beyond_kernel()
    }

    /// Whether anything is asked of the library by which the runtime makes filters.
    fn asks_library(&self) -> bool {
        let mut denied = self.deny.iter();
        self.libseccomp.is_some() || denied.any(|(program, _)| *program == Program::Libseccomp)
    }

    /// Where the oldest of a program stands.
    pub(crate) const fn oldest_mut(&mut self, program: Program) -> &mut Option<Version> {
        match program {
            Program::Kernel => &mut self.kernel,
            Program::Runc => &mut self.runc,
            Program::Crun => &mut self.crun,
            Program::Libseccomp => &mut self.libseccomp,
        }
    }

    fn denies_beyond_kernel(&self) -> bool {
        let mut denied = self.deny.iter();
        denied.any(|(program, _)| *program != Program::Kernel)
    }

    /// Whether anything is asked of the kernel.
    fn asks_kernel(&self) -> bool {
        let mut denied = self.deny.iter();
        self.kernel.is_some() || denied.any(|(program, _)| *program == Program::Kernel)
    }

    /// What is against a kernel of this release, the text of `uname -r`.
    fn kernel_refusals(&self, release: &str) -> Option<Refusal> {
        if !self.asks_kernel() {
            return None;
        }
        let oldest = self.kernel.as_ref();
        let rule = Rule::KernelVersion;
        match Version::parse(release) {
            None => Some(unknown(rule, "kernel", quote(release))),
            Some(version) => self.judge((rule, Program::Kernel), oldest, &version),
        }
    }

    /// What is against this runtime, or against one that does not say what it is.
    fn runtime_refusals(&self, runtime: Result<&RuntimeVersion, &str>) -> Vec<Refusal> {
        let rule = Rule::RuntimeVersion;
        if !self.asks_runtime() {
            return Vec::new();
        }
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(why) => return vec![unknown(rule, "OCI runtime", quote(why))],
        };
        let told = || quote(&format!("{} {}", runtime.name, runtime.version));
        let named = match runtime.name.as_str() {
            "runc" => Some((Program::Runc, &self.runc)),
            "crun" => Some((Program::Crun, &self.crun)),
            _ => None,
        };
        let mut refusals = Vec::new();
        // Once the oldest of one is named, another one is no way round it.
        let asked = self.runc.is_some() || self.crun.is_some();
        match named {
            Some((program, oldest)) if oldest.is_some() || !asked => {
                refusals.extend(self.judge((rule, program), oldest.as_ref(), &runtime.version));
            }
            _ if asked => {
                let code = Code::RuntimeVersionDenied;
                let expected = "a runtime that 'versions' names";
                refusals.push(about(rule, code, "OCI runtime", expected, told()));
            }
            _ => {}
        }
        let program = Program::Libseccomp;
        if self.asks_library() {
            refusals.extend(match &runtime.libseccomp {
                None => Some(unknown(rule, "libseccomp of the OCI runtime", told())),
                Some(version) => self.judge((rule, program), self.libseccomp.as_ref(), version),
            });
        }
        refusals
    }

    fn judge(
        &self,
        (rule, program): (Rule, Program),
        oldest: Option<&Version>,
        version: &Version,
    ) -> Option<Refusal> {
        let is_denied = |(denied, of): &(Program, Version)| *denied == program && of == version;
        let expected = if let Some(oldest) = oldest.filter(|oldest| version < *oldest) {
            format!("{oldest} or later")
        } else if self.deny.iter().any(is_denied) {
            "a version that is not denied".to_owned()
        } else {
            return None;
        };
        let code = match rule {
            Rule::KernelVersion => Code::KernelVersionDenied,
            _ => Code::RuntimeVersionDenied,
        };
        let found = quote(version.as_str());
        Some(about(rule, code, program.as_str(), expected, found))
    }
}

// === impl Program ===

impl Program {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Kernel, Self::Runc, Self::Crun, Self::Libseccomp];

    /// The word for it in settings.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Libseccomp => "libseccomp",
        }
    }
}

fn unknown(rule: Rule, subject: &str, found: String) -> Refusal {
    let expected = "a version that can be read";
    about(rule, Code::VersionUnknown, subject, expected, found)
}

fn about(
    rule: Rule,
    code: Code,
    subject: &str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Refusal {
    let mut refusal = Refusal::new(code, subject, expected, found);
    refusal.rule = Some(rule);
    refusal
}

#[cfg(test)]
mod tests;
