//! Which container a process is of: from the state of OCI runtimes, else from its cgroup.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::processes::{self, Group};

/// Largest state file that is read; it repeats the whole configuration.
const STATE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// What a runtime says about one of its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Its id.
    pub(crate) id: String,
    /// The containerd namespace, or Docker's; empty if there is none.
    pub(crate) namespace: String,
    /// Name of the runtime.
    pub(crate) runtime: &'static str,
    /// Its first process.
    pub(crate) pid: u32,
    /// When that started, in clock ticks since boot, if the runtime says so.
    pub(crate) start_ticks: Option<u64>,
    /// The bundle.
    pub(crate) bundle: Option<PathBuf>,
    /// Directories of its cgroup by controller, as runc writes them (`""` for version 2), or its
    /// path in every hierarchy under [`ANY_HIERARCHY`], as crun does.
    pub(crate) cgroups: BTreeMap<String, String>,
}

/// See [`State::cgroups`].
pub(crate) const ANY_HIERARCHY: &str = "*";

/// Where a runtime keeps its state.
struct Place {
    directory: &'static str,
    runtime: &'static str,
    file: &'static str,
    /// Whether there is a directory for each namespace in between.
    by_namespace: bool,
}

const RUNC: &str = "state.json";
const CRUN: &str = "status";

const PLACES: [Place; 5] = [
    Place {
        directory: "run/containerd/runc",
        runtime: "runc",
        file: RUNC,
        by_namespace: true,
    },
    Place {
        directory: "run/docker/runtime-runc",
        runtime: "runc",
        file: RUNC,
        by_namespace: true,
    },
    Place {
        directory: "run/runc",
        runtime: "runc",
        file: RUNC,
        by_namespace: false,
    },
    Place {
        directory: "run/crun",
        runtime: "crun",
        file: CRUN,
        by_namespace: false,
    },
    // containerd drives crun with the same root as runc.
    Place {
        directory: "run/containerd/runc",
        runtime: "crun",
        file: CRUN,
        by_namespace: true,
    },
];

/// The states of all containers whose first process lives. What cannot be read is left out: the
/// processes are found all the same, and named by their cgroup.
pub(crate) fn states(root: &Path) -> Vec<State> {
    let mut states = Vec::new();
    for place in &PLACES {
        collect(&root.join(place.directory), place, &mut states);
    }
    for user in inside(&root.join("run/user")) {
        for (runtime, file) in [("runc", RUNC), ("crun", CRUN)] {
            let place = Place {
                directory: "",
                runtime,
                file,
                by_namespace: false,
            };
            collect(&user.join(runtime), &place, &mut states);
        }
    }
    states
}

/// The state of the container that `group` is.
pub(crate) fn state_of<'a>(group: &Group, states: &'a [State], proc: &Path) -> Option<&'a State> {
    states.iter().find(|state| {
        let Some(ticks) = state.start_ticks else {
            return group.pid == state.pid;
        };
        // The number of a process that ended may be another's by now.
        group.pids.contains(&state.pid) && processes::start_ticks(proc, state.pid) == Some(ticks)
    })
}

/// Id and runtime as the cgroup's path names them.
pub(crate) fn named_by_cgroup(path: &str) -> Option<(String, &'static str)> {
    const PREFIXES: [(&str, &str); 8] = [
        ("cri-containerd-", "containerd"),
        ("nerdctl-", "containerd"),
        ("docker-", "docker"),
        ("libpod-payload-", "podman"),
        ("libpod-", "podman"),
        ("crio-", "cri-o"),
        ("runc-", "runc"),
        ("crun-", "crun"),
    ];
    for part in path.split('/').rev().filter(|part| !part.is_empty()) {
        let scope = part.strip_suffix(".scope");
        for (prefix, runtime) in PREFIXES {
            if let Some(id) = scope.unwrap_or(part).strip_prefix(prefix)
                && !id.is_empty()
            {
                return Some((id.to_owned(), runtime));
            }
        }
        if part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some((part.to_owned(), "unknown"));
        }
    }
    // `/<namespace>/<id>` and `/<id>`, as runtimes name them that were told nothing else.
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_unit = [".slice", ".service", ".scope", ".mount"]
        .iter()
        .any(|suffix| last.ends_with(suffix));
    (!last.is_empty() && !is_unit).then(|| (last.to_owned(), "unknown"))
}

