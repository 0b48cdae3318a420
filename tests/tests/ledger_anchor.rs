//! Anchoring a ledger in a real software TPM: what its indices promise, and what verifying finds.

use std::time::Duration;

use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::anchor::{Purpose, extended};
use portcullis_tests::needs;
use portcullis_tests::swtpm::{PowerCycle, Swtpm};
use portcullis_tpm::{AnchorState, Deadline, Tcti, Tpm, TpmError};

/// Generous: a deadline that a test does not mean to reach.
fn patient() -> Deadline {
    Deadline::within(Duration::from_secs(20))
}

/// A fresh software TPM and our handle to it.
fn fresh() -> (Swtpm, Tpm) {
    let swtpm = Swtpm::start().unwrap();
    let tpm = Tpm::new(swtpm.tcti().parse::<Tcti>().unwrap());
    (swtpm, tpm)
}

/// TPM2_NV_UndefineSpace by the owner.
fn undefine(swtpm: &Swtpm, index: u32) {
    let mut body = 0x4000_0001_u32.to_be_bytes().to_vec();
    body.extend(index.to_be_bytes());
    body.extend(9_u32.to_be_bytes());
    body.extend(0x4000_0009_u32.to_be_bytes());
    body.extend([0; 5]);
    let mut frame = 0x8002_u16.to_be_bytes().to_vec();
    frame.extend(u32::try_from(body.len() + 10).unwrap().to_be_bytes());
    frame.extend(0x0000_0122_u32.to_be_bytes());
    frame.extend(body);
    let answer = swtpm.command(&frame).unwrap();
    assert_eq!(answer[6..10], [0; 4], "{answer:02x?}");
}

mod needs_swtpm {
    use super::*;
    use portcullis_attestation::anchor::{COUNTER_INDEX, EXTEND_INDEX};

    const EMPTY: AnchorState = AnchorState {
        counter: None,
        extend: None,
    };

    fn anchor(tpm: &mut Tpm, head: &[u8; 32]) -> AnchorState {
        tpm.define_anchor(&patient()).unwrap();
        tpm.extend_anchor(head, &patient()).unwrap();
        tpm.count_anchor(&patient()).unwrap();
        tpm.anchor_state(&patient()).unwrap()
    }

    #[test]
    fn heads_are_counted_folded_and_certified() {
        needs!(Swtpm);
        let (_swtpm, mut tpm) = fresh();
        assert_eq!(tpm.anchor_state(&patient()).unwrap(), EMPTY);
        tpm.define_anchor(&patient()).unwrap();
        assert_eq!(tpm.anchor_state(&patient()).unwrap(), EMPTY);
        let first = anchor(&mut tpm, &[1; 32]);
        assert_eq!(first.extend, Some(extended(&[0; 32], &[1; 32])));
        let second = anchor(&mut tpm, &[2; 32]);
        let folded = extended(&first.extend.unwrap(), &[2; 32]);
        assert_eq!(second.extend, Some(folded));
        assert_eq!(second.counter, first.counter.map(|counter| counter + 1));

        let identity = tpm.identity(&patient()).unwrap();
        let ak = AkPublic::parse(&identity.ak_public).unwrap();
        let purpose = Purpose::Anchor {
            head: &[2; 32],
            sequence: 41,
        };
        let certificates = tpm
            .certify_anchor(&identity.ak_name, &purpose, &patient())
            .unwrap();
        let certified = certificates.verify(&ak, &purpose).unwrap();
        assert_eq!(Some(certified.counter), second.counter);
        assert_eq!(certified.extend, folded);
        let clock = tpm.clock(&patient()).unwrap();
        assert!(certified.clock.is_same_boot(&clock));
        let other = Purpose::Challenge { nonce: &[2; 32] };
        certificates.verify(&ak, &other).unwrap_err();
    }

    #[test]
    fn deleting_the_indices_does_not_set_the_counter_back() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        for head in [[1; 32], [2; 32], [3; 32]] {
            anchor(&mut tpm, &head);
        }
        let before = tpm.anchor_state(&patient()).unwrap().counter.unwrap();
        tpm.release();
        undefine(&swtpm, COUNTER_INDEX);
        undefine(&swtpm, EXTEND_INDEX);
        assert_eq!(tpm.anchor_state(&patient()).unwrap(), EMPTY);
        let anew = anchor(&mut tpm, &[4; 32]);
        assert_eq!(anew.counter, Some(before + 1));
        assert_eq!(anew.extend, Some(extended(&[0; 32], &[4; 32])));
    }

    #[test]
    fn clearing_the_tpm_does_not_set_the_counter_back() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        for head in [[1; 32], [2; 32]] {
            anchor(&mut tpm, &head);
        }
        let before = tpm.anchor_state(&patient()).unwrap().counter.unwrap();
        tpm.release();
        // TPM2_Clear by the lockout hierarchy, which has no password.
        let mut frame = vec![0x80, 0x02, 0, 0, 0, 0x1b, 0, 0, 0x01, 0x26];
        frame.extend(0x4000_000a_u32.to_be_bytes());
        frame.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        let answer = swtpm.command(&frame).unwrap();
        assert_eq!(answer[6..10], [0; 4], "{answer:02x?}");
        assert_eq!(tpm.anchor_state(&patient()).unwrap(), EMPTY);
        let anew = anchor(&mut tpm, &[3; 32]);
        assert_eq!(anew.counter, Some(before + 1));
    }

    #[test]
    fn a_power_cut_takes_nothing_and_adds_nothing() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        let before = anchor(&mut tpm, &[1; 32]);
        for cycle in [PowerCycle::Reset, PowerCycle::UncleanReset] {
            tpm.release();
            swtpm.power_cycle(cycle).unwrap();
            assert_eq!(tpm.anchor_state(&patient()).unwrap(), before, "{cycle:?}");
        }
    }

    #[test]
    fn an_index_of_somebody_else_is_left_alone() {
        needs!(Swtpm);
        let (swtpm, mut tpm) = fresh();
        // An ordinary index of 8 bytes in the place of the counter.
        let mut body = 0x4000_0001_u32.to_be_bytes().to_vec();
        body.extend(9_u32.to_be_bytes());
        body.extend(0x4000_0009_u32.to_be_bytes());
        body.extend([0; 5]);
        body.extend([0, 0, 0, 14]);
        body.extend(COUNTER_INDEX.to_be_bytes());
        body.extend([0x00, 0x0b, 0x02, 0x06, 0x00, 0x02, 0, 0, 0, 8]);
        let mut frame = 0x8002_u16.to_be_bytes().to_vec();
        frame.extend(u32::try_from(body.len() + 10).unwrap().to_be_bytes());
        frame.extend(0x0000_012a_u32.to_be_bytes());
        frame.extend(body);
        let answer = swtpm.command(&frame).unwrap();
        assert_eq!(answer[6..10], [0; 4], "{answer:02x?}");
        for refused in [
            tpm.define_anchor(&patient()).unwrap_err(),
            tpm.anchor_state(&patient()).unwrap_err(),
        ] {
            assert!(
                matches!(
                    refused,
                    TpmError::ForeignIndex {
                        index: COUNTER_INDEX,
                        ..
                    }
                ),
                "{refused}"
            );
        }
    }
}
