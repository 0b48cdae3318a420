//! The end-to-end suites, built here and packed for the guest.
//!
//! The programs have paths of this machine in them, to the harness and to files of the source tree;
//! in the guest all of that lies at the same paths.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::product::Product;
use super::root::write;
use crate::matrix::SUITES;
use crate::matrix::release::Release;
use crate::privilege;
use crate::programs;
use crate::step::{self, Failed, Outcome};
use crate::test::{NEEDS, PROMISED};
use crate::workspace::Workspace;

/// Suites whose tests the guest can run, beside those of the matrix.
const MORE: [&str; 3] = ["task_semantics", "faults", "confinement"];
/// What is run unless all is asked for. Software runs the guest, so these are the tests whose outcome
/// a real cgroup v2, systemd, AppArmor and kernel can change.
const CHOSEN: [Choice; 13] = [
    choice(How::InWorlds, "shim_bootstrap", &["t17_"]),
    choice(How::InWorldsOfForky, "user_namespace", &[NEEDS]),
    choice(
        How::OnSystemd,
        "cri_pod",
        &["two_containers_of_a_pod_share_a_shim_and_are_both_hardened"],
    ),
    choice(
        How::OnSystemd,
        "task_semantics",
        &[
            "with_runc::t41_",
            "with_runc::t42_",
            "with_runc::t46_",
            "with_runc::t47_",
        ],
    ),
    // The life of a container with systemd as cgroup driver, its execs and its limits; what version 2
    // has a way of its own for on containerd's own shim, too.
    choice(How::OnSystemd, "shim_lifecycle", &LIFE),
    // What is confined of it, pods in scopes of systemd among them.
    choice(
        How::OnSystemd,
        "confinement",
        &["with_crun::what_runs_is_as_restricted_says"],
    ),
    choice(
        How::InWorlds,
        "shim_lifecycle",
        &[
            "with_runc::a_kill_for_want_of_memory_is_told",
            "with_runc::its_limits_can_be_lowered",
            "with_crun::a_dead_shim_takes_its_container_along",
        ],
    ),
    choice(
        How::InWorlds,
        "exec_clamp",
        &["crun_gets_a_clamped_spec", "limits_are_not_loosened"],
    ),
    choice(
        How::InWorlds,
        "gate_launch",
        &["refuses_when_a_pcr_was_extended", "refuses_uid_0"],
    ),
    choice(
        How::InWorlds,
        "gate_moments",
        &["t18_t19_every_container_of_a_pod"],
    ),
    choice(
        How::InWorlds,
        "hook_refusal",
        &["only_a_hardened_bundle_on_a_trusted_host"],
    ),
    choice(
        How::InWorlds,
        "mounts",
        &["t34_ids_of_a_root_file_system", "t50_disk_images"],
    ),
    choice(
        How::InWorlds,
        "faults",
        &["t25_kill_9_of_the_shim_before_the_decision"],
    ),
];
/// See [`CHOSEN`].
const LIFE: [&str; 7] = [
    "with_runc",
    "with_crun",
    "stock_shim::a_kill_for_want_of_memory_is_told",
    "stock_shim::its_use_of_resources_is_measured",
    "stock_shim::its_limits_can_be_lowered",
    "stock_shim::it_pauses_and_resumes",
    "stock_shim::a_dead_shim_takes_its_container_along",
];

/// What the tests of a choice have around them. The names are those of the guest's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Worlds: the OCI runtime makes the cgroups.
    InWorlds,
    /// Worlds with the root file system of [`Release::Forky`], for its containerd.
    InWorldsOfForky,
    /// The guest itself: its systemd makes the cgroups.
    OnSystemd,
}

/// Tests of one suite, by parts of their names.
#[derive(Debug, Clone, Copy)]
struct Choice {
    how: How,
    suite: &'static str,
    filters: &'static [&'static str],
}

