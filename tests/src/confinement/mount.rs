//! A line of `/proc/PID/mountinfo`.

use crate::failure::{Failure, Outcome};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its place, seen from the root of the process.
    pub(super) point: String,
    /// True if its events travel to other namespaces.
    pub(super) shared: bool,
    kind: String,
    /// Options of the mount, then those of its file system.
    options: [Vec<String>; 2],
}

/// A size as a profile has it (`64m`) as the kernel prints it (`65536k`).
pub(super) fn size(text: &str) -> String {
    let mebibytes = text
        .strip_suffix('m')
        .and_then(|number| number.parse::<u64>().ok());
    mebibytes.map_or_else(|| text.to_owned(), |number| format!("{}k", number * 1024))
}

// === impl Mount ===

impl Mount {
    /// Reads a whole table.
    ///
    /// # Errors
    ///
    /// When a line is not as `proc_pid_mountinfo(5)` has it.
    pub(super) fn table(text: &str) -> Outcome<Vec<Self>> {
        let malformed = |line: &str| Failure::new(format!("not a mount: {line}"));
        let lines = text.lines();
        lines
            .map(|line| Self::parse(line).ok_or_else(|| malformed(line)))
            .collect()
    }

    /// Sample: `36 35 98:0 / /tmp rw,nosuid shared:1 - tmpfs tmpfs rw,size=65536k`.
    fn parse(line: &str) -> Option<Self> {
        let (own, file_system) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(4);
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        let point = own.next()?.to_owned();
        let options = list(own.next()?);
        let shared = own.any(|optional| optional.starts_with("shared:"));
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?.to_owned();
        Some(Self {
            point,
            shared,
            kind,
            options: [options, list(file_system.nth(1)?)],
        })
    }

    /// True if its type is `kind`; the two versions of control groups count as one.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind == kind || (kind == "cgroup" && self.kind == "cgroup2")
    }

    /// True if `option` holds of it. What its file system does not allow, it does not allow.
    pub(super) fn has(&self, option: &str) -> bool {
        let [own, file_system] = &self.options;
        let on_either = option == "ro" || option.starts_with("size=");
        let is_option = |it: &String| it == option;
        own.iter().any(is_option) || (on_either && file_system.iter().any(is_option))
    }
}
