//! Decisions over verdicts that are really signed, and over live states that drift from them.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_attestation::appraisal::{Appraisal, AttestedState};
use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::clock::ClockInfo;
use portcullis_attestation::jwk::{KeyUse, TrustedKey, TrustedKeys};
use portcullis_attestation::jws::{self, Signer as _, Typ};
use portcullis_attestation::nonce::Nonce;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection, PcrValues};
use portcullis_attestation::software_key::SoftwareKey;
use portcullis_attestation::tag::{self, AssetTag};
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::trust::{Claim, ClaimValue, TrustTier, TrustVector};
use portcullis_attestation::ueid::Ueid;
use portcullis_attestation::verdict::{self, TagPin, Terms};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::decide;
use crate::policy::NamespaceDemand;
use crate::{
    Code, Decision, Kind, LINE_LIMIT_BYTES, LaunchPolicy, LaunchRequest, LiveState, Moment, Permit,
    RecordId, Refusal, Requirement, Seen, Snapshot, TagSlot, Unavailable,
};

mod carriers;
mod permit;
mod table;
mod withheld;

const NOW: u64 = 1_795_290_500;
const ISSUED: u64 = 1_795_290_484;
/// Of the moment of decision.
const BOOTTIME_MS: u64 = 7_000_000;
const BOOT_ID: &str = "9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d";
const OTHER_BOOT_ID: &str = "11111111-6b1c-4f3e-9d52-0d1f2a3b4c5d";

/// One launch that would be permitted, to be spoilt in one place by each test.
struct Launch {
    policy: LaunchPolicy,
    keys: TrustedKeys,
    request: LaunchRequest,
    snapshot: Snapshot,
    moment: Moment,
    /// Claims of the verdict; signed when the launch is decided, unless the token was replaced.
    claims: Value,
    signer: SoftwareKey,
    tag: Option<AssetTag>,
}

fn key(seed: u8) -> SoftwareKey {
    SoftwareKey::from_random(&Zeroizing::new([seed; 32])).expect("a scalar within the order")
}

fn pin(keys: &mut TrustedKeys, seed: u8, key_use: KeyUse) {
    let public = key(seed).public_key().clone();
    keys.insert(TrustedKey::new(public, key_use))
        .expect("one use");
}

const VERIFIER: u8 = 1;
const TAG_AUTHORITY: u8 = 2;
const FOREIGN: u8 = 3;

fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).expect("0 to 23")
}

fn ueid() -> Ueid {
    Ueid::of_endorsement_key(b"endorsement key")
}

fn requirement(text: &str) -> Requirement {
    Requirement::parse(text).expect(text)
}

fn asset_tag() -> AssetTag {
    let tags = [("country", "DE"), ("pool", "pci")];
    AssetTag {
        issuer: "https://tags.example".to_owned(),
        subject: ueid(),
        issued_at_s: ISSUED,
        not_before_s: ISSUED,
        expires_s: NOW + 86_400,
        counter: 3,
        tags: tags
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        location: None,
    }
}

fn appraisal(pcrs: &PcrValues, pin: Option<TagPin>) -> Appraisal {
    let mut vector = TrustVector::default();
    vector.set(Claim::InstanceIdentity, ClaimValue::APPROVED);
    vector.set(Claim::Executables, ClaimValue::BOOT_APPROVED);
    vector.set(Claim::Hardware, ClaimValue::APPROVED);
    Appraisal {
        status: TrustTier::Affirming,
        vector,
        findings: Vec::new(),
        boot_state: Some("debian-12".to_owned()),
        policy_ids: Vec::new(),
        tags: BTreeMap::new(),
        state: Some(AttestedState {
            nonce: Nonce::new([9; 32]),
            ueid: ueid(),
            boot_id: BootId::parse(BOOT_ID).expect("a boot id"),
            clock: ClockInfo {
                clock_ms: 1349,
                reset_count: 3,
                restart_count: 0,
                safe: true,
            },
            ak_name: TpmName::of_public_area(HashAlg::Sha256, b"ak").expect("sha256"),
            pcrs: pcrs.clone(),
            tag: pin,
        }),
    }
}

fn terms() -> Terms {
    Terms {
        issuer: "portcullis-agent".to_owned(),
        verifier_developer: "https://portcullis.dev".to_owned(),
        verifier_build: "portcullis-agent 0.1.0".to_owned(),
        issued_at_s: ISSUED,
        lifetime_s: 600,
        node_name: Some("w7".to_owned()),
        sequence: 412,
        max_age_s: None,
        latched: None,
    }
}

/// A trusted host without a tag.
fn launch() -> Launch {
    launch_with(None)
}

/// A trusted host that is tagged `country=DE, pool=pci`.
fn tagged_launch() -> Launch {
    launch_with(Some(asset_tag()))
}