const fn choice(how: How, suite: &'static str, filters: &'static [&'static str]) -> Choice {
    Choice {
        how,
        suite,
        filters,
    }
}

/// Which tests are run.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// All, in place of those that a real kernel can change the outcome of.
    pub(super) all: bool,
    /// Of those, the ones whose path has one of these in it; none means all.
    pub(super) only: Vec<String>,
}

/// How many times as slow as this machine the guest may be for the deadlines of the tests.
const SLOWNESS: u32 = 20;
/// Longest time for one test, in seconds; one that hangs must not take the rest along.
const TEST_LIMIT_S: u32 = 1800;
/// What the tests take from the source tree.
const SOURCES: [&str; 2] = ["config", "packaging"];
/// Says to the shell of the guest what to run and with what.
const LIST: &str = "suites.list";

/// Packs the suites into `job`, to be unpacked below `/` in the guest.
pub(super) fn pack(
    workspace: &Workspace,
    product: &Product,
    extent: &Extent,
    job: &Path,
) -> Outcome {
    let lab = programs::build_lab(workspace)?;
    let built = build(workspace)?;
    let tree = job.join("tree");
    let below = |path: &Path| tree.join(path.strip_prefix("/").unwrap_or(path));
    let choices = extent.choices();
    let mut list = String::new();
    for Choice {
        how,
        suite,
        filters,
    } in &choices
    {
        let program = built
            .iter()
            .find_map(|(name, program)| (name == suite).then_some(program))
            .ok_or_else(|| Failed::Missing(format!("suite '{suite}' was not built")))?;
        let (how, filters) = (how.name(), filters.join(" "));
        list.push_str(&format!("{how} {suite} {} {filters}\n", program.display()));
        if !below(program).exists() {
            strip(program, &below(program))?;
        }
    }
    if choices.iter().any(|one| one.how == How::InWorldsOfForky) {
        pack_forky(workspace, &job.join("forky.tar"))?;
    }
    strip(&lab, &below(&lab))?;
    let mut folder = Path::new("/");
    for program in product.programs() {
        folder = program.parent().unwrap_or(folder);
        strip(program, &below(program))?;
    }
    let tests = workspace.root.join("tests");
    make_folder(&below(&tests))?;
    for folder in SOURCES {
        let folder = workspace.root.join(folder);
        let mut copy = Command::new("cp");
        copy.args(["--recursive", "--dereference"]).arg(&folder);
        step::run(copy.arg(below(&workspace.root)))?;
    }
    write(&job.join(LIST), &list)?;
    // As grep takes several.
    let only = extent.only.join("\n");
    let settings = format!(
        "export PORTCULLIS_TEST_REQUIRE='{PROMISED}' PORTCULLIS_PROGRAMS='{}'\n\
         export PORTCULLIS_TEST_SLOWNESS={SLOWNESS}\n\
         TEST_LIMIT_S={TEST_LIMIT_S} ONLY='{only}'\ncd '{}' || exit\n",
        folder.display(),
        tests.display()
    );
    write(&job.join("settings.sh"), &settings)
}

/// Packs the root file system of Debian's newest release, without what only people read.
fn pack_forky(workspace: &Workspace, to: &Path) -> Outcome {
    let folder = Release::Forky.provide(&workspace.target.join("matrix"))?;
    let mut pack = privilege::as_root("tar");
    for unread in ["usr/share/doc", "usr/share/locale", "usr/share/man", "var"] {
        pack.arg(format!("--exclude=./{unread}/*"));
    }
    pack.arg("--create").arg("--file").arg(to);
    step::run(pack.arg("--directory").arg(folder).arg("."))
}

/// Builds the suites; names and programs.
fn build(workspace: &Workspace) -> Outcome<Vec<(String, PathBuf)>> {
    let mut build = workspace.cargo();
    build.args(["test", "--locked", "--no-run", "--package"]);
    build.args(["portcullis-tests", "--message-format=json"]);
    build.args(suites().flat_map(|suite| ["--test", suite]));
    let messages = step::output(&mut build)?;
    Ok(messages.lines().filter_map(read).collect())
}

