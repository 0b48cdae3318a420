//! The clock of the host, set back.
//!
//! A world has no clock of its own, and the machine's is left alone. What a launch goes by is the
//! difference between the clock now and the clock when the verdict was first seen, which relying
//! parties have written down; so the record is changed to what it would be, had the clock stood
//! ahead then, by as much as it is set back now.

use std::fs;

use portcullis_attestation::base64url;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::wait::{self, PATIENCE};
use serde_json::json;

use super::table::Scene;
use super::tokens::{genuine, now_s, show};

/// What relying parties have seen.
const SEEN: &str = "/run/portcullis-gate/seen";
/// Age in seconds that the verifier does not want exceeded.
const MAX_AGE_S: u64 = 60;
/// How long the clock moves on after it was set back, in seconds.
const MOVED_S: u64 = 3;

/// A verdict is seen in the last second of its life; then the clock is set back to its issue.
pub(crate) fn set_back(scene: &mut Scene) -> Outcome<Refusal> {
    let mut claims = genuine(scene)?;
    let issued_at_s = now_s()?;
    claims["iat"] = json!(issued_at_s);
    claims["exp"] = json!(issued_at_s + 600);
    claims["eat_nonce"] = json!(base64url::encode(b"a challenge of its own"));
    let verifier = &mut claims["submods"]["host"]["ear_verifier_claims"];
    verifier["max_age"] = json!(MAX_AGE_S);
    verifier["seq"] = json!(verifier["seq"].as_u64().map(|seq| seq + 1));
    let token = scene.forger.sign(&claims)?;
    scene.carrier()?.tamper(move |reply| show(reply, &token));
    scene.node.starts()?;

    seen_at(issued_at_s, issued_at_s + MAX_AGE_S - 1)?;
    let back_s = now_s()?;
    wait::until_true("the clock to move on", PATIENCE, || {
        now_s().is_ok_and(|now_s| now_s >= back_s + MOVED_S)
    })?;
    scene.node.refuses(&[])
}

/// Has the verdict that was issued at `issued_at_s` first seen when the clock said `unix_s`.
fn seen_at(issued_at_s: u64, unix_s: u64) -> Outcome {
    let text = fs::read_to_string(SEEN).doing("read what was seen")?;
    let issued_at_s = issued_at_s.to_string();
    let mut changed = 0;
    let lines = text.lines().map(|line| {
        // Key, TPM, number, time of issue, nonce, and the two clocks at first sight.
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if let [_, _, _, issued, _, wall, _] = words.as_mut_slice()
            && *issued == issued_at_s
        {
            changed += 1;
            *wall = unix_s.to_string();
        }
        words.join(" ") + "\n"
    });
    let text: String = lines.collect();
    if changed != 1 {
        return Err(Failure::new(format!("{changed} such sights in: {text}")));
    }
    fs::write(SEEN, text).doing("change what was seen")
}
