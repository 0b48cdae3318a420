//! A verdict: whole tokens, and claims of either dialect behind a header that is in order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_attestation::base64url;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::verdict::{self, Verdict};

const HEADER: &[u8] = br#"{"alg":"ES256","typ":"JWT","kid":"k"}"#;

fuzz_target!(|data: &[u8]| {
    if let Ok(token) = str::from_utf8(data) {
        look(token);
    }
    let mut token = base64url::encode(HEADER);
    for part in [data, &[0; 64]] {
        token.push('.');
        token.push_str(&base64url::encode(part));
    }
    look(&token);
});

fn look(token: &str) {
    let pinned = verdict::verify(token, &TrustedKeys::new());
    assert!(pinned.is_err(), "nobody's verdict is believed");
    if let Ok(verdict) = verdict::read_unverified(token) {
        keeps_its_promises(&verdict);
    }
}

/// What the gate relies on in a verdict, whoever signed it.
fn keeps_its_promises(verdict: &Verdict) {
    let host = &verdict.host;
    assert!(verdict.issued_at_s < verdict.expires_s);
    assert!((8..=64).contains(&verdict.nonce.len()));
    assert!(!host.pcrs.selection.is_empty());
    assert!(!host.status.is_better_than(host.vector.worst()));
    assert!(!verdict.status.is_better_than(host.status));
    if let Some(values) = &host.pcrs.values {
        assert_eq!(values.selection(), host.pcrs.selection);
        assert_eq!(values.digest(), host.pcrs.digest);
    }
}
