//! Evidence recorded from real boots of a virtual machine (`tests/data/measured-boot/`).
#![expect(
    clippy::expect_used,
    reason = "a recording that cannot be read fails the test"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "the layout of the recordings is known"
)]

use p256::ecdsa::Signature;
use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::attest::{Attest, AttestError, Attested, SignedAttest};
use portcullis_attestation::hex;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection, PcrValues};

/// One recorded boot.
struct Boot {
    name: &'static str,
    ak_public: &'static [u8],
    ak_name: &'static [u8],
    quote: &'static [u8],
    quote_signature: &'static [u8],
    quoted_values: &'static [u8],
    certificate: &'static [u8],
    certificate_signature: &'static [u8],
    nv_contents: &'static [u8],
    read_values: &'static str,
    nonce: &'static str,
}

macro_rules! boot {
    ($name:literal) => {
        Boot {
            name: $name,
            ak_public: recorded!($name, "ak_ecc.tpmt"),
            ak_name: recorded!($name, "ak_ecc.name"),
            quote: recorded!($name, "quote_ecc.msg"),
            quote_signature: recorded!($name, "quote_ecc.sig"),
            quoted_values: recorded!($name, "quote_ecc.pcrs"),
            certificate: recorded!($name, "nvcertify_ecc.att"),
            certificate_signature: recorded!($name, "nvcertify_ecc.sig"),
            nv_contents: recorded!($name, "nv_assettag.bin"),
            read_values: str::from_utf8(recorded!($name, "pcrs.sha256.txt")).expect("text"),
            nonce: str::from_utf8(recorded!($name, "nonce.hex"))
                .expect("text")
                .trim_ascii(),
        }
    };
}

macro_rules! recorded {
    ($name:literal, $file:literal) => {
        include_bytes!(concat!(
            "../../../tests/data/measured-boot/",
            $name,
            "/",
            $file
        ))
    };
}

fn boots() -> [Boot; 3] {
    [
        boot!("secureboot"),
        boot!("secureboot-cmdline-changed"),
        boot!("no-secureboot"),
    ]
}

impl Boot {
    fn ak(&self) -> AkPublic {
        AkPublic::parse(self.ak_public).expect("a recorded AK")
    }

    fn signed_quote(&self) -> SignedAttest {
        SignedAttest {
            message: self.quote.to_vec(),
            signature: self.quote_signature.to_vec(),
        }
    }

    /// tpm2-tools wrote this signature as DER; the TPM's own form is made of it.
    fn signed_certificate(&self) -> SignedAttest {
        let (r, s) = Signature::from_der(self.certificate_signature)
            .expect("DER")
            .split_bytes();
        let half = |number: &[u8]| [&[0, 32][..], number].concat();
        let signature = [&[0x00, 0x18, 0x00, 0x0b][..], &half(&r), &half(&s)].concat();
        SignedAttest {
            message: self.certificate.to_vec(),
            signature,
        }
    }

    /// The values behind the quote: twelve digests in structures of tpm2-tss. A TPML_DIGEST is
    /// four bytes of count and eight TPM2B of 66 bytes; before the first stand 136 bytes.
    fn quoted(&self) -> PcrValues {
        let mut digests = self.quoted_values[136..]
            .chunks(4 + 8 * 66)
            .flat_map(|list| {
                let count = usize::from(list[0]);
                list[4..]
                    .chunks(66)
                    .take(count)
                    .map(|digest| digest[2..34].to_vec())
            });
        let mut values = PcrValues::new(HashAlg::Sha256);
        for pcr in selection().iter() {
            values
                .insert(pcr, digests.next().expect("twelve digests"))
                .expect("32 bytes");
        }
        assert_eq!(digests.next(), None);
        values
    }

    /// The values `tpm2_pcrread` printed, as `7 : 0x…`.
    fn read(&self, pcr: PcrIndex) -> Vec<u8> {
        let line = self.read_values.lines().find_map(|line| {
            let (index, value) = line.split_once(": 0x")?;
            (index.trim() == pcr.to_string()).then_some(value)
        });
        hex::decode(&line.expect("printed").to_lowercase()).expect("hexadecimal")
    }
}