/// All suites that the guest can run.
fn suites() -> impl Iterator<Item = &'static str> {
    SUITES.into_iter().chain(MORE)
}

// === impl How ===

impl How {
    /// The function of the guest's script.
    const fn name(self) -> &'static str {
        match self {
            Self::InWorlds => "in_worlds",
            Self::InWorldsOfForky => "in_worlds_of_forky",
            Self::OnSystemd => "on_systemd",
        }
    }
}

// === impl Extent ===

impl Extent {
    /// What is run of it.
    fn choices(&self) -> Vec<Choice> {
        if !self.all {
            return CHOSEN.to_vec();
        }
        let elsewhere = |one: &Choice| one.how != How::InWorlds;
        suites()
            .filter(|suite| {
                !CHOSEN
                    .iter()
                    .any(|one| one.suite == *suite && one.how == How::InWorldsOfForky)
            })
            .map(|suite| choice(How::InWorlds, suite, &[NEEDS]))
            .chain(CHOSEN.into_iter().filter(elsewhere))
            .collect()
    }
}

/// Sample: `{"reason":"compiler-artifact","target":{"name":"mounts",…},"executable":"/…/mounts-1",…}`.
fn read(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let name = message.pointer("/target/name")?.as_str()?;
    let program = message.get("executable")?.as_str()?;
    let is_test = message.pointer("/profile/test")?.as_bool()?;
    is_test.then(|| (name.to_owned(), PathBuf::from(program)))
}

/// Copies a program without what only a debugger reads: the guest's kernel measures every byte.
fn strip(from: &Path, to: &Path) -> Outcome {
    make_folder(to.parent().unwrap_or(to))?;
    let mut strip = Command::new("strip");
    step::run(strip.arg("-o").arg(to).arg(from))
}

fn make_folder(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|source| Failed::File {
        deed: format!("make '{}'", folder.display()),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{CHOSEN, Extent, How, read, suites};

    const SCRIPT: &str = include_str!("scenario/suites.sh");

    #[test]
    fn what_is_chosen_are_parts_of_names_of_tests_that_the_guest_can_run() {
        for one in CHOSEN {
            let suite = one.suite;
            assert!(suites().any(|known| known == suite), "{suite}");
            assert!(!one.filters.is_empty(), "{suite} would be run as a whole");
            let file = format!("{}/../tests/tests/{suite}.rs", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(file).unwrap();
            for filter in one.filters {
                // The shims are modules of a macro.
                let name = filter.rsplit("::").next().unwrap();
                let is_module = ["with_runc", "with_crun"].contains(&name);
                let is_shim = text.contains("on_shims!") && is_module;
                assert!(is_shim || text.contains(name), "{suite}: {filter}");
            }
            let function = format!("\n{}() {{", one.how.name());
            assert!(SCRIPT.contains(&function), "{function}");
        }
    }

    #[test]
    fn all_is_each_suite_once_and_what_is_run_elsewhere() {
        let extent = Extent {
            all: true,
            only: Vec::new(),
        };
        let choices = extent.choices();
        for suite in suites() {
            assert!(choices.iter().any(|one| one.suite == suite), "{suite}");
        }
        let in_worlds = choices.iter().filter(|one| one.how == How::InWorlds);
        assert_eq!(in_worlds.count() + 1, suites().count());
        assert!(choices.iter().any(|one| one.how == How::OnSystemd));
    }

    #[test]
    fn only_test_programs_are_taken() {
        let line = |test: bool| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"target\":{{\"name\":\"mounts\"}},\
                 \"profile\":{{\"test\":{test}}},\"executable\":\"/t/mounts-1\"}}"
            )
        };
        let (name, program) = read(&line(true)).unwrap();
        assert_eq!(
            (name.as_str(), program.to_str()),
            ("mounts", Some("/t/mounts-1"))
        );
        assert_eq!(read(&line(false)), None);
        assert_eq!(
            read("{\"reason\":\"build-finished\",\"success\":true}"),
            None
        );
        assert_eq!(read("   Compiling x"), None);
    }
}
