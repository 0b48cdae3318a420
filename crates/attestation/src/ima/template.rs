//! Templates: what stands in an entry of the IMA list.

use crate::little_endian::{Cursor, TooShort};

/// The template of the first kernels with IMA: a SHA-1 digest and a short name, without sizes.
pub(super) const OLDEST: &[u8] = b"ima";
/// Templates that begin with the file's digest and name. Others may follow these with fields.
const KNOWN: [&[u8]; 7] = [
    b"ima-ng",
    b"ima-sig",
    b"ima-ngv2",
    b"ima-sigv2",
    b"ima-modsig",
    b"ima-buf",
    b"evm-sig",
];
/// The oldest template hashes names as long as this, filled up with zeros.
const PADDED: [u8; 256] = [0; 256];
/// Size of a SHA-1 digest in bytes.
const SHA1_BYTES: usize = 20;

/// A file as it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredFile<'a> {
    /// The hash algorithm, by the kernel's name, such as `sha256`.
    pub algorithm: &'a str,
    /// The hash of the contents.
    pub digest: &'a [u8],
    /// The path, or what the kernel measured that is no file, such as `boot_aggregate`. Any bytes
    /// but NUL.
    pub path: &'a [u8],
}

/// Reads template data; `None` if the template is not known, or says no file.
pub(super) fn file<'a>(template: &[u8], data: &'a [u8]) -> Option<MeasuredFile<'a>> {
    if !KNOWN.contains(&template) {
        return None;
    }
    let mut cursor = Cursor::new(data);
    let digest = cursor.sized("digest").ok()?;
    let path = cursor.sized("name").ok()?;
    let colon = digest.windows(2).position(|pair| pair == b":\0")?;
    let (algorithm, digest) = digest.split_at_checked(colon)?;
    let algorithm = str::from_utf8(algorithm).ok()?;
    // Later templates say the type of the digest first: 'ima:sha256', 'verity:sha256'.
    let algorithm = algorithm.strip_prefix("ima:").unwrap_or(algorithm);
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    Some(MeasuredFile {
        algorithm,
        digest: digest.get(2..)?,
        path,
    })
    .filter(|file| !file.path.contains(&0))
}

/// Reads the data of the oldest template, which has no size of its own.
pub(super) fn oldest<'a>(cursor: &mut Cursor<'a>) -> Result<MeasuredFile<'a>, TooShort> {
    let digest = cursor.bytes("digest", SHA1_BYTES)?;
    Ok(MeasuredFile {
        algorithm: "sha1",
        digest,
        path: cursor.sized("file name")?,
    })
}

/// What is hashed behind a name of the oldest template; `None` if the name is too long.
pub(super) fn padding(name: &[u8]) -> Option<&'static [u8]> {
    let rest = PADDED.len().checked_sub(name.len())?;
    PADDED.get(..rest).filter(|padding| !padding.is_empty())
}
