//! The one handle to the TPM.

mod anchor;
pub(crate) mod boot_fuse;

use portcullis_attestation::approval::Approval;
use portcullis_attestation::attest::SignedAttest;
use portcullis_attestation::clock::ClockInfo;
use portcullis_attestation::jwk::PublicKey;
use portcullis_attestation::key_policy::KeyPolicy;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection, PcrValues};
use portcullis_attestation::tag::NV_INDEX;
use portcullis_attestation::tag::slot::{self, COUNTER_ATTRIBUTES, COUNTER_INDEX};
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::ueid::Ueid;
use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::{TpmCap, TpmuCapabilities};
use tpm2_protocol::frame::{TpmGetCapabilityCommand, TpmGetCapabilityResponse};
use tss_esapi::utils::TpmsContext;

use crate::attestation_key::{self, WireKey};
use crate::deadline::Deadline;
use crate::error::TpmError;
use crate::library::{Identity, Library};
use crate::nv::{self, NvSlot};
use crate::reading::{self, Reading};
use crate::signing_key::{self, KeyBlob};
use crate::sys;
use crate::tag_slot::{self, TagWrite};
use crate::tcti::Tcti;
use crate::wire::{Command, Repeat, Wire};

pub use anchor::AnchorState;

/// The lowest handle of a loaded object.
const FIRST_TRANSIENT: u32 = 0x8000_0000;
/// More loaded objects than any TPM has room for.
const TRANSIENT_LIMIT: u32 = 64;

/// A TPM, and the rule that only one way to it is open at a time.
///
/// Nothing is opened before it is needed. Methods that take a [`Deadline`] keep it on the wire
/// path; the library path has none of its own, so each such method first makes sure on the wire
/// that the TPM answers. Errors of kind [`crate::Failure::Timeout`] and
/// [`crate::Failure::Unreachable`] are worth a retry with the same value of this type.
#[derive(Debug)]
pub struct Tpm {
    tcti: Tcti,
    wire: Wire,
    wire_key: WireKey,
    quote_key: Option<TpmsContext>,
    signing_key: Option<(KeyBlob, TpmsContext)>,
    /// When the contexts above were saved; a reset since then makes them worthless.
    boot: Option<ClockInfo>,
}

// === impl Tpm ===

impl Tpm {
    /// A TPM that is not connected yet.
    #[must_use]
    pub fn new(tcti: Tcti) -> Self {
        Self {
            wire: Wire::new(tcti.clone()),
            tcti,
            wire_key: WireKey::default(),
            quote_key: None,
            signing_key: None,
            boot: None,
        }
    }

    /// The TCTI.
    #[must_use]
    pub const fn tcti(&self) -> &Tcti {
        &self.tcti
    }

    /// Loads what the library path would load at its first use. A process that may not map further
    /// code, nor read where libraries are, can use the library path all the same after this.
    ///
    /// # Errors
    ///
    /// [`TpmError::Load`] if the library is not installed.
    pub fn preload(&self) -> Result<(), TpmError> {
        let library = self.tcti.library();
        sys::keep_loaded(library).map_err(|reason| TpmError::Load {
            library: library.to_string_lossy().into_owned(),
            reason: reason.to_string_lossy().into_owned(),
        })
    }

    /// Hangs up, so that another program can use a TPM that serves one client at a time.
    pub fn release(&mut self) {
        self.wire.close();
    }

    /// Reads clock, PCRs and the tag's NV index: what a launch asks for. No session, no key.
    ///
    /// # Errors
    ///
    /// Every kind of [`TpmError`] except those of keys.
    pub fn read(
        &mut self,
        selection: PcrSelection,
        deadline: &Deadline,
    ) -> Result<Reading, TpmError> {
        reading::read(&mut self.wire, selection, NV_INDEX, deadline)
    }

