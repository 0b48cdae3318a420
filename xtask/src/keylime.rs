//! Keylime from PyPI, for the tests of our adapter: verifier, registrar, and their templates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::screen;
use crate::step::{self, Failed, Outcome};
use crate::workspace::Workspace;

/// Tells the tests where it is; see `tests/src/keylime.rs`.
pub(crate) const HOME: &str = "PORTCULLIS_KEYLIME";
/// The release whose answers our adapter reads.
const KEYLIME: &str = "keylime==7.14.3";
/// What it needs; the package itself declares nothing.
const NEEDED: [&str; 14] = [
    "pyyaml",
    "tornado",
    "cryptography",
    "pyzmq",
    "requests",
    "sqlalchemy<2.1",
    "alembic",
    "packaging",
    "psutil",
    "lark",
    "pyasn1",
    "pyasn1-modules",
    "jinja2",
    "jsonschema",
];
/// Debian's Python, because its module `gpg` is in no other registry.
const PYTHON: &str = "/usr/bin/python3";
/// Written when all is there.
const WHOLE: &str = "whole";

/// The folder of an installed Keylime, installing it if need be; `None` where PyPI gives none.
pub(crate) fn provide(workspace: &Workspace) -> Option<PathBuf> {
    let home = workspace.target.join("keylime");
    let mark = home.join(WHOLE);
    let known = fs::read_to_string(&mark).is_ok_and(|installed| installed == KEYLIME);
    if known {
        return Some(home);
    }
    match step::timed("Keylime, from PyPI", || install(&home, &mark)) {
        Ok(()) => Some(home),
        Err(failed) => {
            screen::say(&format!("tests with Keylime are skipped: {failed}"));
            None
        }
    }
}

fn install(home: &Path, mark: &Path) -> Outcome {
    if home.exists() {
        fs::remove_dir_all(home).map_err(|source| Failed::File {
            deed: format!("remove '{}'", home.display()),
            source,
        })?;
    }
    let mut environment = Command::new(PYTHON);
    environment.args(["-m", "venv", "--system-site-packages"]);
    step::run(environment.arg(home))?;
    let pip = |arguments: &[&str]| {
        let mut pip = Command::new(home.join("bin/python3"));
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
        step::run(pip.args(arguments).current_dir(home))
    };
    let mut packages = vec!["install", KEYLIME];
    packages.extend(NEEDED);
    pip(&packages)?;
    // The templates of its settings are in the source package only.
    pip(&["download", "--no-deps", "--no-binary", ":all:", KEYLIME])?;
    let archive = format!("{}.tar.gz", KEYLIME.replace("==", "-"));
    let mut unpack = Command::new("tar");
    unpack.args([
        "--extract",
        "--gzip",
        "--strip-components=1",
        "--wildcards",
        "--file",
    ]);
    step::run(unpack.args([&archive, "*/templates"]).current_dir(home))?;
    fs::write(mark, KEYLIME).map_err(|source| Failed::File {
        deed: format!("write '{}'", mark.display()),
        source,
    })
}
