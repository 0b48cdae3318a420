//! What is wrong with the host since the verdict.

use portcullis_attestation::quarantine;
use sha2::{Digest as _, Sha256};

use super::*;

pub(super) const CASES: &[Case] = &[
    (
        "the relying party sees another boot",
        launch,
        |it| {
            it.moment.boot_id = BootId::parse(OTHER_BOOT_ID).expect("a boot id");
        },
        Code::HostRebooted,
        "another one",
    ),
    (
        "the agent sees another boot",
        launch,
        |it| {
            it.snapshot.live.boot_id = BootId::parse(OTHER_BOOT_ID).expect("a boot id");
        },
        Code::HostRebooted,
        "another one",
    ),
    (
        "the TPM was reset",
        launch,
        |it| {
            it.snapshot.live.reset_count = 4;
        },
        Code::HostRebooted,
        "reset count 4",
    ),
    (
        "the TPM was resumed",
        launch,
        |it| {
            it.snapshot.live.restart_count = 1;
        },
        Code::HostResumed,
        "restart count 1",
    ),
    (
        "a PCR was extended",
        launch,
        |it| {
            it.snapshot
                .live
                .pcrs
                .insert(pcr(7), vec![0x9c; 32])
                .expect("32 bytes");
        },
        Code::PcrDrift,
        "9c9c9c9c9c9c",
    ),
    (
        "the host was put into quarantine",
        launch,
        |it| {
            let mark = quarantine::digest(HashAlg::Sha256).expect("a digest");
            let old = it.snapshot.live.pcrs.value(pcr(7)).expect("PCR 7").to_vec();
            let new = Sha256::digest([old, mark].concat()).to_vec();
            it.snapshot.live.pcrs.insert(pcr(7), new).expect("32 bytes");
        },
        Code::HostQuarantined,
        "",
    ),
    (
        "the TPM lost the fuse",
        launch,
        |it| it.snapshot.live.boot_fuse = Some(Vec::new()),
        Code::BootFuseBlown,
        "nothing",
    ),
    (
        "the fuse is that of another verdict",
        launch,
        |it| it.snapshot.live.boot_fuse = Some(vec![0x9c; 32]),
        Code::BootFuseBlown,
        "9c9c9c9c9c9c",
    ),
    (
        "the fuse is cut",
        launch,
        |it| {
            let hash = Sha256::digest(it.token());
            it.snapshot.live.boot_fuse = Some(hash.as_slice()[..31].to_vec());
        },
        Code::BootFuseBlown,
        "",
    ),
    (
        "there is no fuse and the policy asks for one",
        launch,
        |it| it.policy.boot_fuse = true,
        Code::BootFuseBlown,
        "no such NV index",
    ),
    (
        "a PCR was extended and the verdict holds no values",
        launch,
        |it| {
            it.attester()
                .as_object_mut()
                .expect("object")
                .remove("pcrs");
            it.snapshot
                .live
                .pcrs
                .insert(pcr(7), vec![0x9c; 32])
                .expect("32 bytes");
        },
        Code::PcrDrift,
        "",
    ),
    (
        "a PCR was not read",
        launch,
        |it| {
            let mut pcrs = PcrValues::new(HashAlg::Sha256);
            for index in [0, 4, 7] {
                pcrs.insert(pcr(index), vec![index; 32]).expect("32 bytes");
            }
            it.snapshot.live.pcrs = pcrs;
        },
        Code::PcrSelectionMismatch,
        "PCRs 0,4,7 (sha256)",
    ),
    (
        "another bank was read",
        launch,
        |it| {
            let mut pcrs = PcrValues::new(HashAlg::Sha384);
            for index in [0, 4, 7, 14] {
                pcrs.insert(pcr(index), vec![index; 48]).expect("48 bytes");
            }
            it.snapshot.live.pcrs = pcrs;
        },
        Code::PcrSelectionMismatch,
        "(sha384)",
    ),
    (
        "a required claim warns",
        launch,
        |it| {
            it.vector()["hardware"] = json!(32);
            it.set_status("warning");
        },
        Code::VectorWarning,
        "warning (32)",
    ),
    (
        "a required claim is absent",
        launch,
        |it| {
            it.vector()
                .as_object_mut()
                .expect("object")
                .remove("hardware");
        },
        Code::VectorWarning,
        "absent",
    ),
    (
        "a required claim could not be appraised",
        launch,
        |it| {
            it.vector()["hardware"] = json!(0);
            it.set_status("none");
        },
        Code::VectorWarning,
        "none (0)",
    ),
    (
        "a required claim is one that a TPM cannot support",
        launch,
        |it| {
            it.policy.required.push(Claim::SourcedData);
            it.vector()["sourced-data"] = json!(2);
        },
        Code::VectorWarning,
        "absent",
    ),
    (
        "the status warns and no claim says why",
        launch,
        |it| {
            it.set_status("warning");
        },
        Code::VectorWarning,
        "warning",
    ),
    (
        "the status of the whole warns and the host's does not",
        launch,
        |it| {
            it.claims["ear_status"] = json!("warning");
        },
        Code::VectorWarning,
        "warning",
    ),
    (
        "the status is none and no claim says why",
        launch,
        |it| {
            it.set_status("none");
        },
        Code::VectorWarning,
        "none",
    ),
    (
        "a claim is contraindicated",
        launch,
        |it| {
            it.vector()["executables"] = json!(96);
            it.set_status("contraindicated");
        },
        Code::VectorContraindicated,
        "contraindicated (96)",
    ),
    (
        "a claim that nobody requires is contraindicated",
        launch,
        |it| {
            it.vector()["storage-opaque"] = json!(96);
            it.set_status("contraindicated");
        },
        Code::VectorContraindicated,
        "contraindicated (96)",
    ),
    (
        "the status is contraindicated and no claim says why",
        launch,
        |it| {
            it.set_status("contraindicated");
        },
        Code::VectorContraindicated,
        "contraindicated",
    ),
];