    /// Reads clock and boot counters.
    ///
    /// # Errors
    ///
    /// If the TPM cannot be reached or asked in time.
    pub fn clock(&mut self, deadline: &Deadline) -> Result<ClockInfo, TpmError> {
        reading::clock(&mut self.wire, deadline)
    }

    /// Reads PCRs, all of one moment.
    ///
    /// # Errors
    ///
    /// [`TpmError::ReadPcr`] if the bank is not active, [`TpmError::ReadPcrsAtOnce`] if PCRs keep
    /// changing, and the failures of the way to the TPM.
    pub fn pcrs(
        &mut self,
        selection: PcrSelection,
        deadline: &Deadline,
    ) -> Result<PcrValues, TpmError> {
        reading::pcrs(&mut self.wire, selection, deadline)
    }

    /// Reads the tag's NV index; `None` if it is not defined.
    ///
    /// # Errors
    ///
    /// If the index may not be read with the empty password, or the TPM cannot be reached.
    pub fn tag(&mut self, deadline: &Deadline) -> Result<Option<NvSlot>, TpmError> {
        nv::read(&mut self.wire, NV_INDEX, deadline)
    }

    /// Extends one PCR. Not repeated if the connection breaks under it.
    ///
    /// # Errors
    ///
    /// If `digest` is not as long as the bank's digest, or the TPM refuses.
    pub fn extend(
        &mut self,
        pcr: PcrIndex,
        bank: HashAlg,
        digest: &[u8],
        deadline: &Deadline,
    ) -> Result<(), TpmError> {
        reading::extend(&mut self.wire, pcr, bank, digest, deadline)
    }

    /// Extends one PCR by the hash of `data` in every bank. Not repeated if the connection breaks
    /// under it.
    ///
    /// # Errors
    ///
    /// If `data` is longer than 1024 bytes, or the TPM refuses.
    pub fn measure(
        &mut self,
        pcr: PcrIndex,
        data: &[u8],
        deadline: &Deadline,
    ) -> Result<(), TpmError> {
        reading::event(&mut self.wire, pcr, data, deadline)
    }

    /// Makes EK and AK and tells who this TPM is.
    ///
    /// # Errors
    ///
    /// If the endorsement hierarchy has a password, or the TPM cannot be reached.
    pub fn identity(&mut self, deadline: &Deadline) -> Result<Identity, TpmError> {
        self.library(deadline)?.identity()
    }

    /// Has the AK sign the values of `selection` and `qualifying_data` (at most 64 bytes).
    ///
    /// # Errors
    ///
    /// As [`Tpm::identity`].
    pub fn quote(
        &mut self,
        selection: PcrSelection,
        qualifying_data: &[u8],
        deadline: &Deadline,
    ) -> Result<SignedAttest, TpmError> {
        let mut library = self.library(deadline)?;
        library.quote(&mut self.quote_key, selection, qualifying_data)
    }

    /// Has the AK named `ak_name` sign the contents of an NV index of the tag and `qualifying_data`
    /// (at most 64 bytes).
    ///
    /// # Errors
    ///
    /// [`TpmError::RecogniseAttestationKey`] if this TPM makes another AK, and the failures of
    /// the way to the TPM. A missing or unwritten index is a [`TpmError::Run`].
    pub fn certify_tag(
        &mut self,
        slot: &NvSlot,
        ak_name: &TpmName,
        qualifying_data: &[u8],
        deadline: &Deadline,
    ) -> Result<SignedAttest, TpmError> {
        self.prepare(deadline)?;
        let nv = (slot.index, slot.public.size_bytes);
        self.wire_key
            .certify(&mut self.wire, ak_name, nv, qualifying_data, deadline)
    }

    /// Makes a new signing key, bound to `policy` if there is one.
    ///
    /// # Errors
    ///
    /// If the owner hierarchy has a password, or the TPM cannot be reached.
    pub fn create_signing_key(
        &mut self,
        policy: Option<&KeyPolicy>,
        deadline: &Deadline,
    ) -> Result<KeyBlob, TpmError> {
        signing_key::create(&mut self.library(deadline)?, policy)
    }

