//! An OCI runtime that does not do what its configuration says: a script that alters the
//! configuration on its way to the real one.
//!
//! What comes of it is what a defect of a runtime, of libseccomp or of the kernel would leave: a
//! container that is confined less than was decided.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::failure::{Doing, Outcome};

/// The lie, as a script for `sed`; none if empty.
const LIE: &str = "/run/lying-runtime.sed";

/// The script, in place.
#[derive(Debug)]
pub struct LyingRuntime(());

// === impl LyingRuntime ===

impl LyingRuntime {
    /// Where the script is.
    pub const PROGRAM: &str = "/usr/local/sbin/lying-runtime";

    /// Installs the script around `real` (`runc`, `crun`), honest at first. Only for use inside a
    /// world.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn install(real: &str) -> Outcome<Self> {
        fs::create_dir_all("/usr/local/sbin").doing("make '/usr/local/sbin'")?;
        fs::write(Self::PROGRAM, script(real)).doing(format!("write '{}'", Self::PROGRAM))?;
        fs::set_permissions(Self::PROGRAM, fs::Permissions::from_mode(0o755))
            .doing(format!("set the mode of '{}'", Self::PROGRAM))?;
        let runtime = Self(());
        runtime.tell("")?;
        Ok(runtime)
    }

    /// Settings that make it the node's runtime.
    #[must_use]
    pub fn settings(&self) -> String {
        format!("[runtime]\nbinary = \"{}\"\n", Self::PROGRAM)
    }

    /// From now on the configuration is altered by `lie`, a script for `sed`; the text that it is
    /// applied to is canonical JSON. A lie that alters nothing fails the launch.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn tell(&self, lie: &str) -> Outcome {
        fs::write(LIE, lie).doing(format!("write '{LIE}'"))
    }
}

fn script(real: &str) -> String {
    format!(
        r#"#!/bin/sh
bundle= previous=
for word in "$@"; do
  [ "$previous" = --bundle ] && bundle=$word
  previous=$word
done
if [ -z "$bundle" ] || [ ! -s {LIE} ]; then exec {real} "$@"; fi
copy=$(mktemp -d)
sed "s|\"path\":\"rootfs\"|\"path\":\"$bundle/rootfs\"|" "$bundle/config.json" > "$copy/honest"
sed -f {LIE} "$copy/honest" > "$copy/config.json"
if cmp -s "$copy/honest" "$copy/config.json"; then
  echo "the lie alters nothing" >&2
  exit 1
fi
previous=
for word in "$@"; do
  shift
  [ "$previous" = --bundle ] && word=$copy
  previous=$word
  set -- "$@" "$word"
done
exec {real} "$@"
"#
    )
}
