//! The cgroup, from `/proc/PID/cgroup`.
//!
//! # Source
//!
//! `cgroups(7)`, "/proc files"; runc `libcontainer/cgroups/systemd`, `getUnitName`; crun(1),
//! `run.oci.systemd.subgroup`.

use portcullis_gate::quote;

use super::Differences;
use crate::oci_config::OciConfig;

/// Controllers of version 1 that every runtime puts a container into; newer ones it may not know.
const CONTROLLERS: [&str; 3] = ["devices", "memory", "pids"];

pub(super) fn compare(config: &OciConfig, cgroups: &str, differences: &mut Differences) {
    let Some(wanted) = config.cgroups_path().and_then(Wanted::of) else {
        return;
    };
    let lines = cgroups.lines().filter_map(|line| {
        let (_hierarchy, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let (version_1, unified): (Vec<_>, Vec<_>) =
        lines.partition(|(controllers, _)| !controllers.is_empty());
    let counted: Vec<&str> = version_1
        .iter()
        .filter(|(controllers, _)| controllers.split(',').any(|it| CONTROLLERS.contains(&it)))
        .map(|(_, path)| *path)
        .collect();
    let paths = if counted.is_empty() {
        unified.iter().map(|(_, path)| *path).collect()
    } else {
        counted
    };
    let is_unified = version_1.is_empty();
    let is_wanted = |path: &str| wanted.is(path) || is_unified && wanted.has_within(path);
    let other = match paths.as_slice() {
        [] => Some("none"),
        paths => paths.iter().copied().find(|path| !is_wanted(path)),
    };
    if let Some(other) = other {
        differences.push("/linux/cgroupsPath", quote(&wanted.0), quote(other));
    }
}

/// Where crun puts a container within its scope, in version 2: what limits the scope limits it. The
/// annotation that would name another group reaches no runtime.
const SUBGROUP: &str = "/container";

/// The end of the path of a cgroup: a host that is itself a container has more before it.
struct Wanted(String);

// === impl Wanted ===

impl Wanted {
    /// From `linux.cgroupsPath`; `None` if the runtime is free to choose.
    fn of(path: &str) -> Option<Self> {
        let name = match path.split(':').collect::<Vec<_>>().as_slice() {
            [_slice, _prefix, name] if name.ends_with(".slice") => (*name).to_owned(),
            [_slice, "", name] => format!("{name}.scope"),
            [_slice, prefix, name] => format!("{prefix}-{name}.scope"),
            _ => path.trim_matches('/').to_owned(),
        };
        (!name.is_empty()).then_some(Self(name))
    }

    /// Whether it is the group that crun makes in a scope.
    fn has_within(&self, path: &str) -> bool {
        let scope = path.strip_suffix(SUBGROUP);
        self.0.ends_with(".scope") && scope.is_some_and(|scope| self.is(scope))
    }

    fn is(&self, path: &str) -> bool {
        path.strip_suffix(self.0.as_str())
            .is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }
}
