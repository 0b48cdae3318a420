//! A file behind a block device.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::errand::Failed;
use crate::sys;

/// How often a device that was free may turn out to be somebody else's.
const ATTEMPTS: usize = 100;

/// `LO_FLAGS_READ_ONLY`, `LO_FLAGS_AUTOCLEAR`, `LO_FLAGS_DIRECT_IO` of `linux/loop.h`.
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// A loop device, which is free again as soon as it is neither open nor mounted.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: PathBuf,
    _device: File,
}

// === impl LoopDevice ===

impl LoopDevice {
    /// Puts the regular file at `source` behind a device. Links are not followed.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub(super) fn attach(source: &str, read_only: bool, direct_io: bool) -> Result<Self, Failed> {
        let failed = |source: io::Error| Failed {
            step: "set up a loop device".to_owned(),
            source,
        };
        let backing = open(source, read_only).map_err(failed)?;
        let flag = |wanted, flag| if wanted { flag } else { 0 };
        let flags = AUTOCLEAR | flag(read_only, READ_ONLY) | flag(direct_io, DIRECT_IO);
        let control = open("/dev/loop-control", false).map_err(failed)?;
        for _ in 0..ATTEMPTS {
            let number = sys::free_loop_device(control.as_fd()).map_err(|it| failed(it.into()))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = File::options()
                .read(true)
                .write(!read_only)
                .custom_flags(libc::O_CLOEXEC)
                .open(&path)
                .map_err(failed)?;
            match sys::configure_loop_device(device.as_fd(), backing.as_fd(), flags) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        _device: device,
                    });
                }
                // Another process was faster.
                Err(Errno::EBUSY) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Err(failed(Errno::EBUSY.into()))
    }

    /// Its path.
    pub(super) fn path(&self) -> &str {
        // Made of ASCII above.
        self.path.to_str().unwrap_or_default()
    }
}

fn open(path: &str, read_only: bool) -> io::Result<File> {
    File::options()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}
