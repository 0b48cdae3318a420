//! Reference values: what was read is written as it was read, and reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::reference::{self, ReferenceValues};

fuzz_target!(|data: &[u8]| {
    if let Ok(document) = str::from_utf8(data) {
        let pinned = reference::verify(document, &TrustedKeys::new());
        assert!(pinned.is_err(), "nobody's reference values are believed");
    }
    let Ok(payload) = serde_json::from_slice(data) else {
        return;
    };
    if let Ok(values) = ReferenceValues::from_claims(&payload) {
        let again = ReferenceValues::from_claims(&values.to_claims());
        assert_eq!(again.as_ref(), Ok(&values));
    }
});
