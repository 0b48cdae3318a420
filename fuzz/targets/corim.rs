//! A vendor's manifest in CBOR: PCR values of it, or why not.
#![no_main]

#[path = "../../cli/src/manifest.rs"]
mod manifest;

use libfuzzer_sys::fuzz_target;

/// Some day on which the seeds are valid, in seconds since 1970.
const NOW_S: i64 = 1_795_290_484;

fuzz_target!(|data: &[u8]| {
    match manifest::boot_states(data, "vendor", NOW_S) {
        Ok(states) => assert!(!states.is_empty()),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
});
