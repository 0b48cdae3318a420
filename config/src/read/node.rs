//! What is set for the node itself: exec, mounts, runtime and hook.

use crate::config::{ExecGate, ExecPolicy, HookConfig, RuntimeConfig};
use crate::defaults;
use crate::reader::Reader;
use crate::source_pattern::SourcePattern;
use crate::tree::Table;

pub(super) fn exec(reader: &mut Reader, root: &Table) -> ExecPolicy {
    let section = reader.section(root, "exec", "exec.");
    let allow = reader
        .switch(section, "allow")
        .unwrap_or(defaults::EXEC_ALLOW);
    let gate = reader.text(section, "gate", "'full' or 'fresh'", |text| match text {
        "full" => Some(ExecGate::Full),
        "fresh" => Some(ExecGate::Fresh),
        _ => None,
    });
    ExecPolicy {
        gate: gate.unwrap_or(defaults::EXEC_GATE),
        allow,
    }
}

pub(super) fn root_sources(reader: &mut Reader, root: &Table) -> Vec<SourcePattern> {
    let section = reader.section(root, "mounts", "mounts.");
    let expected = "devices ('/dev/mapper/pool-snap-*') or datasets ('tank/containerd/*')";
    reader
        .texts(section, "root_sources", expected, SourcePattern::parse)
        .unwrap_or_default()
}

pub(super) fn mounts(reader: &mut Reader, root: &Table) -> Vec<String> {
    let section = reader.section(root, "mounts", "mounts.");
    let expected = "absolute paths without '.', '..' or '//', and not '/' itself";
    reader
        .texts(section, "allow", expected, absolute)
        .unwrap_or_default()
}

/// An absolute path with one spelling, and not the root directory.
pub(super) fn absolute(text: &str) -> Option<String> {
    let inner = text.strip_prefix('/')?;
    let plain = inner
        .split('/')
        .all(|part| !matches!(part, "" | "." | ".."));
    (plain && !text.contains('\0')).then(|| text.to_owned())
}

pub(super) fn runtime(reader: &mut Reader, root: &Table) -> RuntimeConfig {
    let section = reader.section(root, "runtime", "runtime.");
    let binary = reader.text(
        section,
        "binary",
        "an absolute path or a bare name",
        |text| {
            let bare =
                !text.is_empty() && !text.contains(['/', '\0']) && !text.starts_with(['-', '.']);
            if bare {
                Some(text.to_owned())
            } else {
                absolute(text)
            }
        },
    );
    let state = reader.text(section, "root", "an absolute path", absolute);
    let systemd_cgroup = reader.switch(section, "systemd_cgroup");
    RuntimeConfig {
        binary: binary.unwrap_or_else(|| defaults::RUNTIME_BINARY.to_owned()),
        root: state.unwrap_or_else(|| defaults::RUNTIME_ROOT.to_owned()),
        systemd_cgroup: systemd_cgroup.unwrap_or(defaults::RUNTIME_SYSTEMD_CGROUP),
    }
}

pub(super) fn hook(reader: &mut Reader, root: &Table) -> HookConfig {
    let section = reader.section(root, "hook", "hook.");
    let require_hardened = reader.switch(section, "require_hardened");
    HookConfig {
        require_hardened: require_hardened.unwrap_or(defaults::HOOK_REQUIRE_HARDENED),
    }
}
