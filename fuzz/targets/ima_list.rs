//! The kernel's IMA list: read, and held against a quoted value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_attestation::ima::ImaList;
use portcullis_attestation::pcr::HashAlg;

fuzz_target!(|data: &[u8]| {
    let Ok(list) = ImaList::parse(data) else {
        return;
    };
    for bank in [HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384] {
        let untouched = vec![0; bank.digest_bytes()];
        let proven = list.proven(bank, &untouched).map(<[_]>::len);
        assert_eq!(proven, Some(0), "an untouched PCR 10 proves no entry");
        for entry in list.entries() {
            if let Some(digest) = entry.digest(bank) {
                assert_eq!(digest.len(), bank.digest_bytes());
            }
        }
    }
});
