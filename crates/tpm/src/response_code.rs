//! What a TPM, or the resource manager before it, answers with.

use std::fmt;

use tpm2_protocol::data::{TpmRc, TpmRcBase};

/// A 32-bit response code.
///
/// Codes of the TPM itself fit into 12 bits; whoever stands in front of it marks its own codes in
/// the upper half (the kernel's resource manager with 0x000b, the TPM software stack with others).
///
/// # Source
///
/// TPM 2.0 Library, part 2, "TPM_RC"; TCG TSS 2.0 Overview, "Response codes".
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResponseCode(u32);

// === impl ResponseCode ===

impl ResponseCode {
    /// Success.
    pub const SUCCESS: Self = Self(0);

    /// Bits that tell which layer made the code; zero for the TPM.
    const LAYER: u32 = 0xffff_0000;
    /// The software stack could not reach the TPM (TCTI layer).
    const TCTI_LAYER: u32 = 0x000a_0000;

    /// The code as received.
    #[must_use]
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the same command may simply be sent again.
    pub(crate) fn asks_for_retry(self) -> bool {
        matches!(
            self.base(),
            Some(TpmRcBase::Retry | TpmRcBase::Yielded | TpmRcBase::Testing | TpmRcBase::NvRate)
        )
    }

    /// Whether the code comes from the way to the TPM and not from the TPM.
    pub(crate) const fn is_transport(self) -> bool {
        self.0 & Self::LAYER == Self::TCTI_LAYER
    }

    /// Whether the first handle of the command names nothing, as for an undefined NV index.
    pub(crate) fn is_unknown_handle(self) -> bool {
        self.base() == Some(TpmRcBase::Handle)
    }

    /// Whether an NV index gave nothing because it was never written, or because it does not let
    /// everybody read.
    pub(crate) fn is_nv_unreadable(self) -> bool {
        matches!(
            self.base(),
            Some(
                TpmRcBase::NvUninitialized
                    | TpmRcBase::NvLocked
                    | TpmRcBase::NvAuthorization
                    | TpmRcBase::AuthUnavailable
                    | TpmRcBase::AuthFail
                    | TpmRcBase::BadAuth
            )
        )
    }

    /// Whether an NV index is smaller than what was asked of it.
    pub(crate) fn is_nv_range(self) -> bool {
        self.base() == Some(TpmRcBase::NvRange)
    }

    /// Whether the policy of a key is not met: by the PCRs that the session asks for (PolicyPCR,
    /// PolicyAuthorize), or because a PCR changed since (Sign).
    pub(crate) fn is_policy_refusal(self, command: &str) -> bool {
        match self.base() {
            Some(TpmRcBase::PolicyFail | TpmRcBase::PcrChanged) => true,
            Some(TpmRcBase::Value) => matches!(command, "PolicyPCR" | "PolicyAuthorize"),
            _ => false,
        }
    }

    /// Whether no session can be opened: no memory for one (TPM_RC_SESSION_MEMORY), or no handle
    /// (TPM_RC_SESSION_HANDLES).
    pub(crate) fn is_out_of_sessions(self) -> bool {
        matches!(
            self.base(),
            Some(TpmRcBase::SessionMemory | TpmRcBase::SessionHandles)
        )
    }

    fn base(self) -> Option<TpmRcBase> {
        TpmRc::try_from(self.0).map(|code| code.base()).ok()
    }
}

/// `0x00000922 TPM_RC_RETRY`; the number alone where there is no name for it.
impl fmt::Display for ResponseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "0x{:08x}", self.0)?;
        match TpmRc::try_from(self.0) {
            Ok(name) => write!(formatter, " {name}"),
            Err(_unnamed) => Ok(()),
        }
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ResponseCode({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_has_a_name() {
        assert_eq!(
            ResponseCode::new(0x922).to_string(),
            "0x00000922 TPM_RC_RETRY"
        );
        assert_eq!(ResponseCode::new(0x000b_0143).to_string(), "0x000b0143");
    }

    #[test]
    fn tells_a_retry_from_a_failure() {
        for code in [0x922, 0x908, 0x90a, 0x920] {
            assert!(ResponseCode::new(code).asks_for_retry(), "{code:x}");
        }
        for code in [0x0, 0x101, 0x902, 0x18b, 0x000b_0922] {
            assert!(!ResponseCode::new(code).asks_for_retry(), "{code:x}");
        }
    }

    #[test]
    fn knows_an_undefined_index() {
        assert!(ResponseCode::new(0x18b).is_unknown_handle());
        assert!(!ResponseCode::new(0x14a).is_unknown_handle());
        for code in [0x14a, 0x148, 0x149, 0x12f, 0x98e, 0x9a2] {
            assert!(ResponseCode::new(code).is_nv_unreadable(), "{code:x}");
        }
        assert!(!ResponseCode::new(0x18b).is_nv_unreadable());
    }

    #[test]
    fn knows_a_policy_that_is_not_met() {
        for (code, command) in [
            (0x1c4, "PolicyPCR"),
            (0x1c4, "PolicyAuthorize"),
            (0x99d, "Sign"),
            (0x128, "Sign"),
        ] {
            assert!(
                ResponseCode::new(code).is_policy_refusal(command),
                "{code:x}"
            );
        }
        for (code, command) in [(0x1c4, "Sign"), (0x1df, "Load"), (0x2db, "VerifySignature")] {
            assert!(
                !ResponseCode::new(code).is_policy_refusal(command),
                "{code:x}"
            );
        }
    }

    #[test]
    fn knows_a_tpm_without_sessions() {
        for code in [0x903, 0x905] {
            assert!(ResponseCode::new(code).is_out_of_sessions(), "{code:x}");
        }
        // TPM_RC_OBJECT_MEMORY, TPM_RC_CONTEXT_GAP, and a number of another layer.
        for code in [0x902, 0x901, 0x000b_0903] {
            assert!(!ResponseCode::new(code).is_out_of_sessions(), "{code:x}");
        }
    }

    #[test]
    fn tells_the_way_from_the_tpm() {
        assert!(ResponseCode::new(0x000a_000a).is_transport());
        assert!(!ResponseCode::new(0x0007_000a).is_transport());
        assert!(!ResponseCode::new(0x0000_000a).is_transport());
    }
}
