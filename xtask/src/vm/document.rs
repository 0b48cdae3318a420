//! The guest's part of `docs/compatibility.md`.

use super::report::Report;
use super::root::Root;
use crate::matrix::release;
use crate::step::Outcome;

/// What the section says before its table.
const OPENING: &str = "What held in a guest that booted with Secure Boot (shim, grub, Debian's kernel) beside a software\n\
    TPM 2.0, under systemd, cgroup v2, AppArmor and IMA. QEMU ran it in software; Portcullis was installed\n\
    as `packaging/README.md` says. Each scenario is one boot, all of one machine. Of the\n\
    suites the default run takes the tests whose outcome a real kernel can change; how many is said.\n\
    `on_systemd`: the guest's systemd makes the cgroups (`SystemdCgroup = true`); `in_worlds`: the OCI runtime, each\n\
    test in namespaces of its own; `in_worlds_of_forky`: the same with Debian forky's containerd and runc.\n\
    Written by `cargo xtask vm`; not to be edited by hand.\n\n";

/// What of the guest was run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Whether the programs were built by the run, as shipped.
    pub(super) as_shipped: bool,
    /// Whether the suites were run.
    pub(super) suites: bool,
}

/// The section, without its heading.
pub(super) fn of(root: &Root, extent: Extent, report: &Report) -> Outcome<String> {
    let versions = release::versions(root.folder())?;
    let kernel = root.kernel()?;
    let table = report.table();
    let extent = extent.text();
    Ok(format!(
        "{OPENING}Linux {kernel}, {versions}. {extent}\n\n{table}"
    ))
}

// === impl Extent ===

impl Extent {
    /// Said of every run: what was left out, too.
    const fn text(self) -> &'static str {
        match (self.as_shipped, self.suites) {
            (true, true) => "Programs as shipped.",
            (true, false) => "Programs as shipped; the suites were not run.",
            (false, true) => "Programs given by `--programs`, not built as shipped.",
            (false, false) => {
                "Programs given by `--programs`, not built as shipped; the suites were not run."
            }
        }
    }
}
