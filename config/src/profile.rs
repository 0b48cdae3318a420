//! Hardening profiles: the three that are built in, and the administrator's own.

use portcullis_attestation::policy_bundle::BundledProfile;
use portcullis_gate::{Code, Refusal, quote};
use portcullis_hardening::{Profile, ProfileError};

use crate::trusted_file::Root;
use crate::{Config, Faults, paths, read};

/// A file of `config/profiles` or `config/seccomp` as the build script wrote it: without comments.
macro_rules! compact {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

/// The built-in profiles. They are compiled in, so that the gate has one even on a host whose
/// disk is damaged.
const BUILT_IN: [(&str, &str); 3] = [
    ("baseline", compact!("baseline.toml")),
    ("restricted", compact!("restricted.toml")),
    ("strict", compact!("strict.toml")),
];

/// The system calls of this processor architecture.
#[cfg(target_arch = "x86_64")]
const SECCOMP: &str = compact!("x86_64.json");
/// The system calls of this processor architecture.
#[cfg(target_arch = "aarch64")]
const SECCOMP: &str = compact!("aarch64.json");

/// Reads the profile `name`: the administrator's `profiles.d/NAME.toml` if there is one, else the
/// built-in one.
///
/// # Errors
/// `profile-unknown` if there is neither; a fault that names the file if it cannot be used.
pub fn profile(name: &str) -> Result<Profile, Faults> {
    profile_from(&Root::host(), name)
}

impl Config {
    /// Reads the profile `name`: that of the policy bundle in force if it has one of the name, else
    /// as [`profile`].
    ///
    /// # Errors
    /// As [`profile`].
    pub fn profile(&self, name: &str) -> Result<Profile, Faults> {
        let in_force = self.bundle.as_ref();
        match in_force.and_then(|it| Some((it, it.bundle.profile(name)?))) {
            Some((bundle, profile)) => bundled(&bundle.path, profile),
            None => profile(name),
        }
    }
}

/// Reads the profile `name` beneath `root`; see [`Root::scratch`].
///
/// # Errors
/// As [`profile`].
pub fn profile_from(root: &Root, name: &str) -> Result<Profile, Faults> {
    if !read::is_profile_name(name) {
        return Err(unknown(name).into());
    }
    let directory = root.directory(paths::PROFILES)?;
    let own = match &directory {
        Some(directory) => directory.file(&format!("{name}.toml"))?,
        None => None,
    };
    let Some(own) = own else {
        let (_, text) = BUILT_IN
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| unknown(name))?;
        return Profile::parse(text, SECCOMP).map_err(|error| unusable(name, &error).into());
    };
    let list = match &directory {
        Some(directory) => directory.file(&format!("{name}.seccomp.json"))?,
        None => None,
    };
    let list = list.as_ref().map(|list| (&*list.path, &*list.text));
    parsed(name, (&own.path, &own.text), list)
}

/// Reads a profile of the bundle at `path`.
pub(crate) fn bundled(path: &str, bundled: &BundledProfile) -> Result<Profile, Faults> {
    let name = &bundled.name;
    if !read::is_profile_name(name) {
        return Err(unknown(name).into());
    }
    let (source, list_source) = (
        format!("{path}#{name}.toml"),
        format!("{path}#{name}.seccomp.json"),
    );
    let list = bundled.seccomp.as_deref().map(|list| (&*list_source, list));
    parsed(name, (&source, &bundled.text), list)
}

/// Reads the profile `name` from text and, if it has one of its own, a list of system calls; each
/// after its source.
fn parsed(
    name: &str,
    (source, text): (&str, &str),
    list: Option<(&str, &str)>,
) -> Result<Profile, Faults> {
    let seccomp = list.map_or(SECCOMP, |(_, list)| list);
    let profile = Profile::parse(text, seccomp).map_err(|error| {
        let about_list = matches!(
            error,
            ProfileError::SeccompJson(_) | ProfileError::Seccomp(_)
        );
        let path = list.filter(|_| about_list).map_or(source, |(path, _)| path);
        unusable(path, &error)
    })?;
    if profile.name() != name {
        let expected = format!("name = \"{name}\", as its file is called");
        let found = quote(profile.name());
        return Err(Refusal::new(Code::ConfigMismatch, quote(source), expected, found).into());
    }
    Ok(profile)
}

fn unknown(name: &str) -> Refusal {
    let built_in: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
    let expected = format!(
        "one of '{}', or a file in {}",
        built_in.join("', '"),
        paths::PROFILES
    );
    Refusal::new(
        Code::ProfileUnknown,
        "hardening profile",
        expected,
        quote(name),
    )
}

fn unusable(source: &str, error: &ProfileError) -> Refusal {
    let mut found = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        found = format!("{found}: {source}");
        cause = source;
    }
    Refusal::new(
        Code::ConfigMalformed,
        quote(source),
        "a hardening profile",
        found,
    )
    .with_remedy("correct the profile")
}

#[cfg(test)]
mod tests;