/// PCR 0 to 10 and 14, as they were quoted.
fn selection() -> PcrSelection {
    let pcrs = (0..=10).chain([14]).filter_map(PcrIndex::new);
    PcrSelection::new(HashAlg::Sha256, pcrs)
}

#[test]
fn the_name_of_the_ak_is_the_one_the_tpm_gave() {
    for boot in boots() {
        assert_eq!(boot.ak().name().as_bytes(), boot.ak_name, "{}", boot.name);
    }
}

#[test]
fn the_quote_verifies_and_answers_the_nonce() {
    for boot in boots() {
        let attest = boot.signed_quote().verify(&boot.ak()).expect(boot.name);
        assert_eq!(hex::encode(&attest.extra_data), boot.nonce);
        let clock = attest.clock;
        assert_eq!(
            (clock.reset_count, clock.restart_count, clock.safe),
            (2, 0, true)
        );
    }
}

#[test]
fn the_quoted_digest_is_that_of_the_values() {
    for boot in boots() {
        let attest = boot.signed_quote().verify(&boot.ak()).expect(boot.name);
        let Attested::Quote(quote) = attest.attested else {
            panic!("a quote")
        };
        assert_eq!(quote.selection, selection(), "{}", boot.name);
        assert_eq!(quote.pcr_digest, boot.quoted().digest(), "{}", boot.name);
    }
}

#[test]
fn the_quoted_values_are_those_that_were_read_but_for_pcr_10() {
    for boot in boots() {
        for (pcr, value) in boot.quoted().iter() {
            // PCR 10 is extended with every program that runs, so also between read and quote.
            let same = value == boot.read(pcr);
            assert_eq!(same, pcr.get() != 10, "{} PCR {pcr}", boot.name);
        }
    }
}

#[test]
fn the_nv_certificate_verifies_and_shares_signer_and_boot_with_the_quote() {
    for boot in boots() {
        let quote = boot.signed_quote().verify(&boot.ak()).expect(boot.name);
        let attest = boot
            .signed_certificate()
            .verify(&boot.ak())
            .expect(boot.name);
        assert_eq!(attest.qualified_signer, quote.qualified_signer);
        assert!(attest.clock.is_same_boot(&quote.clock));
        assert_eq!(attest.extra_data, [0x00, 0x11]);
        let Attested::Nv(nv) = attest.attested else {
            panic!("NV contents")
        };
        assert_eq!((nv.offset, &nv.contents[..]), (0, boot.nv_contents));
    }
}

#[test]
fn a_quote_of_one_boot_does_not_verify_with_the_ak_of_another() {
    let boots = boots();
    for (one, boot) in boots.iter().enumerate() {
        for (other, foreign) in boots.iter().enumerate() {
            let result = boot.signed_quote().verify(&foreign.ak());
            if one == other {
                result.expect(boot.name);
            } else {
                assert!(matches!(result, Err(AttestError::Signature { .. })));
            }
        }
    }
}

#[test]
fn every_cut_of_a_recorded_structure_is_refused() {
    for boot in boots() {
        for length in 0..boot.quote.len() {
            Attest::parse(&boot.quote[..length]).expect_err("cut quote");
        }
        for length in 0..boot.certificate.len() {
            Attest::parse(&boot.certificate[..length]).expect_err("cut certificate");
        }
        for length in 0..boot.ak_public.len() {
            AkPublic::parse(&boot.ak_public[..length]).expect_err("cut AK");
        }
    }
}

#[test]
fn every_changed_byte_of_a_recorded_quote_is_refused() {
    let [boot, ..] = boots();
    for place in 0..boot.quote.len() {
        let mut changed = boot.signed_quote();
        changed.message[place] ^= 0x01;
        let refused = changed.verify(&boot.ak()).expect_err("changed");
        assert!(matches!(refused, AttestError::Signature { .. }));
    }
}