/// The image that a bundle's configuration names.
pub(crate) fn image_in(bundle: &Path) -> Option<String> {
    const NAMES: [&str; 3] = [
        "io.kubernetes.cri.image-name",
        "io.kubernetes.cri-o.ImageName",
        "org.opencontainers.image.ref.name",
    ];
    let config = json(&bundle.join("config.json"))?;
    let annotations = config.get("annotations")?;
    NAMES
        .iter()
        .find_map(|name| annotations.get(*name)?.as_str())
        .map(str::to_owned)
}

fn collect(directory: &Path, place: &Place, states: &mut Vec<State>) {
    for inner in inside(directory) {
        if place.by_namespace {
            let namespace = name(&inner);
            for container in inside(&inner) {
                states.extend(read(&container, place, &namespace));
            }
        } else {
            states.extend(read(&inner, place, ""));
        }
    }
}

fn read(directory: &Path, place: &Place, namespace: &str) -> Option<State> {
    let state = json(&directory.join(place.file))?;
    let mut cgroups = BTreeMap::new();
    let (pid, start, bundle) = if place.file == RUNC {
        let labels = state.pointer("/config/labels").and_then(Value::as_array);
        let bundle = labels
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find_map(|label| label.strip_prefix("bundle="))
            .map(PathBuf::from);
        let paths = state.get("cgroup_paths").and_then(Value::as_object);
        for (controller, path) in paths.into_iter().flatten() {
            cgroups.insert(
                controller.clone(),
                path.as_str().unwrap_or_default().to_owned(),
            );
        }
        (
            state.get("init_process_pid"),
            state.get("init_process_start"),
            bundle,
        )
    } else {
        let bundle = state.get("bundle").and_then(Value::as_str);
        if let Some(path) = state.get("cgroup-path").and_then(Value::as_str) {
            cgroups.insert(ANY_HIERARCHY.to_owned(), path.to_owned());
        }
        (
            state.get("pid"),
            state.get("process-start-time"),
            bundle.map(PathBuf::from),
        )
    };
    Some(State {
        id: name(directory),
        namespace: namespace.to_owned(),
        runtime: place.runtime,
        pid: u32::try_from(pid?.as_u64()?).ok().filter(|pid| *pid > 0)?,
        start_ticks: start.and_then(Value::as_u64),
        bundle,
        cgroups,
    })
}

fn json(path: &Path) -> Option<Value> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(STATE_LIMIT_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn inside(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_states_of_both_runtimes() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "run/containerd/runc/k8s.io/web/state.json",
            r#"{"init_process_pid":7,"init_process_start":99,"config":{"labels":["a","bundle=/b"]}}"#,
        );
        write(
            "run/crun/lone/status",
            r#"{"pid":8,"process-start-time":98,"bundle":"/c"}"#,
        );
        write("run/user/1000/crun/mine/status", r#"{"pid":9}"#);
        write("run/runc/broken/state.json", "{");
        write("run/runc/ended/state.json", r#"{"init_process_pid":0}"#);
        let mut found: Vec<_> = states(root.path())
            .into_iter()
            .map(|it| (it.namespace, it.id, it.runtime, it.pid, it.start_ticks))
            .collect();
        found.sort();
        let text = str::to_owned;
        assert_eq!(
            found,
            [
                (text(""), text("lone"), "crun", 8, Some(98)),
                (text(""), text("mine"), "crun", 9, None),
                (text("k8s.io"), text("web"), "runc", 7, Some(99)),
            ]
        );
    }

    #[test]
    fn knows_the_cgroups_of_all_launch_paths() {
        let id = "5a".repeat(32);
        for (path, runtime) in [
            (
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                "containerd",
            ),
            (format!("/system.slice/docker-{id}.scope"), "docker"),
            (
                format!("/machine.slice/libpod-{id}.scope/container"),
                "podman",
            ),
            (format!("/machine.slice/libpod-payload-{id}"), "podman"),
            (format!("/kubepods.slice/crio-{id}.scope"), "cri-o"),
            (format!("/kubepods/besteffort/pod1/{id}"), "unknown"),
            (format!("/docker/{id}"), "unknown"),
            (format!("/k8s.io/{id}"), "unknown"),
        ] {
            assert_eq!(
                named_by_cgroup(&path),
                Some((id.clone(), runtime)),
                "{path}"
            );
        }
        assert_eq!(
            named_by_cgroup("/default/web"),
            Some(("web".to_owned(), "unknown"))
        );
        assert_eq!(
            named_by_cgroup("/system.slice/runc-web.scope"),
            Some(("web".to_owned(), "runc"))
        );
        for path in [
            "/",
            "",
            "/user.slice/user-0.slice/session-1.scope",
            "/system.slice/a.service",
        ] {
            assert_eq!(named_by_cgroup(path), None, "{path}");
        }
    }
}
