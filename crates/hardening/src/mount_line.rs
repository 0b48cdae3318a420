//! A line of a mount table.

use std::str;

/// A line of `/proc/PID/mountinfo`.
///
/// # Source
///
/// `proc_pid_mountinfo(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// Number of the mount.
    pub id: u64,
    /// `major:minor` of the file system.
    pub device: &'a str,
    /// What of the file system is shown, escaped.
    root: &'a [u8],
    /// Its place, escaped.
    point: &'a [u8],
    /// What it does not allow by itself, `rw,nosuid`.
    pub options: &'a str,
    /// True if its events travel to other namespaces.
    pub shared: bool,
    /// Type of its file system.
    pub file_system: &'a str,
    /// Options of the file system, with what it does not allow wherever it is mounted.
    pub super_options: &'a str,
}

// === impl MountLine ===

impl<'a> MountLine<'a> {
    /// Reads `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda1 rw`; `None` if it is
    /// another text.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut text = || str::from_utf8(fields.next()?).ok();
        let id = text()?.parse().ok()?;
        let _parent: u64 = text()?.parse().ok()?;
        let device = text()?;
        let (root, point) = (fields.next()?, fields.next()?);
        let options = str::from_utf8(fields.next()?).ok()?;
        let mut shared = false;
        loop {
            match fields.next()? {
                b"-" => break,
                optional => shared |= optional.starts_with(b"shared:"),
            }
        }
        let file_system = str::from_utf8(fields.next()?).ok()?;
        let _source = fields.next()?;
        let super_options = str::from_utf8(fields.next()?).ok()?;
        device.contains(':').then_some(Self {
            id,
            device,
            root,
            point,
            options,
            shared,
            file_system,
            super_options,
        })
    }

    /// What of the file system is shown. No path for a file of a namespace, `mnt:[4026531840]`.
    #[must_use]
    pub fn root(&self) -> Option<Vec<u8>> {
        unescaped(self.root)
    }

    /// Its place, an absolute path.
    #[must_use]
    pub fn point(&self) -> Option<Vec<u8>> {
        unescaped(self.point).filter(|point| point.starts_with(b"/"))
    }
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            path.push(*byte);
            continue;
        }
        let mut code = 0_u8;
        for _ in 0..3 {
            let digit = bytes.next()?.checked_sub(b'0').filter(|it| *it < 8)?;
            code = code.checked_mul(8)?.checked_add(digit)?;
        }
        path.push(code);
    }
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::MountLine;

    #[test]
    fn reads_each_field() {
        let line =
            b"36 35 98:0 /a\\040b /mnt/\\134x rw,nosuid shared:1 master:2 - ext4 /dev/sda1 ro";
        let read = MountLine::parse(line).unwrap();
        assert_eq!((read.id, read.device), (36, "98:0"));
        assert_eq!(read.root().unwrap(), b"/a b");
        assert_eq!(read.point().unwrap(), b"/mnt/\\x");
        assert_eq!((read.options, read.super_options), ("rw,nosuid", "ro"));
        assert_eq!((read.file_system, read.shared), ("ext4", true));
        let own = MountLine::parse(b"36 35 98:0 / / rw master:2 - ext4 /dev/sda1 ro").unwrap();
        assert!(!own.shared);
    }

    #[test]
    fn a_line_that_is_cut_anywhere_is_none() {
        let line = b"36 35 98:0 / /mnt rw - ext4 /dev/sda1 rw";
        for end in 0..line.len() - "rw".len() {
            assert_eq!(MountLine::parse(&line[..end]), None, "{end}");
        }
        for broken in ["/a\\04", "/a\\999", "relative"] {
            let line = format!("36 35 98:0 / {broken} rw - ext4 x rw");
            let read = MountLine::parse(line.as_bytes()).unwrap();
            assert_eq!(read.point(), None, "{broken}");
        }
    }
}
