//! What holds where the files say nothing. The shipped `portcullis.toml` shows the same values; a
//! test compares them.

use std::time::Duration;

use portcullis_attestation::latch::LatchRule;
use portcullis_attestation::pcr::HashAlg;
use portcullis_attestation::trust::Claim;

use crate::config::{ExecGate, KeyPolicy, Mode, OnDriftPods, SignedPolicies};

pub(crate) const MODE: Mode = Mode::Enforce;

pub(crate) const MAX_VERDICT_AGE: Duration = Duration::from_mins(10);
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(5);
pub(crate) const SNAPSHOT_DEADLINE: Duration = Duration::from_millis(1500);
pub(crate) const LATCH: LatchRule = LatchRule::UntilCleared;
pub(crate) const REQUIRED: [Claim; 2] = [Claim::Executables, Claim::Hardware];

/// Not every TPM has room for the NV index, and a node must not stop for want of a second witness.
pub(crate) const BOOT_FUSE: bool = false;

pub(crate) const PROFILE: &str = "restricted";
pub(crate) const PROFILE_ORDER: [&str; 3] = ["baseline", "restricted", "strict"];

pub(crate) const EXEC_ALLOW: bool = true;
pub(crate) const EXEC_GATE: ExecGate = ExecGate::Full;

/// Another kernel than the one that was measured.
pub(crate) const FLOOR_CALLS: [&str; 2] = ["kexec_file_load", "kexec_load"];
/// Large parts of the kernel that containers have no use for: its cryptography, and its hypervisor.
pub(crate) const FLOOR_FAMILIES: [&str; 2] = ["AF_ALG", "AF_VSOCK"];

pub(crate) const RUNTIME_BINARY: &str = "runc";
pub(crate) const RUNTIME_ROOT: &str = "/run/containerd/runc";
pub(crate) const RUNTIME_SYSTEMD_CGROUP: bool = false;

pub(crate) const HOOK_REQUIRE_HARDENED: bool = true;

/// The kernel's resource manager: it keeps several users of one TPM apart.
pub(crate) const TCTI: &str = "device:/dev/tpmrm0";
pub(crate) const ATTEST_INTERVAL: Duration = Duration::from_mins(5);
pub(crate) const VERDICT_LIFETIME: Duration = Duration::from_mins(10);
pub(crate) const PCR_BANK: HashAlg = HashAlg::Sha256;
/// Firmware and its settings (0 to 5), secure boot (7), kernel and initrd as boot loaders and
/// unified kernel images measure them (9, 11), the kernel's command line as GRUB (8) and systemd's
/// stub (12) do, and the machine owner's keys (14). Two `TPM2_PCR_Read` bring sixteen.
pub(crate) const PCRS: [u8; 12] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 14];
/// At most 96 writes of each NV cell a day.
pub(crate) const LEDGER_ANCHOR_INTERVAL: Duration = Duration::from_mins(15);
/// One reading of the TPM as a launch makes it, without a session; nothing in it wears out.
pub(crate) const DRIFT_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const ON_DRIFT_PODS: OnDriftPods = OnDriftPods::Leave;
pub(crate) const ISSUER: &str = "portcullis-agent";
pub(crate) const KEY_POLICY: KeyPolicy = KeyPolicy::ApprovedState;

pub(crate) const REFERENCE_SIGNATURES: usize = 1;

pub(crate) const REMOTE_VERDICT: &str = "/run/portcullis/remote.jwt";
pub(crate) const REMOTE_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) const POLICY_SIGNED: SignedPolicies = SignedPolicies::Optional;
/// A weekend: nobody has to be called for a bundle that was renewed too late.
pub(crate) const POLICY_GRACE: Duration = Duration::from_hours(72);

pub(crate) const BREAK_GLASS_ALLOW: bool = false;
pub(crate) const BREAK_GLASS_ALLOW_HOST_TRUST: bool = false;
pub(crate) const BREAK_GLASS_MAX_LIFETIME: Duration = Duration::from_hours(4);
