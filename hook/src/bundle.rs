//! The configuration in the bundle, opened once.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use portcullis_gate::{Code, Refusal, Refusals, quote};
use portcullis_hardening::OciConfig;

/// Name of the configuration in a bundle.
const CONFIG: &str = "config.json";

/// One byte more than hardening accepts, so that its own refusal names the limit.
const LIMIT_BYTES: u64 = 10 * 1024 * 1024 + 1;

/// A configuration and the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// The bytes on disk.
    pub(crate) bytes: Vec<u8>,
    /// What they say.
    pub(crate) config: OciConfig,
}

// === impl Bundle ===

impl Bundle {
    /// Reads `config.json` in `directory`. A link in its place is not followed, and a FIFO does not
    /// hold us.
    pub(crate) fn read(directory: &Path) -> Result<Self, Refusals> {
        let path = directory.join(CONFIG);
        let bytes = read(&path).map_err(|error| {
            let subject = quote(&path.display().to_string());
            let expected = "a regular file that can be read";
            Refusal::new(
                Code::OciConfigMalformed,
                subject,
                expected,
                quote(&error.to_string()),
            )
        })?;
        let config = OciConfig::parse(&bytes)?;
        Ok(Self { bytes, config })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let length = metadata.len().min(LIMIT_BYTES) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(directory: &Path) -> Code {
        Bundle::read(directory).unwrap_err().first().code
    }

    #[test]
    fn refuses_what_is_not_a_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(CONFIG);
        assert_eq!(code(directory.path()), Code::OciConfigMalformed);
        std::os::unix::fs::symlink("/proc/self/environ", &path).unwrap();
        assert_eq!(code(directory.path()), Code::OciConfigMalformed);
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refusals = Bundle::read(directory.path()).unwrap_err();
        assert_eq!(refusals.first().found, "'not a regular file'");
    }

    #[test]
    fn refuses_a_configuration_that_two_readers_read_differently() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"ociVersion":"1.0.2","process":{},"Process":{}}"#;
        std::fs::write(directory.path().join(CONFIG), text).unwrap();
        assert_eq!(code(directory.path()), Code::OciConfigMalformed);
    }
}
