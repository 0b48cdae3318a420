//! The options of a mount, as fstab and containerd write them.

use std::path::PathBuf;

use nix::mount::MsFlags;

use super::id_map::IdMap;

/// Options split into what the kernel takes as flags, what the filesystem reads, and what the
/// shim itself carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// For `mount(2)`.
    pub(super) flags: MsFlags,
    /// Attributes (`MOUNT_ATTR_*`) for this mount and all below it.
    pub(super) recursive: u64,
    /// What the filesystem reads, without `lowers`.
    pub(super) data: Vec<String>,
    /// The values of `lowerdir=`, topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// Whether the source is a file that needs a loop device.
    pub(super) loop_device: bool,
    /// Whether the loop device reads past the page cache.
    pub(super) direct_io: bool,
    /// Value of `uidmap=`.
    pub(super) uids: Option<IdMap>,
    /// Value of `gidmap=`.
    pub(super) gids: Option<IdMap>,
}

/// Flags that `mount(2)` takes with a bind mount only when it is mounted again.
pub(super) const BIND: MsFlags = MsFlags::MS_BIND.union(MsFlags::MS_REC);

/// An option that is a flag: the flag, and whether the option takes it back.
fn flag(option: &str) -> Option<(MsFlags, bool)> {
    Some(match option {
        "ro" => (MsFlags::MS_RDONLY, false),
        "rw" => (MsFlags::MS_RDONLY, true),
        "nosuid" => (MsFlags::MS_NOSUID, false),
        "suid" => (MsFlags::MS_NOSUID, true),
        "nodev" => (MsFlags::MS_NODEV, false),
        "dev" => (MsFlags::MS_NODEV, true),
        "noexec" => (MsFlags::MS_NOEXEC, false),
        "exec" => (MsFlags::MS_NOEXEC, true),
        "noatime" => (MsFlags::MS_NOATIME, false),
        "atime" => (MsFlags::MS_NOATIME, true),
        "relatime" => (MsFlags::MS_RELATIME, false),
        "norelatime" => (MsFlags::MS_RELATIME, true),
        "strictatime" => (MsFlags::MS_STRICTATIME, false),
        "nostrictatime" => (MsFlags::MS_STRICTATIME, true),
        "nodiratime" => (MsFlags::MS_NODIRATIME, false),
        "diratime" => (MsFlags::MS_NODIRATIME, true),
        "sync" => (MsFlags::MS_SYNCHRONOUS, false),
        "async" => (MsFlags::MS_SYNCHRONOUS, true),
        "dirsync" => (MsFlags::MS_DIRSYNC, false),
        "bind" => (MsFlags::MS_BIND, false),
        "rbind" => (BIND, false),
        "defaults" => (MsFlags::empty(), false),
        _ => return None,
    })
}

/// An option that holds for the mounts below as well: its attribute, and whether it is taken back.
fn recursive(option: &str) -> Option<(u64, bool)> {
    Some(match option {
        "rro" => (libc::MOUNT_ATTR_RDONLY, false),
        "rrw" => (libc::MOUNT_ATTR_RDONLY, true),
        "rnosuid" => (libc::MOUNT_ATTR_NOSUID, false),
        "rsuid" => (libc::MOUNT_ATTR_NOSUID, true),
        "rnodev" => (libc::MOUNT_ATTR_NODEV, false),
        "rdev" => (libc::MOUNT_ATTR_NODEV, true),
        "rnoexec" => (libc::MOUNT_ATTR_NOEXEC, false),
        "rexec" => (libc::MOUNT_ATTR_NOEXEC, true),
        _ => return None,
    })
}

/// Whether `option` means the same for every filesystem: a flag, or work for the shim.
pub(crate) fn is_general(option: &str) -> bool {
    flag(option).is_some()
        || recursive(option).is_some()
        || matches!(option, "loop" | "direct-io")
        || id_map(option).is_some()
}

/// The value of `uidmap=` or `gidmap=`, with its key.
pub(crate) fn id_map(option: &str) -> Option<(&str, &str)> {
    let (key, value) = option.split_once('=')?;
    matches!(key, "uidmap" | "gidmap").then_some((key, value))
}

// === impl Options ===

