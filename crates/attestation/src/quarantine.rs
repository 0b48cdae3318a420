//! The mark of a quarantined host: a PCR that was extended once more by a digest everybody knows.
//!
//! A PCR cannot be taken back before the TPM is reset, so the mark outlives gate and agent, and
//! ends with a reboot. The registers with which it works are those that no program can reset.

use crate::hashing;
use crate::pcr::{HashAlg, PcrIndex, PcrSelection};

/// What the TPM hashes into every bank of the register (`TPM2_PCR_Event`).
pub const EVENT: &[u8] = b"portcullis-quarantine-v1";

/// The last register of the static root of trust; from 16 on programs may reset or not extend.
///
/// # Source
///
/// TCG PC Client Platform TPM Profile, "PCR Initial and Reset Values".
const LAST: u8 = 15;
/// The kernel's own measurements; extended all the time, so a mark there drowns at once.
const IMA: u8 = 10;
/// A mark that was set again and again still counts.
const REPEATS: usize = 8;

/// The register that marks a host whose verdicts cover `selection`: the last one that fits.
///
/// `None` if none does; then a mark would be seen by nobody, or could be taken off.
#[must_use]
pub fn register(selection: PcrSelection) -> Option<PcrIndex> {
    selection
        .iter()
        .filter(|pcr| pcr.get() <= LAST && pcr.get() != IMA)
        .last()
}

/// The digest by which the register is extended in `bank`; `None` for SHA-1.
#[must_use]
pub fn digest(bank: HashAlg) -> Option<Vec<u8>> {
    hashing::digest(bank, &[EVENT]).filter(|_| bank != HashAlg::Sha1)
}

/// Whether a register that held `before` holds `now` because it was marked, and for nothing else.
#[must_use]
pub fn is_marked(bank: HashAlg, before: &[u8], now: &[u8]) -> bool {
    let Some(mark) = digest(bank) else {
        return false;
    };
    let mut value = before.to_vec();
    (0..REPEATS).any(|_| match hashing::digest(bank, &[&value, &mark]) {
        Some(extended) => {
            value = extended;
            value == now
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(indices: &[u8]) -> PcrSelection {
        let pcrs = indices.iter().filter_map(|index| PcrIndex::new(*index));
        PcrSelection::new(HashAlg::Sha256, pcrs)
    }

    #[test]
    fn the_last_register_that_cannot_be_reset_is_marked() {
        for (indices, expected) in [
            (&[0, 1, 2, 3, 4, 5, 7, 9, 11, 14][..], Some(14)),
            (&[0, 7, 15, 16, 23], Some(15)),
            (&[0, 7, 10], Some(7)),
            (&[10], None),
            (&[16, 17, 23], None),
            (&[], None),
        ] {
            let register = register(selection(indices)).map(PcrIndex::get);
            assert_eq!(register, expected, "{indices:?}");
        }
    }

    #[test]
    fn a_mark_is_told_from_any_other_change() {
        for bank in [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512] {
            let before = vec![3; bank.digest_bytes()];
            let mark = digest(bank).expect("a digest");
            let once = hashing::digest(bank, &[&before, &mark]).expect("a digest");
            let twice = hashing::digest(bank, &[&once, &mark]).expect("a digest");
            assert!(is_marked(bank, &before, &once) && is_marked(bank, &before, &twice));
            assert!(!is_marked(bank, &before, &before));
            let other = hashing::digest(bank, &[&before, &before]).expect("a digest");
            assert!(!is_marked(bank, &before, &other));
            let drifted = hashing::digest(bank, &[&other, &mark]).expect("a digest");
            assert!(
                !is_marked(bank, &before, &drifted),
                "changed before it was marked"
            );
        }
        assert!(!is_marked(HashAlg::Sha1, &[0; 20], &[0; 20]));
    }
}
