//! Portcullis as a package would install it: the table of `packaging/README.md`, carried out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::privilege;
use crate::step::{self, Failed, Outcome};
use crate::workspace::Workspace;

/// Says what goes where.
const TABLE: &str = "packaging/README.md";

/// One file and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// As the table names it: a program, or a path below `packaging/` or the source tree.
    name: String,
    /// Its path on a host.
    place: String,
    /// Its mode, in octal.
    mode: String,
}

/// All of them, with where they come from.
#[derive(Debug)]
pub(super) struct Product {
    files: Vec<(PathBuf, Item)>,
}

// === impl Product ===

impl Product {
    /// Reads the table and finds every file it names.
    pub(super) fn find(workspace: &Workspace, programs: &Path) -> Outcome<Self> {
        let table = workspace.root.join(TABLE);
        let text = fs::read_to_string(&table).map_err(|source| Failed::File {
            deed: format!("read '{}'", table.display()),
            source,
        })?;
        let folders = [
            programs.to_path_buf(),
            workspace.root.join("packaging"),
            workspace.root.clone(),
        ];
        let files = read(&text)
            .into_iter()
            .map(|item| {
                let found = folders.iter().map(|folder| folder.join(&item.name));
                let from = found.clone().find(|path| path.is_file()).ok_or_else(|| {
                    let name = &item.name;
                    Failed::Missing(format!("'{TABLE}' names '{name}', which is not there"))
                })?;
                Ok((from, item))
            })
            .collect::<Outcome<Vec<_>>>()?;
        if files.is_empty() {
            return Err(Failed::Missing(format!("'{TABLE}' names no file")));
        }
        Ok(Self { files })
    }

    /// Where our programs were built.
    pub(super) fn programs(&self) -> impl Iterator<Item = &Path> {
        let programs = self.files.iter().filter(|(_, item)| item.is_program());
        programs.map(|(from, _)| from.as_path())
    }

    /// What it consists of, by content: equal texts mean equal files.
    pub(super) fn digest(&self) -> Outcome<String> {
        let mut sum = Command::new("sha256sum");
        sum.args(self.files.iter().map(|(from, _)| from));
        let places: Vec<String> = self.files.iter().map(|(_, item)| item.line()).collect();
        Ok(format!("{}{}", step::output(&mut sum)?, places.concat()))
    }

    /// Installs it below `root`.
    pub(super) fn install(&self, root: &Path) -> Outcome {
        for (from, item) in &self.files {
            install(from, root, &item.place, &item.mode)?;
        }
        Ok(())
    }
}

/// Copies one file into a root folder, as root's. What was there is replaced, not written into:
/// it may be a link to another root folder's file.
pub(super) fn install(from: &Path, root: &Path, place: &str, mode: &str) -> Outcome {
    let to = root.join(place.trim_start_matches('/'));
    step::run(
        privilege::as_root("install")
            .args(["-D", "--owner=root", "--group=root"])
            .arg(format!("--mode={mode}"))
            .args([from, &to]),
    )
}

/// Sample: ``| `hooks.d/portcullis.json` (Podman, CRI-O) | `/usr/share/…/portcullis.json` | root 0644 |``.
/// Of two files that share a place the first is taken; a row without a place on the host is none.
fn read(text: &str) -> Vec<Item> {
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let mut quoted = || cells.next()?.split('`').nth(1).map(str::to_owned);
            let (name, place) = (quoted()?, quoted()?);
            let mode = cells.next()?.strip_prefix("root ")?.to_owned();
            place.starts_with('/').then_some(Item { name, place, mode })
        })
        .collect()
}

// === impl Item ===

impl Item {
    /// The table names a program by its name alone, and a file of the source tree by its path.
    fn is_program(&self) -> bool {
        !self.name.contains('/')
    }

    fn line(&self) -> String {
        format!("{} {} {}\n", self.name, self.place, self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_table_names_all_programs_and_the_unit() {
        let items = read(include_str!("../../../packaging/README.md"));
        let places: Vec<&str> = items.iter().map(|item| item.place.as_str()).collect();
        for place in [
            "/usr/bin/containerd-shim-portcullis-v1",
            "/usr/bin/portcullis",
            "/usr/libexec/portcullis/portcullis-agent",
            "/usr/libexec/portcullis/portcullis-hook",
            "/usr/lib/systemd/system/portcullis-agent.service",
            "/usr/lib/systemd/system/portcullis-responder.socket",
            "/usr/lib/systemd/system/portcullis-responder@.service",
            "/etc/portcullis/portcullis.toml",
            "/etc/apparmor.d/portcullis-sandbox",
            "/etc/containerd/conf.d/portcullis.toml",
        ] {
            assert!(places.contains(&place), "{place} is not in {places:?}");
        }
        let programs: Vec<&str> = (items.iter().filter(|item| item.is_program()))
            .map(|item| item.name.as_str())
            .collect();
        assert!(programs.contains(&"portcullis-hook"), "{programs:?}");
        assert!(
            !programs.iter().any(|name| name.contains('.')),
            "{programs:?}"
        );
        let drop_in = items
            .iter()
            .find(|item| item.place.ends_with("conf.d/portcullis.toml"));
        // The guest has containerd 1.6.
        assert_eq!(drop_in.unwrap().name, "containerd/portcullis-v2.toml");
        assert!(items.iter().all(|item| item.mode.starts_with('0')));
        // A folder would take the first file of its row only.
        assert!(places.iter().all(|place| !place.ends_with('/')));
    }

    #[test]
    fn what_is_applied_elsewhere_is_not_installed() {
        assert!(read("| `kubernetes/a.yaml` | `kubectl apply -f` | – |\n").is_empty());
        assert!(read("| file | installed as | owner, mode |\n|---|---|---|\n").is_empty());
    }
}
