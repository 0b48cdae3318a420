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
use crate::programs;
use crate::step::{self, Failed, Outcome};
use crate::test::{NEEDS, PROMISED};
use crate::workspace::Workspace;

/// What is run unless all is asked for: parts of names, for each suite. Software runs the guest,
/// so these are the tests that a real cgroup v2, AppArmor and kernel can change the outcome of.
const CHOSEN: [(&str, &[&str]); 8] = [
    (
        "shim_lifecycle",
        &[
            "a_kill_for_want_of_memory_is_told",
            "with_runc::its_use_of_resources_is_measured",
            "with_crun::its_use_of_resources_is_measured",
            "with_runc::its_limits_can_be_lowered",
            "with_crun::its_limits_can_be_lowered",
            "with_runc::it_pauses_and_resumes",
            "with_crun::a_dead_shim_takes_its_container_along",
        ],
    ),
    (
        "exec_clamp",
        &["crun_gets_a_clamped_spec", "limits_are_not_loosened"],
    ),
    (
        "cri_pod",
        &["two_containers_of_a_pod_share_a_shim_and_are_both_hardened"],
    ),
    (
        "gate_launch",
        &["refuses_when_a_pcr_was_extended", "refuses_uid_0"],
    ),
    ("gate_moments", &["t19_every_container_of_a_pod"]),
    (
        "hook_refusal",
        &["only_a_hardened_bundle_on_a_trusted_host"],
    ),
    (
        "mounts",
        &["t34_ids_of_a_root_file_system", "t50_disk_images"],
    ),
    (
        "shim_bootstrap",
        &["t17_the_server_runs_in_the_cgroup", "t17_cores_of_its_own"],
    ),
];
/// What the tests take from the source tree.
const SOURCES: [&str; 2] = ["config", "packaging"];
/// Says to the shell of the guest what to run and with what.
const LIST: &str = "suites.list";

/// Packs the suites into `job`, to be unpacked below `/` in the guest.
pub(super) fn pack(workspace: &Workspace, product: &Product, all: bool, job: &Path) -> Outcome {
    let lab = programs::build_lab(workspace)?;
    let built = build(workspace)?;
    let tree = job.join("tree");
    let below = |path: &Path| tree.join(path.strip_prefix("/").unwrap_or(path));
    let mut list = String::new();
    for suite in SUITES {
        let program = built
            .iter()
            .find_map(|(name, program)| (name == suite).then_some(program))
            .ok_or_else(|| Failed::Missing(format!("suite '{suite}' was not built")))?;
        let filters = if all {
            NEEDS.to_owned()
        } else {
            let Some((_, filters)) = CHOSEN.iter().find(|(name, _)| *name == suite) else {
                continue;
            };
            filters.join(" ")
        };
        list.push_str(&format!("{suite} {} {filters}\n", program.display()));
        strip(program, &below(program))?;
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
    let settings = format!(
        "export PORTCULLIS_TEST_REQUIRE='{PROMISED}' PORTCULLIS_PROGRAMS='{}'\ncd '{}' || exit\n",
        folder.display(),
        tests.display()
    );
    write(&job.join("settings.sh"), &settings)
}

/// Builds the suites; names and programs.
fn build(workspace: &Workspace) -> Outcome<Vec<(String, PathBuf)>> {
    let mut build = workspace.cargo();
    build.args(["test", "--locked", "--no-run", "--package"]);
    build.args(["portcullis-tests", "--message-format=json"]);
    build.args(SUITES.iter().flat_map(|suite| ["--test", suite]));
    let messages = step::output(&mut build)?;
    Ok(messages.lines().filter_map(read).collect())
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
    use super::{CHOSEN, SUITES, read};

    #[test]
    fn what_is_chosen_are_suites_of_the_matrix() {
        for (suite, filters) in CHOSEN {
            assert!(SUITES.contains(&suite), "{suite}");
            assert!(!filters.is_empty(), "{suite} would be run as a whole");
        }
    }

    #[test]
    fn what_is_chosen_are_parts_of_names_of_tests() {
        for (suite, filters) in CHOSEN {
            let file = format!("{}/../tests/tests/{suite}.rs", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(file).unwrap();
            for filter in filters {
                let name = filter.rsplit("::").next().unwrap();
                assert!(text.contains(name), "{suite}: {filter}");
            }
        }
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