    /// Sees whether the TPM takes a signing key, whatever it asks for before it signs with it.
    ///
    /// # Errors
    ///
    /// [`TpmError::Run`] with TPM_RC_INTEGRITY if another TPM made the key or this one was
    /// cleared; and the failures of the way to the TPM.
    pub fn probe_signing_key(
        &mut self,
        key: &KeyBlob,
        deadline: &Deadline,
    ) -> Result<(), TpmError> {
        signing_key::probe(&mut self.library(deadline)?, key)
    }

    /// Signs a SHA-256 digest: ECDSA, r and s of 32 bytes each. A key that is bound needs the
    /// policy it is bound to, and an approval of the state that the PCRs are in.
    ///
    /// # Errors
    ///
    /// As [`Tpm::probe_signing_key`]; [`TpmError::is_withheld`] if the PCRs are not in the state
    /// that was approved.
    pub fn sign(
        &mut self,
        key: &KeyBlob,
        digest: [u8; 32],
        approval: Option<(&KeyPolicy, &Approval)>,
        deadline: &Deadline,
    ) -> Result<[u8; 64], TpmError> {
        let mut library = self.library(deadline)?;
        let mut saved = self
            .signing_key
            .take()
            .filter(|(of, _)| of == key)
            .map(|(_, context)| context);
        let signature = signing_key::sign(&mut library, &mut saved, key, digest, approval);
        self.signing_key = saved.map(|context| (key.clone(), context));
        signature
    }

    /// Reads the tag counter's NV index; `None` if it is not defined.
    ///
    /// # Errors
    ///
    /// If the TPM cannot be reached or asked in time.
    pub fn tag_counter(&mut self, deadline: &Deadline) -> Result<Option<NvSlot>, TpmError> {
        nv::read(&mut self.wire, COUNTER_INDEX, deadline)
    }

    /// Reads the tag counter's NV index after having made sure that it counts: it is defined, anew
    /// if it is another sort of index, and counted once.
    ///
    /// # Errors
    ///
    /// If the owner hierarchy has a password and the index must be made, or the TPM cannot be
    /// reached.
    pub fn start_tag_counter(&mut self, deadline: &Deadline) -> Result<NvSlot, TpmError> {
        let current = self.tag_counter(deadline)?;
        if let Some(slot) = current
            .as_ref()
            .filter(|it| slot::is_counter(it.public.name()))
        {
            return Ok(slot.clone());
        }
        let mut library = self.library(deadline)?;
        // One that is ours and was never counted is left as it is.
        let attributes = current.as_ref().map(|slot| slot.public.attributes);
        if attributes != Some(COUNTER_ATTRIBUTES) {
            if current.is_some() {
                tag_slot::undefine(&mut library, COUNTER_INDEX)?;
            }
            tag_slot::define_counter(&mut library)?;
        }
        tag_slot::count(&mut library)?;
        drop(library);
        self.counted(deadline)
    }

    /// Counts the tag counter on by one: the tag in the slot is then no longer the latest.
    ///
    /// # Errors
    ///
    /// If the counter is not defined, or the TPM cannot be reached.
    pub fn count_tag(&mut self, deadline: &Deadline) -> Result<NvSlot, TpmError> {
        tag_slot::count(&mut self.library(deadline)?)?;
        self.counted(deadline)
    }

    fn counted(&mut self, deadline: &Deadline) -> Result<NvSlot, TpmError> {
        self.tag_counter(deadline)?
            .filter(|it| slot::is_counter(it.public.name()))
            .ok_or_else(|| TpmError::Decode {
                command: "NV_ReadPublic",
                reason: "an index other than the counter just made".to_owned(),
            })
    }

