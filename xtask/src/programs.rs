//! Building the four programs as they are shipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages;
use crate::screen;
use crate::step::{self, Failed, Outcome, timed};
use crate::workspace::Workspace;

/// Static and at a fixed address: the fastest to start, by a factor of two. Nothing unwinds where
/// a panic aborts, so the tables for it, a tenth of the program, are left out. Random numbers come
/// from the system call: a static program cannot look it up in libc and would open /dev/urandom.
/// SHA-2 for processors without instructions for it is not unrolled.
const STATIC_FLAGS: [&str; 10] = [
    "-C",
    "target-feature=+crt-static",
    "-C",
    "relocation-model=static",
    "-C",
    "force-unwind-tables=no",
    "--cfg",
    "getrandom_backend=\"linux_getrandom\"",
    "--cfg",
    "sha2_backend_soft=\"compact\"",
];
/// What the linker leaves out with musl: the tables that the standard library brings along.
const LINKER_SCRIPT: &str = "packaging/no-unwind-tables.ld";
/// Between the words of `CARGO_ENCODED_RUSTFLAGS`.
const UNIT_SEPARATOR: &str = "\u{1f}";
/// Static programs: package, program, and the profile that it is built with. The shim stays in memory
/// for each pod and is made small; the hook runs once for each container and is made fast.
const STATIC: [(&str, &str, &str); 2] = [
    ("portcullis-shim", "containerd-shim-portcullis-v1", "small"),
    ("portcullis-hook", "portcullis-hook", "quick"),
];
/// Programs that use the machine's libraries, and their packages.
const DYNAMIC: [(&str, &str); 4] = [
    ("portcullis-agent", "portcullis-agent"),
    ("portcullis-cli", "portcullis"),
    ("portcullis-fetch", "portcullis-fetch"),
    ("portcullis-keylime", "portcullis-keylime"),
];

/// Builds all and puts them side by side; returns that folder.
pub(crate) fn build(workspace: &Workspace) -> Outcome<PathBuf> {
    let target = static_target(&host_triple()?)?;
    // A folder of its own, so that the flags do not make cargo build everything again.
    let static_folder = workspace.target.join("static");
    for (package, _, profile) in STATIC {
        let mut build = workspace.cargo();
        build.args(["build", "--locked", "--package", package]);
        build.args(["--profile", profile, "--target", &target, "--target-dir"]);
        build
            .arg(&static_folder)
            .env("CARGO_ENCODED_RUSTFLAGS", static_flags(workspace, &target));
        step::run(&mut build)?;
    }
    let mut build = workspace.cargo();
    build.args(["build", "--locked", "--release"]);
    build.args(
        DYNAMIC
            .iter()
            .flat_map(|(package, _)| ["--package", package]),
    );
    step::run(&mut build)?;

    let folder = workspace.programs();
    fs::create_dir_all(&folder).map_err(|source| Failed::File {
        deed: format!("make '{}'", folder.display()),
        source,
    })?;
    let static_folder = static_folder.join(target);
    let dynamic_folder = workspace.target.join("release");
    let from_static = STATIC
        .iter()
        .map(|(_, name, profile)| (static_folder.join(profile).join(name), *name));
    let from_dynamic = DYNAMIC
        .iter()
        .map(|(_, name)| (dynamic_folder.join(name), *name));
    for (source, name) in from_static.chain(from_dynamic) {
        let to = folder.join(name);
        fs::copy(&source, &to).map_err(|error| Failed::File {
            deed: format!("copy '{}' to '{}'", source.display(), to.display()),
            source: error,
        })?;
    }
    Ok(folder)
}

/// Builds the harness program that keeps private worlds; returns its path.
pub(crate) fn build_lab(workspace: &Workspace) -> Outcome<PathBuf> {
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--locked",
        "--package",
        "portcullis-tests",
        "--bin",
        "portcullis-lab",
    ]);
    step::run(&mut build)?;
    Ok(workspace.target.join("debug/portcullis-lab"))
}

/// What the static programs are built for: with musl, which makes them some 0.9 MiB smaller and quicker
/// to start than glibc does, if this toolchain has it or rustup can fetch it.
fn static_target(host: &str) -> Outcome<String> {
    let musl = host.replace("-gnu", "-musl");
    if has_target(&musl)? {
        return Ok(musl);
    }
    if packages::find("rustup").is_some() {
        let mut add = Command::new("rustup");
        let added = timed(&format!("Rust target '{musl}'"), || {
            step::run(add.args(["target", "add", &musl]))
        });
        // Without a network, say: there is another way.
        if added.is_ok() && has_target(&musl)? {
            return Ok(musl);
        }
    }
    screen::say(&format!(
        "no Rust target '{musl}' here: the shim and the hook are built with glibc and are larger"
    ));
    Ok(host.to_owned())
}

fn has_target(target: &str) -> Outcome<bool> {
    let library = rustc(&["--print", "target-libdir", "--target", target])?;
    Ok(Path::new(library.trim_end()).is_dir())
}

fn static_flags(workspace: &Workspace, target: &str) -> String {
    let script = workspace.root.join(LINKER_SCRIPT);
    let script = format!("link-arg=-Wl,-T,{}", script.display());
    let mut flags: Vec<String> = STATIC_FLAGS.map(str::to_owned).to_vec();
    if target.ends_with("-musl") {
        flags.extend(["-C".to_owned(), script]);
    }
    flags.extend(shortened_paths());
    flags.join(UNIT_SEPARATOR)
}

/// Flags that take the folder of fetched sources out of the places that a panic names: 8 KiB of the
/// shim, and nobody's business where it was built.
fn shortened_paths() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let sources = home.map(|home| home.join("registry/src"));
    let folders = sources.and_then(|sources| fs::read_dir(sources).ok());
    let mut flags: Vec<String> = folders
        .into_iter()
        .flatten()
        .flatten()
        .map(|folder| format!("--remap-path-prefix={}/=", folder.path().display()))
        .collect();
    flags.sort_unstable();
    flags
}

/// The target that rustc builds for here.
pub(crate) fn host_triple() -> Outcome<String> {
    rustc(&["-vV"])?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Failed::Missing("'rustc -vV' names no host".to_owned()))
}

/// What rustc answers.
fn rustc(arguments: &[&str]) -> Outcome<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(arguments)
        .output()
        .map_err(|source| Failed::Run {
            line: format!("rustc {}", arguments.join(" ")),
            source,
        })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
