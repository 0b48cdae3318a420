//! Which break-glass tokens were used, kept across boots for all relying parties, where the agent
//! cannot reach.
//!
//! A token is *bound* by its first use to one pod sandbox, or to one container where there is no pod;
//! each container of the sandbox is started once on the strength of it. Each of these is a file
//! that can be made once: it is written beside its place, and linked there. Nobody sees half of
//! one, of many at once one is first, and it is on the disk before anything starts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_attestation::break_glass::TokenId;
use portcullis_attestation::hex;
use sha2::{Digest as _, Sha256};

use crate::error::HostError;
use crate::kept;
use crate::trusted_file::read_trusted_file;

/// Where claims are, in the directory of relying parties.
const FOLDER: &str = "break-glass";
/// First word of a claim, and its version.
const MAGIC: &str = "portcullis-claim 1";
/// A claim is about 100 bytes; ids of sandboxes are 64.
const LIMIT_BYTES: u64 = 1024;
/// How long after the end of its token a claim is kept: longer than any clock is set back.
const KEPT_S: u64 = 30 * 24 * 3600;
/// Beginning of the names of claims that are being written.
const UNFINISHED: &str = ".new.";

/// Claims that this process has begun to write.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Who uses a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User<'a> {
    /// A container of a pod.
    Pod {
        /// Id of its sandbox.
        sandbox: &'a str,
        /// The container's name in the pod; empty for the sandbox itself.
        container: &'a str,
    },
    /// A container without a pod, by its id.
    Container(&'a str),
}

/// Uses the token `id`, which ends at `expires_s`: once.
///
/// `directory` is that of relying parties, made if it is not there. `Ok(Some(_))` says who has
/// used it before; it is not used then.
///
/// # Errors
///
/// [`HostError`]: nobody can tell, or it is not on the disk, so it does not count.
pub fn claim(
    directory: &Path,
    id: &TokenId,
    expires_s: u64,
    user: User<'_>,
) -> Result<Option<String>, HostError> {
    drop(kept::open(directory)?);
    let folder = directory.join(FOLDER);
    let opened = kept::open(&folder)?;
    let binding = user.binding();
    let path = folder.join(id.as_str());
    let text = format!("{MAGIC} {expires_s}\n{binding}\n");
    let is_first = make_once(&folder, &path, &text)?;
    if !is_first {
        let bound_to = binding_at(&path)?;
        // A second container of the same sandbox is in time; one of a name that was there is not.
        if bound_to != binding || matches!(user, User::Container(_)) {
            return Ok(Some(bound_to));
        }
    }
    if let User::Pod { container, .. } = user {
        let path = folder.join(name_of_use(id, container));
        if !make_once(&folder, &path, &text)? {
            return Ok(Some(format!("this container in {binding}")));
        }
    }
    let written = |cause| HostError::Write {
        path: folder.clone(),
        cause,
    };
    opened.sync_all().map_err(written)?;
    // The folder itself, which this may have been the first to need.
    let sync = File::open(directory).and_then(|directory| directory.sync_all());
    sync.map_err(written)?;
    Ok(None)
}

/// Who has used the token `id`; none if nobody has.
///
/// # Errors
///
/// [`HostError`].
pub fn claimed_by(directory: &Path, id: &TokenId) -> Result<Option<String>, HostError> {
    match binding_at(&directory.join(FOLDER).join(id.as_str())) {
        Ok(binding) => Ok(Some(binding)),
        Err(HostError::Open { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes claims of tokens that ended a month before `now_s`: those are refused for their age.
/// What cannot be removed stays, and does no harm.
pub fn forget_claims(directory: &Path, now_s: u64) {
    let Ok(entries) = fs::read_dir(directory.join(FOLDER)) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_over = match read_claim(&path) {
            Ok((expires_s, _)) => expires_s.saturating_add(KEPT_S) < now_s,
            Err(_) => false,
        };
        if is_over {
            let _stays = fs::remove_file(&path);
        }
    }
}

/// Another container of one sandbox. Names are those of Kubernetes, but nothing depends on it.
fn name_of_use(id: &TokenId, container: &str) -> String {
    let digest = Sha256::digest(container.as_bytes());
    let digits = hex::encode(digest.get(..16).unwrap_or_default());
    format!("{}.{digits}", id.as_str())
}

/// Whether the claim at `path` was made by this call.
fn make_once(folder: &Path, path: &Path, text: &str) -> Result<bool, HostError> {
    let number = BEGUN.fetch_add(1, Ordering::Relaxed);
    let unfinished = folder.join(format!("{UNFINISHED}{}.{number}", process::id()));
    let made = write(&unfinished, text).and_then(|()| fs::hard_link(&unfinished, path));
    let removed = fs::remove_file(&unfinished);
    match made.and(removed) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.exists() => Ok(false),
        Err(cause) => Err(HostError::Write {
            path: path.into(),
            cause,
        }),
    }
}

fn write(path: &PathBuf, text: &str) -> io::Result<()> {
    // Of a process of the same number that was killed in the middle of this.
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn binding_at(path: &Path) -> Result<String, HostError> {
    read_claim(path).map(|(_, binding)| binding)
}

fn read_claim(path: &Path) -> Result<(u64, String), HostError> {
    let bytes = read_trusted_file(path, LIMIT_BYTES)?;
    let text = std::str::from_utf8(&bytes).ok();
    text.and_then(parse).ok_or_else(|| HostError::Untrusted {
        path: path.into(),
        expected: "a claim of a break-glass token",
        found: "something else".to_owned(),
    })
}

fn parse(text: &str) -> Option<(u64, String)> {
    let (head, binding) = text.strip_suffix('\n')?.split_once('\n')?;
    let expires_s = head.strip_prefix(MAGIC)?.strip_prefix(' ')?.parse().ok()?;
    (!binding.is_empty()).then(|| (expires_s, binding.to_owned()))
}

// === impl User ===

impl User<'_> {
    fn binding(self) -> String {
        match self {
            Self::Pod { sandbox, .. } => format!("pod sandbox {sandbox}"),
            Self::Container(id) => format!("container {id}"),
        }
        // Ids come from outside; a line is a line.
        .escape_debug()
        .take(256)
        .collect()
    }
}

#[cfg(test)]
mod tests;