fn launch_with(tag: Option<AssetTag>) -> Launch {
    let mut pcrs = PcrValues::new(HashAlg::Sha256);
    for index in [0, 4, 7, 14] {
        pcrs.insert(pcr(index), vec![index; 32]).expect("32 bytes");
    }
    let document = tag
        .as_ref()
        .map(|tag| tag.sign(&mut key(TAG_AUTHORITY)).expect("signed"));
    let slot = document.as_deref().map(|document| TagSlot {
        nv_index: tag::NV_INDEX,
        nv_name: TpmName::of_public_area(HashAlg::Sha256, b"nv").expect("sha256"),
        contents: tag::digest(document).to_vec(),
    });
    let tag_pin = slot.as_ref().map(|slot| TagPin {
        nv_index: slot.nv_index,
        nv_name: slot.nv_name.clone(),
        digest: slot.contents.clone().try_into().expect("48 bytes"),
        counter: 3,
    });
    let mut keys = TrustedKeys::new();
    pin(&mut keys, VERIFIER, KeyUse::Verdict);
    pin(&mut keys, TAG_AUTHORITY, KeyUse::Tag);
    let boot_id = BootId::parse(BOOT_ID).expect("a boot id");
    Launch {
        policy: LaunchPolicy {
            max_verdict_age: Duration::from_secs(600),
            clock_skew: Duration::from_secs(5),
            pcrs: pcrs.selection(),
            required: vec![Claim::Executables, Claim::Hardware],
            boot_fuse: false,
            require_tags: Requirement::default(),
            namespace_require_tags: Vec::new(),
        },
        keys,
        request: LaunchRequest {
            node: "w7".to_owned(),
            subject: "container 'web-1'".to_owned(),
            require_tags: Vec::new(),
        },
        claims: verdict::claims(&terms(), &appraisal(&pcrs, tag_pin)).expect("a state"),
        snapshot: Snapshot {
            verdict: None,
            withheld: Vec::new(),
            tag_document: document,
            live: LiveState {
                boot_id: boot_id.clone(),
                reset_count: 3,
                restart_count: 0,
                pcrs,
                tag: slot,
                boot_fuse: None,
            },
        },
        moment: Moment {
            unix_s: NOW,
            boot_id,
            boottime_ms: BOOTTIME_MS,
            seen: Seen::default(),
        },
        signer: key(VERIFIER),
        tag,
    }
}

// === impl Launch ===

impl Launch {
    fn token(&mut self) -> String {
        jws::sign(Typ::Verdict, &self.claims, &mut self.signer).expect("signed")
    }

    fn decide(&mut self) -> Decision {
        let token = self.token();
        self.snapshot.verdict = Some(token);
        self.decide_as_is()
    }

    fn decide_as_is(&mut self) -> Decision {
        decide(
            &self.policy,
            &self.keys,
            &self.request,
            Ok(&self.snapshot),
            &mut self.moment,
        )
    }

    /// As if another relying party had seen this verdict, changed in this way.
    fn has_seen(&mut self, change: impl FnOnce(&mut Value)) {
        let mine = self.claims.clone();
        change(&mut self.claims);
        // Whatever comes of it: what was seen stays in the moment.
        let _before = self.decide();
        self.claims = mine;
    }

    fn host(&mut self) -> &mut Value {
        &mut self.claims["submods"]["host"]
    }

    fn attester(&mut self) -> &mut Value {
        &mut self.host()["ear_attester_claims"]
    }

    fn vector(&mut self) -> &mut Value {
        &mut self.host()["ear_trustworthiness_vector"]
    }

    /// Says `status` of the host and of the whole.
    fn set_status(&mut self, status: &str) {
        self.host()["ear_status"] = json!(status);
        self.claims["ear_status"] = json!(status);
    }

    /// Signs the changed tag again and binds it to TPM and verdict, as its authority could.
    fn rebind(&mut self, change: impl FnOnce(&mut AssetTag)) {
        let tag = self.tag.as_mut().expect("a tagged launch");
        change(tag);
        let document = tag.sign(&mut key(TAG_AUTHORITY)).expect("signed");
        self.bind(document);
    }

    fn bind(&mut self, document: String) {
        let digest = tag::digest(&document);
        self.attester()["tag_digest_sha384"] = json!(portcullis_attestation::hex::encode(&digest));
        self.slot().contents = digest.to_vec();
        self.snapshot.tag_document = Some(document);
    }

    /// Has the settings name these PCRs.
    fn demand(&mut self, bank: HashAlg, pcrs: &[u8]) {
        self.policy.pcrs = PcrSelection::new(bank, pcrs.iter().map(|index| pcr(*index)));
    }

    fn slot(&mut self) -> &mut TagSlot {
        self.snapshot.live.tag.as_mut().expect("a tagged launch")
    }
}

/// The permit, or the line of the refusal.
fn permit(decision: Decision) -> Permit {
    match decision {
        Decision::Permitted(permit) => permit,
        Decision::Refused(refusals) | Decision::Undecided(refusals) => panic!("{refusals}"),
    }
}

/// The reasons of a decision that must not be a permit.
fn reasons(decision: Decision) -> Vec<Refusal> {
    match decision {
        Decision::Permitted(_) => panic!("expected a refusal"),
        Decision::Undecided(refusals) => {
            assert!(
                refusals
                    .iter()
                    .all(|refusal| refusal.kind() == Kind::Undecided)
            );
            refusals.into_iter().collect()
        }
        Decision::Refused(refusals) => {
            assert!(
                refusals
                    .iter()
                    .any(|refusal| refusal.kind() == Kind::Refused)
            );
            refusals.into_iter().collect()
        }
    }
}

/// The only reason.
fn reason(decision: Decision) -> Refusal {
    let mut reasons = reasons(decision);
    assert_eq!(reasons.len(), 1, "{reasons:#?}");
    reasons.remove(0)
}
