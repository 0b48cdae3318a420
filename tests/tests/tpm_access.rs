//! `crates/tpm` against a real software TPM.

use std::time::Duration;

use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection};
use portcullis_tpm::{Deadline, Failure, Tcti, Tpm};

/// Generous: a deadline that a test does not mean to reach.
fn patient() -> Deadline {
    Deadline::within(Duration::from_secs(20))
}

fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

fn selection(indices: impl IntoIterator<Item = u8>) -> PcrSelection {
    PcrSelection::new(HashAlg::Sha256, indices.into_iter().map(pcr))
}

fn tpm_at(tcti: &str) -> Tpm {
    Tpm::new(tcti.parse::<Tcti>().unwrap())
}

mod needs_swtpm {
    use super::*;

    use portcullis_attestation::ak::AkPublic;
    use portcullis_attestation::attest::{Attest, Attested, SignedAttest};
    use portcullis_attestation::jws::Signer as _;
    use portcullis_attestation::software_key::SoftwareKey;
    use portcullis_attestation::tag::authorization::WriteAuthorization;
    use portcullis_attestation::tag::{self, slot};
    use portcullis_attestation::tpm_name::TpmName;
    use portcullis_tests::needs;
    use portcullis_tests::swtpm::{PowerCycle, Swtpm};
    use portcullis_tpm::{Identity, NvSlot, TagWrite, TpmError};
    use sha2::{Digest, Sha256};
    use zeroize::Zeroizing;

    /// A fresh software TPM and our handle to it.
    fn fresh() -> (Swtpm, Tpm) {
        let swtpm = Swtpm::start().unwrap();
        let tpm = tpm_at(&swtpm.tcti());
        (swtpm, tpm)
    }

    /// Verifies what the AK signed and takes it apart.
    fn verified(key: &Identity, signed: &SignedAttest) -> Attest {
        let ak = AkPublic::parse(&key.ak_public).unwrap();
        assert_eq!(*ak.name(), key.ak_name);
        signed.verify(&ak).unwrap()
    }

    fn authority() -> SoftwareKey {
        SoftwareKey::from_random(&Zeroizing::new([7; 32])).unwrap()
    }

    /// Writes `document` as the tag of this TPM.
    fn written(tpm: &mut Tpm, document: &str) -> NvSlot {
        let mut authority = authority();
        let subject = identity(tpm).ueid;
        let signed = WriteAuthorization::sign(document, &subject, &mut authority).unwrap();
        let public = authority.public_key();
        tpm.define_tag(public, &subject, &patient()).unwrap();
        let write = TagWrite {
            authority: public,
            subject: &subject,
            digest: &tag::digest(document),
            authorization: &signed,
        };
        tpm.write_tag(&write, &patient()).unwrap()
    }

    fn identity(tpm: &mut Tpm) -> Identity {
        tpm.identity(&patient()).unwrap()
    }