    /// Makes sure that the tag's NV index is one that only `authority` can write. An index of
    /// another sort is removed, and what it held is gone.
    ///
    /// # Errors
    ///
    /// If the owner hierarchy has a password and the index must be made, or the TPM cannot be
    /// reached.
    pub fn define_tag(
        &mut self,
        authority: &PublicKey,
        subject: &Ueid,
        deadline: &Deadline,
    ) -> Result<(), TpmError> {
        let current = self.tag(deadline)?;
        let is = |written| {
            let area = slot::public(authority, subject, written);
            let name = TpmName::of_public_area(HashAlg::Sha256, &area);
            (current.as_ref()).is_some_and(|it| Some(it.public.name()) == name.as_ref())
        };
        if is(false) || is(true) {
            return Ok(());
        }
        let mut library = self.library(deadline)?;
        if current.is_some() {
            tag_slot::undefine(&mut library, NV_INDEX)?;
        }
        tag_slot::define_slot(&mut library, authority, subject)
    }

    /// Writes a digest to the tag's NV index under the tag authority's signature, and reads it
    /// back.
    ///
    /// # Errors
    ///
    /// If the index is not defined for this authority ([`Tpm::define_tag`]), if the TPM does not
    /// accept the signature, or if it cannot be reached.
    pub fn write_tag(
        &mut self,
        tag: &TagWrite<'_>,
        deadline: &Deadline,
    ) -> Result<NvSlot, TpmError> {
        let current = self.tag(deadline)?;
        let written = current.is_some_and(|slot| slot.public.is_written());
        tag_slot::write(&mut self.library(deadline)?, tag, written)?;
        self.tag(deadline)?
            .filter(|slot| slot.contents == tag.digest)
            .ok_or_else(|| TpmError::Decode {
                command: "NV_Read",
                reason: "contents other than those just written".to_owned(),
            })
    }

    /// Flushes every loaded object, and returns how many there were.
    ///
    /// Through the kernel's resource manager only our own show up. On a TPM that is used directly
    /// it clears what a crashed predecessor left, which would otherwise fill all of its slots.
    ///
    /// # Errors
    ///
    /// If the TPM cannot be reached or asked in time.
    pub fn flush_leftovers(&mut self, deadline: &Deadline) -> Result<usize, TpmError> {
        let command = TpmGetCapabilityCommand {
            handles: [],
            cap: TpmCap::Handles,
            property: FIRST_TRANSIENT.into(),
            property_count: TRANSIENT_LIMIT.into(),
        };
        let command = Command::new("GetCapability", &command, 0, Repeat::Harmless)?;
        let answer: TpmGetCapabilityResponse = self.wire.run(&command, deadline)?;
        let TpmuCapabilities::Handles(handles) = answer.capability_data.data else {
            let reason = "capabilities nobody asked for".to_owned();
            return Err(TpmError::Decode {
                command: "GetCapability",
                reason,
            });
        };
        for handle in handles.iter() {
            attestation_key::flush(&mut self.wire, TpmHandle::new(handle.value()), deadline)?;
        }
        Ok((*handles).len())
    }

    /// Opens the library path, closing the wire.
    fn library(&mut self, deadline: &Deadline) -> Result<Library, TpmError> {
        // Also proves that the TPM answers; a library context would wait for it without limit.
        self.prepare(deadline)?;
        self.wire.close();
        Library::open(&self.tcti)
    }

    /// Makes room for keys, and forgets saved contexts of an earlier boot of the TPM.
    fn prepare(&mut self, deadline: &Deadline) -> Result<(), TpmError> {
        self.flush_leftovers(deadline)?;
        let clock = self.clock(deadline)?;
        if !self.boot.is_some_and(|boot| boot.is_same_boot(&clock)) {
            self.wire_key = WireKey::default();
            self.quote_key = None;
            self.signing_key = None;
        }
        self.boot = Some(clock);
        Ok(())
    }
}
