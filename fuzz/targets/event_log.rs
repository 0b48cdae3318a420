//! The firmware's event log, of both forms: read, replayed in each bank, and shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_attestation::event_log::EventLog;

fuzz_target!(|data: &[u8]| {
    let Ok(log) = EventLog::parse(data) else {
        return;
    };
    assert!(!log.events().is_empty(), "there is no log without an event");
    for bank in log.banks() {
        // What it comes to is the quote's business; that it comes to something, or says why, is ours.
        if let Err(error) = log.replay(bank) {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        for event in log.events() {
            if let Some(checked) = event.checked(bank) {
                assert!(!checked.describe().contains(['\n', '\u{1b}']));
            }
        }
    }
});