impl Options {
    /// Reads `all`; a later option takes back an earlier one.
    ///
    /// # Errors
    ///
    /// The first option that cannot be carried out.
    pub(super) fn parse(all: &[String]) -> Result<Self, &str> {
        let mut parsed = Self {
            flags: MsFlags::empty(),
            recursive: 0,
            data: Vec::new(),
            lowers: Vec::new(),
            loop_device: false,
            direct_io: false,
            uids: None,
            gids: None,
        };
        for option in all {
            if let Some((flag, clear)) = flag(option) {
                parsed.flags.set(flag, !clear);
            } else if let Some((attribute, clear)) = recursive(option) {
                parsed.recursive &= !attribute;
                parsed.recursive |= if clear { 0 } else { attribute };
            } else if option == "loop" {
                parsed.loop_device = true;
            } else if option == "direct-io" {
                parsed.direct_io = true;
            } else if let Some((key, value)) = id_map(option) {
                let map = IdMap::parse(value).ok_or(option.as_str())?;
                let held = match key {
                    "uidmap" => &mut parsed.uids,
                    _ => &mut parsed.gids,
                };
                *held = Some(map);
            } else if let Some(list) = option.strip_prefix("lowerdir=") {
                parsed.lowers = list.split(':').map(PathBuf::from).collect();
            } else {
                parsed.data.push(option.clone());
            }
        }
        // One without the other would leave the other kind of ids as they are on the disk.
        if parsed.uids.is_some() != parsed.gids.is_some() {
            let given = all.iter().find(|option| id_map(option).is_some());
            return Err(given.map_or("uidmap=", String::as_str));
        }
        Ok(parsed)
    }

    /// What the filesystem reads, with `lowers` for its lower directories.
    pub(super) fn data_with(&self, lowers: &[PathBuf]) -> String {
        let mut data = self.data.clone();
        if !lowers.is_empty() {
            let list: Vec<_> = lowers.iter().map(|path| path.to_string_lossy()).collect();
            data.push(format!("lowerdir={}", list.join(":")));
        }
        data.join(",")
    }

    /// Attributes to be set on this mount and all below it. A recursive bind mount brings its
    /// submounts along, and `mount(2)` would apply the flags to the topmost alone.
    pub(super) fn attributes_below(&self) -> u64 {
        let flags = [
            (MsFlags::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
            (MsFlags::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
            (MsFlags::MS_NODEV, libc::MOUNT_ATTR_NODEV),
            (MsFlags::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        ];
        let plain = flags
            .iter()
            .filter(|(flag, _)| self.flags.contains(BIND.union(*flag)))
            .fold(0, |all, (_, attribute)| all | attribute);
        self.recursive | plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Options::parse(&words).map_err(str::to_owned)
    }

    #[test]
    fn separates_flags_from_filesystem_options() {
        let parsed = parse(&["ro", "lowerdir=/a:/b", "nosuid", "index=off"]).unwrap();
        assert_eq!(parsed.flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert_eq!(parsed.lowers, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(parsed.data_with(&parsed.lowers), "index=off,lowerdir=/a:/b");
        assert_eq!(parsed.data_with(&[]), "index=off");
    }

    #[test]
    fn lets_a_later_option_take_back_an_earlier_one() {
        assert_eq!(parse(&["ro", "rw"]).unwrap().flags, MsFlags::empty());
        assert_eq!(parse(&["rw", "ro"]).unwrap().flags, MsFlags::MS_RDONLY);
        assert_eq!(parse(&["rro", "rrw"]).unwrap().recursive, 0);
    }

    #[test]
    fn flags_of_a_recursive_bind_hold_below_it_too() {
        let below = |words: &[&str]| parse(words).unwrap().attributes_below();
        assert_eq!(below(&["rbind", "ro"]), libc::MOUNT_ATTR_RDONLY);
        assert_eq!(below(&["bind", "ro"]), 0);
        assert_eq!(below(&["bind", "rro"]), libc::MOUNT_ATTR_RDONLY);
        assert_eq!(
            below(&["rbind", "nodev", "rnosuid"]),
            libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID
        );
    }

    #[test]
    fn refuses_what_would_silently_mean_less() {
        for bad in [
            &["uidmap=0:100000:65536"][..],
            &["gidmap=0:100000:65536"],
            &["uidmap=0:100000", "gidmap=0:100000:65536"],
            &["uidmap=", "gidmap="],
        ] {
            assert_eq!(parse(bad).unwrap_err(), bad[0]);
        }
        let good = parse(&["uidmap=0:100000:65536", "gidmap=0:200000:65536"]).unwrap();
        assert!(good.uids != good.gids && good.data.is_empty());
    }
}
