//! The hardening profiles as this comparison meets them, and the relaxations that they know.

use std::fmt;
use std::fs;

use crate::failure::{Doing, Failure, Outcome};
use crate::programs;

/// A hardening profile. The Kubernetes namespace of its pods has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// For all.
    Baseline,
    /// The default.
    Restricted,
    /// Demands a user namespace and a memory limit.
    Strict,
}

// === impl Profile ===

impl Profile {
    /// All of them, loosest first.
    pub(super) const ALL: [Self; 3] = [Self::Baseline, Self::Restricted, Self::Strict];

    /// Its name, and that of its namespace.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
            Self::Strict => "strict",
        }
    }

    /// Node policy by which each profile holds in the namespace of its name.
    pub(super) fn policy() -> String {
        let tables = Self::ALL.map(|profile| {
            format!("[[namespace]]\nname = \"{profile}\"\nprofile = \"{profile}\"\n")
        });
        let default = Self::Baseline;
        format!("[profile]\ndefault = \"{default}\"\n{}", tables.concat())
    }

    /// Names of the relaxations in the shipped file of this profile, in its order.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or has none.
    pub(super) fn relaxations(self) -> Outcome<Vec<String>> {
        let path = programs::shipped(&format!("config/profiles/{self}.toml"));
        let text = fs::read_to_string(&path).doing(format!("read '{}'", path.display()))?;
        let names: Vec<String> = text.lines().filter_map(relaxation).collect();
        if names.is_empty() {
            return Err(Failure::new(format!(
                "no relaxation in '{}'",
                path.display()
            )));
        }
        Ok(names)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sample: `[relaxation.tmp-exec]`.
fn relaxation(line: &str) -> Option<String> {
    let name = line.strip_prefix("[relaxation.")?.strip_suffix(']')?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Profile;

    #[test]
    fn the_shipped_profiles_know_relaxations() {
        for profile in Profile::ALL {
            let names = profile.relaxations().unwrap();
            assert!(names.iter().any(|name| name == "tmp-exec"), "{names:?}");
        }
    }
}
