//! All sessions of a software TPM in one hand.

use std::io;

use crate::failure::{Doing, Failure, Outcome};
use crate::swtpm::{Swtpm, plain};

/// TPM_CC_StartAuthSession.
const START: u32 = 0x0000_0176;
/// TPM_CC_FlushContext.
const FLUSH: u32 = 0x0000_0165;
/// TPM_RC_SESSION_MEMORY: no room for another loaded session.
const NO_ROOM: u32 = 0x0000_0903;
/// More than any TPM holds at once.
const LIMIT: usize = 64;

/// Sessions that nobody else can have until they are given back.
#[derive(Debug)]
#[must_use]
pub struct HeldSessions {
    handles: Vec<[u8; 4]>,
}

// === impl HeldSessions ===

impl HeldSessions {
    /// Opens policy sessions until the TPM has room for no more.
    ///
    /// # Errors
    ///
    /// When the TPM cannot be reached, or refuses for another reason than want of room.
    pub fn take_all(tpm: &Swtpm) -> Outcome<Self> {
        let mut handles = Vec::new();
        while handles.len() < LIMIT {
            let answer = tpm.answer(&start()).doing("open a session")?;
            let word = |at: usize| answer.get(at..)?.first_chunk::<4>().copied();
            let code = word(6).map(u32::from_be_bytes);
            match (code, word(10)) {
                (Some(0), Some(handle)) => handles.push(handle),
                (Some(NO_ROOM), _) => return Ok(Self { handles }),
                _ => return Err(Failure::new(format!("the TPM answers {answer:02x?}"))),
            }
        }
        Err(Failure::new(format!("the TPM gave {LIMIT} sessions")))
    }

    /// Ends them all.
    ///
    /// # Errors
    ///
    /// When the TPM cannot be reached.
    pub fn give_back(self, tpm: &Swtpm) -> Outcome {
        let ended: io::Result<Vec<_>> = (self.handles.iter())
            .map(|handle| tpm.command(&plain(FLUSH, handle)))
            .collect();
        ended.doing("end a session").map(drop)
    }
}

/// An unbound, unsalted policy session over SHA-256, without parameter encryption.
fn start() -> Vec<u8> {
    const NULL: [u8; 4] = 0x4000_0007_u32.to_be_bytes();
    let mut body = [NULL, NULL].concat();
    body.extend([0, 16]);
    body.extend([0x5a; 16]); // the caller's nonce
    body.extend([0, 0]); // no salt
    body.push(1); // TPM_SE_POLICY
    body.extend([0, 0x10]); // TPM_ALG_NULL
    body.extend([0, 0x0b]); // TPM_ALG_SHA256
    plain(START, &body)
}