    #[test]
    fn a_fresh_tpm_reads_as_zeros_without_a_tag() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let reading = tpm.read(selection(0..24), &patient()).unwrap();
        assert_eq!(reading.pcrs.selection().count(), 24);
        assert_eq!(reading.pcrs.value(pcr(10)), Some([0; 32].as_slice()));
        assert_eq!(reading.pcrs.value(pcr(17)), Some([0xff; 32].as_slice()));
        assert_eq!(reading.tag, None);
    }

    #[test]
    fn every_number_of_pcrs_is_read_in_ascending_order() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        for index in 0..16 {
            tpm.extend(pcr(index), HashAlg::Sha256, &[index; 32], &patient())
                .unwrap();
        }
        for count in 0..=24_u8 {
            let values = tpm.pcrs(selection(0..count), &patient()).unwrap();
            assert_eq!(values.selection().count(), u32::from(count));
            for index in 0..count.min(16) {
                let expected = Sha256::digest([[0; 32], [index; 32]].concat());
                assert_eq!(values.value(pcr(index)), Some(expected.as_slice()));
            }
        }
    }

    #[test]
    fn a_bank_that_is_not_active_is_named() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let wanted = PcrSelection::new(HashAlg::Sha384, [pcr(4), pcr(7)]);
        let refused = tpm.pcrs(wanted, &patient()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot read PCR 4 (sha384): the bank is not active"
        );
        assert_eq!(refused.failure(), Failure::Failed);
    }

    #[test]
    fn an_extend_changes_one_register() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let before = tpm.pcrs(selection([8, 9]), &patient()).unwrap();
        tpm.extend(pcr(9), HashAlg::Sha256, &[1; 32], &patient())
            .unwrap();
        let after = tpm.pcrs(selection([8, 9]), &patient()).unwrap();
        assert_eq!(before.value(pcr(8)), after.value(pcr(8)));
        assert_ne!(before.value(pcr(9)), after.value(pcr(9)));
        tpm.release();
        assert_eq!(after.value(pcr(9)), Some(swtpm.pcr(9).unwrap().as_slice()));
    }

    #[test]
    fn the_keys_are_the_same_at_every_start_and_differ_between_tpms() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let first = identity(&mut tpm);
        let ak = AkPublic::parse(&first.ak_public).unwrap();
        assert_eq!(*ak.name(), first.ak_name);
        assert_ne!(*ak.key(), first.ek);
        drop(tpm);
        swtpm.power_cycle(PowerCycle::Reset).unwrap();
        assert_eq!(identity(&mut tpm_at(&swtpm.tcti())), first);

        let (_other_swtpm, mut other) = fresh();
        let other = identity(&mut other);
        assert_ne!(other.ek, first.ek);
        assert_ne!(other.ak_name, first.ak_name);
    }

    #[test]
    fn a_quote_binds_pcrs_nonce_and_boot_and_verifies() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let key = identity(&mut tpm);
        // Ten registers: more than one PCR_Read answer holds.
        let wanted = selection([0, 1, 2, 3, 4, 5, 7, 9, 11, 14]);
        tpm.extend(pcr(11), HashAlg::Sha256, &[3; 32], &patient())
            .unwrap();
        let quote = tpm.quote(wanted, &[7; 32], &patient()).unwrap();
        let reading = tpm.read(wanted, &patient()).unwrap();

        let attest = verified(&key, &quote);
        assert_eq!(attest.extra_data, [7; 32]);
        assert!(attest.clock.is_same_boot(&reading.clock));
        let Attested::Quote(quoted) = attest.attested else {
            panic!("{attest:?}")
        };
        assert_eq!(quoted.selection, wanted);
        assert_eq!(quoted.pcr_digest, reading.pcrs.digest());
    }

    #[test]
    fn the_boot_counters_tell_reset_restart_and_resume_apart() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let key = identity(&mut tpm);
        let mut counters = || {
            let clock = tpm.clock(&patient()).unwrap();
            let quote = tpm.quote(selection([0]), &[], &patient()).unwrap();
            // Not obfuscated: the AK lives in the endorsement hierarchy.
            assert!(verified(&key, &quote).clock.is_same_boot(&clock));
            tpm.release();
            (clock.reset_count, clock.restart_count, clock.safe)
        };
        let (reset, restart, _) = counters();
        swtpm.power_cycle(PowerCycle::Resume).unwrap();
        assert_eq!(counters(), (reset, restart + 1, true));
        swtpm.power_cycle(PowerCycle::Restart).unwrap();
        assert_eq!(counters(), (reset, restart + 2, true));
        swtpm.power_cycle(PowerCycle::Reset).unwrap();
        assert_eq!(counters(), (reset + 1, 0, true));
        swtpm.power_cycle(PowerCycle::UncleanReset).unwrap();
        assert_eq!(counters(), (reset + 2, 0, false));
    }

    #[test]
    fn a_tag_is_defined_written_and_rewritten() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        assert_eq!(tpm.tag(&patient()).unwrap(), None);
        let first = written(&mut tpm, "1");
        assert_eq!((first.index, first.public.size_bytes), (0x01c1_0110, 48));
        // policywrite, ownerread, authread, no_da, written
        assert_eq!(first.public.attributes, 0x2206_0008);
        let second = written(&mut tpm, "2");
        assert_eq!(second.public, first.public);
        assert_eq!(second.contents, tag::digest("2"));
        assert_eq!(
            tpm.read(selection([0]), &patient()).unwrap().tag,
            Some(second)
        );
    }

    #[test]
    fn the_tpm_takes_only_the_digest_the_authority_signed_for_this_tpm() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let first = written(&mut tpm, "1");
        let subject = identity(&mut tpm).ueid;
        let name = first.public.name();
        assert!(slot::is_slot_of(name, authority().public_key(), &subject));

        let other = portcullis_attestation::ueid::Ueid::of_endorsement_key(b"other");
        let mut foreign = SoftwareKey::from_random(&Zeroizing::new([8; 32])).unwrap();
        let mut refused = |digest, signer: &mut SoftwareKey, subject| {
            let signed = WriteAuthorization::sign("2", subject, signer).unwrap();
            let authority = authority();
            let write = TagWrite {
                authority: authority.public_key(),
                subject,
                digest,
                authorization: &signed,
            };
            tpm.write_tag(&write, &patient()).unwrap_err().to_string()
        };
        // Another digest, another key, another TPM's permission.
        let (one, two) = (tag::digest("1"), tag::digest("2"));
        for error in [
            refused(&one, &mut authority(), &subject),
            refused(&two, &mut foreign, &subject),
        ] {
            assert!(error.starts_with("cannot run PolicySigned"), "{error}");
        }
        let error = refused(&two, &mut authority(), &other);
        assert!(error.starts_with("cannot run NV_Write"), "{error}");
        assert_eq!(tpm.tag(&patient()).unwrap(), Some(first));
        assert_eq!(tpm.flush_leftovers(&patient()).unwrap(), 0);
    }

    #[test]
    fn the_tag_counter_only_rises_also_when_it_is_made_anew() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        assert_eq!(tpm.tag_counter(&patient()).unwrap(), None);
        let first = tpm.start_tag_counter(&patient()).unwrap();
        assert!(slot::is_counter(first.public.name()));
        assert_eq!(tpm.start_tag_counter(&patient()).unwrap(), first);
        let stand = |slot: &NvSlot| u64::from_be_bytes(*slot.contents.as_array().unwrap());
        let second = tpm.count_tag(&patient()).unwrap();
        assert_eq!(stand(&second), stand(&first) + 1);
        // As the owner could: NV_UndefineSpace.
        tpm.release();
        let mut command = vec![0x80, 0x02, 0, 0, 0, 31, 0x00, 0x00, 0x01, 0x22];
        command.extend_from_slice(&[0x40, 0, 0, 1]);
        command.extend_from_slice(&slot::COUNTER_INDEX.to_be_bytes());
        command.extend_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        swtpm.command(&command).unwrap();
        assert_eq!(tpm.tag_counter(&patient()).unwrap(), None);
        let anew = tpm.start_tag_counter(&patient()).unwrap();
        assert!(stand(&anew) > stand(&second));
    }

    #[test]
    fn a_certified_tag_holds_name_and_contents_and_verifies() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let key = identity(&mut tpm);
        let slot = written(&mut tpm, "5");
        // The second time the key comes from its saved context, the third time a reset has
        // made that worthless.
        for round in 0..3_u8 {
            let signed = tpm
                .certify_tag(&slot, &key.ak_name, &[round; 32], &patient())
                .unwrap();
            let attest = verified(&key, &signed);
            assert_eq!(attest.extra_data, [round; 32]);
            let Attested::Nv(certified) = attest.attested else {
                panic!("{attest:?}")
            };
            assert_eq!(certified.name, *slot.public.name());
            assert_eq!(
                (certified.offset, certified.contents),
                (0, slot.contents.clone())
            );
            if round == 1 {
                tpm.release();
                swtpm.power_cycle(PowerCycle::Reset).unwrap();
            }
        }
    }

    #[test]
    fn a_tag_is_not_certified_by_an_attestation_key_of_another_name() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let slot = written(&mut tpm, "5");
        let other = TpmName::parse(&format!("000b{}", "00".repeat(32))).unwrap();
        let refused = tpm.certify_tag(&slot, &other, &[], &patient()).unwrap_err();
        assert!(
            matches!(refused, TpmError::RecogniseAttestationKey { .. }),
            "{refused}"
        );
        assert_eq!(tpm.flush_leftovers(&patient()).unwrap(), 0);
    }

    #[test]
    fn a_signing_key_signs_before_and_after_a_reset() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let key = tpm.create_signing_key(None, &patient()).unwrap();
        let public = key.public_key().unwrap();
        for round in 0..3_u8 {
            let message = [round; 100];
            let digest = Sha256::digest(message).into();
            let signature = tpm.sign(&key, digest, None, &patient()).unwrap();
            public.verify(&message, &signature).unwrap();
            if round == 1 {
                tpm.release();
                swtpm.power_cycle(PowerCycle::Reset).unwrap();
            }
        }
        assert_ne!(
            tpm.create_signing_key(None, &patient())
                .unwrap()
                .public_key()
                .unwrap(),
            public
        );
    }

    #[test]
    fn another_tpm_cannot_use_the_signing_key() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let (_other_swtpm, mut other) = fresh();
        let key = tpm.create_signing_key(None, &patient()).unwrap();
        let refused = other.sign(&key, [0; 32], None, &patient()).unwrap_err();
        assert_eq!(refused.failure(), Failure::Failed);
        assert!(
            refused.to_string().starts_with("cannot run Load: "),
            "{refused}"
        );
        assert_eq!(other.flush_leftovers(&patient()).unwrap(), 0);
    }

    #[test]
    fn two_signing_keys_are_not_mistaken_for_each_other() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let one = tpm.create_signing_key(None, &patient()).unwrap();
        let other = tpm.create_signing_key(None, &patient()).unwrap();
        for key in [&one, &other, &one] {
            let signature = tpm
                .sign(key, Sha256::digest(b"x").into(), None, &patient())
                .unwrap();
            key.public_key().unwrap().verify(b"x", &signature).unwrap();
        }
    }

    #[test]
    fn a_hundred_rounds_of_everything_leave_no_object_behind() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        let key = identity(&mut tpm);
        let verdict_key = tpm.create_signing_key(None, &patient()).unwrap();
        let slot = written(&mut tpm, "5");
        for _ in 0..100 {
            tpm.quote(selection([0, 7]), &[1; 32], &patient()).unwrap();
            tpm.certify_tag(&slot, &key.ak_name, &[1; 32], &patient())
                .unwrap();
            tpm.sign(&verdict_key, [2; 32], None, &patient()).unwrap();
            tpm.read(selection(0..24), &patient()).unwrap();
        }
        assert_eq!(tpm.flush_leftovers(&patient()).unwrap(), 0);
    }

    #[test]
    fn a_crashed_predecessor_that_filled_every_slot_does_no_harm() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        // CreatePrimary(null hierarchy, ECC P-256 signing), three times and never flushed.
        let mut command = vec![0x80, 0x02, 0, 0, 0, 0, 0x00, 0x00, 0x01, 0x31];
        command.extend_from_slice(&[0x40, 0, 0, 7]); // TPM_RH_NULL
        command.extend_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]); // empty password
        command.extend_from_slice(&[0, 4, 0, 0, 0, 0]); // nothing sensitive
        let public = [
            0x00, 0x23, 0x00, 0x0b, 0x00, 0x04, 0x00, 0x72, 0x00, 0x00, // ECC, SHA-256, sign
            0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10, // ECDSA, P-256
            0x00, 0x00, 0x00, 0x00, // unique
        ];
        command.extend_from_slice(&[0, 24]);
        command.extend_from_slice(&public);
        command.extend_from_slice(&[0; 6]); // no outside info, no creation PCRs
        command[5] = u8::try_from(command.len()).unwrap();
        for _ in 0..3 {
            swtpm.command(&command).unwrap();
        }
        let full = swtpm.command(&command).unwrap_err();
        assert_eq!(full.to_string(), "TPM answered 0x902");
        identity(&mut tpm);
        assert_eq!(tpm.flush_leftovers(&patient()).unwrap(), 0);
    }

    #[test]
    fn a_frozen_tpm_is_a_timeout_and_works_again_once_thawed() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        tpm.clock(&patient()).unwrap();
        swtpm.freeze().unwrap();
        let short = || Deadline::within(Duration::from_millis(50));
        for refused in [
            tpm.read(selection([0]), &short()).map(drop).unwrap_err(),
            tpm.quote(selection([0]), &[], &short())
                .map(drop)
                .unwrap_err(),
            tpm.sign(
                &portcullis_tpm::KeyBlob {
                    public: vec![],
                    private: vec![],
                },
                [0; 32],
                None,
                &short(),
            )
            .map(drop)
            .unwrap_err(),
        ] {
            assert_eq!(refused.failure(), Failure::Timeout, "{refused}");
        }
        swtpm.thaw().unwrap();
        tpm.read(selection([0]), &patient()).unwrap();
        tpm.quote(selection([0]), &[], &patient()).unwrap();
    }

    #[test]
    fn a_restarted_tpm_is_found_again() {
        needs!(Swtpm);
        let (mut swtpm, mut tpm) = fresh();
        let before = tpm.read(selection([0]), &patient()).unwrap();
        swtpm.kill().unwrap();
        let refused = tpm.read(selection([0]), &patient()).unwrap_err();
        assert_eq!(refused.failure(), Failure::Unreachable, "{refused}");
        swtpm.start_again().unwrap();
        let after = tpm.read(selection([0]), &patient()).unwrap();
        assert!(!before.clock.is_same_boot(&after.clock));

        // The same without a failed read in between: the connection is stale, not absent.
        swtpm.kill().unwrap();
        swtpm.start_again().unwrap();
        tpm.read(selection([0]), &patient()).unwrap();
    }

    #[test]
    fn a_client_that_holds_the_tpm_is_a_timeout_until_it_lets_go() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let mut holder = tpm_at(&swtpm.tcti());
        holder.clock(&patient()).unwrap();
        let refused = tpm
            .clock(&Deadline::within(Duration::from_millis(50)))
            .unwrap_err();
        assert_eq!(refused.failure(), Failure::Timeout, "{refused}");
        holder.release();
        tpm.clock(&patient()).unwrap();
    }

    /// Carries whole frames between a terminal, which stands in for a character device, and a
    /// software TPM, until the terminal's other end is closed.
    fn bridge(mut terminal: std::fs::File, swtpm: &Swtpm) {
        use std::io::{Read, Write};
        let mut command = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count) = terminal.read(&mut piece) {
            command.extend_from_slice(&piece[..count]);
            let length = command
                .get(2..6)
                .map(|field| u32::from_be_bytes(field.try_into().unwrap()));
            if length == u32::try_from(command.len()).ok() {
                let answer = swtpm.answer(&command).unwrap();
                terminal.write_all(&answer).unwrap();
                command.clear();
            }
        }
    }

    #[test]
    fn a_character_device_is_read_like_a_socket() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let slot = written(&mut tpm, "4");
        tpm.release();
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut mode = nix::sys::termios::tcgetattr(&pty.slave).unwrap();
        nix::sys::termios::cfmakeraw(&mut mode);
        nix::sys::termios::tcsetattr(&pty.slave, nix::sys::termios::SetArg::TCSANOW, &mode)
            .unwrap();
        let path = nix::unistd::ttyname(&pty.slave).unwrap();
        std::thread::scope(|scope| {
            let terminal = std::fs::File::from(pty.master);
            let carrying = scope.spawn(|| bridge(terminal, &swtpm));
            let mut tpm = tpm_at(&format!("device:{}", path.display()));
            let first = tpm.read(selection(0..24), &patient()).unwrap();
            drop(pty.slave);
            assert_eq!(first.pcrs.selection().count(), 24);
            assert_eq!(first.tag, Some(slot));
            swtpm.freeze().unwrap();
            let deadline = Deadline::within(Duration::from_millis(50));
            let refused = tpm.clock(&deadline).unwrap_err();
            assert_eq!(refused.failure(), Failure::Timeout, "{refused}");
            swtpm.thaw().unwrap();
            drop(tpm);
            carrying.join().unwrap();
        });
    }

    #[test]
    fn an_index_of_another_owner_is_read_as_it_is_and_replaced_by_a_tag() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        // NV_DefineSpace: authwrite, authread, ownerread, 20 bytes, never written.
        let mut command = vec![0x80, 0x02, 0, 0, 0, 0, 0x00, 0x00, 0x01, 0x2a];
        command.extend_from_slice(&[0x40, 0, 0, 1]); // TPM_RH_OWNER
        command.extend_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        command.extend_from_slice(&[0, 0]); // empty password of the index
        command.extend_from_slice(&[0, 14, 0x01, 0xc1, 0x01, 0x10, 0x00, 0x0b]);
        command.extend_from_slice(&[0x00, 0x06, 0x00, 0x04, 0, 0, 0, 20]);
        command[5] = u8::try_from(command.len()).unwrap();
        swtpm.command(&command).unwrap();

        let slot = tpm.tag(&patient()).unwrap().unwrap();
        assert_eq!(
            (slot.public.attributes, slot.public.size_bytes),
            (0x0006_0004, 20)
        );
        assert_eq!(slot.contents, Vec::<u8>::new());
        let ours = written(&mut tpm, "9");
        assert_eq!(ours.public.attributes, 0x2206_0008);
        assert_ne!(ours.public.name(), slot.public.name());
    }
}

mod without_a_tpm {
    use super::*;

    #[test]
    fn a_tpm_that_is_not_there_is_unreachable() {
        for tcti in ["device:/dev/no-such-tpm", "swtpm:host=127.0.0.1,port=1"] {
            let refused = tpm_at(tcti).read(selection([0]), &patient()).unwrap_err();
            assert_eq!(refused.failure(), Failure::Unreachable, "{refused}");
            assert_eq!(
                refused.to_string(),
                format!("cannot reach the TPM at '{tcti}'")
            );
            let refused = tpm_at(tcti).identity(&patient()).unwrap_err();
            assert_eq!(refused.failure(), Failure::Unreachable, "{refused}");
        }
    }
}
