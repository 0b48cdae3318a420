//! Cases in which what reaches the gate was changed on the way, or signed by the wrong one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_attestation::hex;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::refusal::Refusal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::clock;
use super::forgery::payload;
use super::table::{Case, Scene, nothing};

/// The agent's socket.
const SOCKET: &str = "/run/portcullis/agent.sock";
/// A PCR that the settings name.
const PCR: u32 = 11;
/// Some user who is not root.
const STRANGER: u32 = 65534;

/// What is carried to the gate.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "verdict of another host",
        expected: "refused [verdict-subject-mismatch]",
        attack: of_another_host,
        mend: nothing,
    },
    Case {
        name: "verdict re-signed with a foreign key",
        expected: "refused [verdict-signature-invalid]",
        attack: |scene| {
            let claims = genuine(scene)?;
            let token = scene.forger.sign_as_stranger(&claims)?;
            serve(scene, token)
        },
        mend: nothing,
    },
    Case {
        name: "verdict with one changed claim, signature kept",
        expected: "refused [verdict-signature-invalid]",
        attack: claim_changed,
        mend: nothing,
    },
    Case {
        name: "verdict with algorithm 'none'",
        expected: "refused [verdict-algorithm-refused]",
        attack: |scene| {
            let claims = genuine(scene)?;
            let token = scene.forger.unsigned(&claims)?;
            serve(scene, token)
        },
        mend: nothing,
    },
    Case {
        name: "verdict with algorithm 'HS256'",
        expected: "refused [verdict-algorithm-refused]",
        attack: |scene| {
            let claims = genuine(scene)?;
            let token = scene.forger.sign_text("HS256", &claims.to_string())?;
            serve(scene, token)
        },
        mend: nothing,
    },
    Case {
        name: "both dialects of EAR mixed",
        expected: "refused [verdict-dialects-mixed]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            claims["submods"]["host"]["ear.status"] = json!("affirming");
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "a claim that is there twice",
        expected: "refused [verdict-claims-duplicated]",
        attack: |scene| {
            let claims = genuine(scene)?.to_string();
            let twice = claims.replacen(
                "\"ear_status\":",
                "\"ear_status\":\"none\",\"ear_status\":",
                1,
            );
            let token = scene.forger.sign_text("ES256", &twice)?;
            serve(scene, token)
        },
        mend: nothing,
    },
    Case {
        name: "verdict expired by one second",
        expected: "undecided [verdict-expired]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            // The clocks of verifier and host may differ by what the settings allow.
            let now_s = now_s()?;
            claims["iat"] = json!(now_s - 300);
            claims["exp"] = json!(now_s - 1);
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "verdict from the future",
        expected: "refused [verdict-premature]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            let now_s = now_s()?;
            claims["iat"] = json!(now_s + 60);
            claims["exp"] = json!(now_s + 600);
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "verdict without the claim that binds it to one boot",
        expected: "refused [verdict-binding-missing]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            if let Some(members) = attester(&mut claims).as_object_mut() {
                members.remove("bootseed");
            }
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "verdict whose status is better than its vector",
        expected: "refused [verdict-status-contradicted]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            claims["submods"]["host"]["ear_trustworthiness_vector"]["executables"] = json!(96);
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "verdict with status 'none'",
        expected: "refused [vector-warning]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            claims["ear_status"] = json!("none");
            claims["submods"]["host"]["ear_status"] = json!("none");
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "PCR bank switched",
        expected: "refused [verdict-pcr-bank-mismatch]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            let attester = attester(&mut claims);
            attester["pcr_bank"] = json!("sha384");
            // Without the values: of a bank's digest, its length does not tell the bank.
            attester
                .as_object_mut()
                .map(|members| members.remove("pcrs"));
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "PCR selection shortened by a pinned verifier",
        expected: "refused [verdict-pcrs-incomplete]",
        attack: |scene| {
            let mut claims = genuine(scene)?;
            leave_out(attester(&mut claims), PCR)?;
            forge(scene, &claims)
        },
        mend: nothing,
    },
    Case {
        name: "PCR selection of the live reading shortened",
        expected: "refused [pcr-selection-mismatch]",
        attack: |scene| {
            tampered(scene, |reply| {
                if let Some(pcrs) = reply["live"]["pcrs"].as_array_mut() {
                    pcrs.retain(|pcr| pcr["index"] != PCR);
                }
            })
        },
        mend: nothing,
    },
    Case {
        name: "tag document left out",
        expected: "refused [asset-tag-missing]",
        attack: |scene| tampered(scene, |reply| reply["tag_document"] = Value::Null),
        mend: nothing,
    },
    Case {
        name: "tag index left out of the live reading",
        expected: "refused [asset-tag-missing]",
        attack: |scene| tampered(scene, |reply| reply["live"]["tag"] = Value::Null),
        mend: nothing,
    },
    Case {
        name: "agent replaced by one of another user",
        expected: "undecided [agent-peer-untrusted]",
        attack: |scene| {
            chown(SOCKET, Some(STRANGER), None).doing("give the socket away")?;
            scene.node.refuses(&[])
        },
        mend: |_| {
            chown(SOCKET, Some(0), None).doing("take the socket back")?;
            fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o600)).doing("set a mode")
        },
    },
    Case {
        name: "agent replaced by one that claims everything",
        expected: "undecided [agent-answer-malformed]",
        attack: |scene| {
            tampered(scene, |reply| {
                *reply = json!({ "permitted": true, "live": {} });
            })
        },
        mend: nothing,
    },
    // The last one, because its verdict is newer than all that the others show.
    Case {
        name: "clock set back",
        expected: "refused [clock-rolled-back]",
        attack: clock::set_back,
        mend: nothing,
    },
];

fn attester(claims: &mut Value) -> &mut Value {
    &mut claims["submods"]["host"]["ear_attester_claims"]
}

/// Says of all PCRs but `pcr` what was said before.
fn leave_out(attester: &mut Value, pcr: u32) -> Outcome {
    let malformed = || Failure::new("no PCRs in the verdict");
    let selection = attester["pcr_selection"].as_array_mut();
    let selection = selection.ok_or_else(malformed)?;
    selection.retain(|index| *index != pcr);
    let selection = selection.clone();
    let values = attester["pcrs"].as_object_mut().ok_or_else(malformed)?;
    values.remove(&pcr.to_string()).ok_or_else(malformed)?;
    let mut all = Vec::new();
    for index in selection {
        let value = values[&index.to_string()].as_str().and_then(hex::decode);
        all.extend(value.ok_or_else(malformed)?);
    }
    attester["pcr_digest"] = json!(hex::encode(&Sha256::digest(all)));
    Ok(())
}

/// The claims of the host's present verdict.
pub(crate) fn genuine(scene: &Scene) -> Outcome<Value> {
    payload(&genuine_token(scene)?)
}

/// The host's present verdict.
pub(crate) fn genuine_token(scene: &Scene) -> Outcome<String> {
    let reply = scene.carrier()?.carried();
    let token = reply.as_ref().and_then(|reply| reply["verdict"].as_str());
    token
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("the agent gave no verdict"))
}

/// Serves `token` in place of the verdict.
pub(crate) fn serve(scene: &mut Scene, token: String) -> Outcome<Refusal> {
    tampered(scene, move |reply| show(reply, &token))
}

/// Puts `token` in the verdict's place, and its hash where the boot fuse would hold it: who carries the
/// live reading can lie about that, too.
pub(crate) fn show(reply: &mut Value, token: &str) {
    reply["verdict"] = json!(token);
    if reply["live"]["boot_fuse"].is_string() {
        reply["live"]["boot_fuse"] = json!(hex::encode(&Sha256::digest(token.as_bytes())));
    }
}

/// Serves `claims`, signed by a verifier whose key is pinned.
fn forge(scene: &mut Scene, claims: &Value) -> Outcome<Refusal> {
    let token = scene.forger.sign(claims)?;
    // What was changed must be the only reason: the same token unchanged is accepted.
    let unchanged = genuine(scene)?;
    let unchanged = scene.forger.sign(&unchanged)?;
    scene
        .carrier()?
        .tamper(move |reply| show(reply, &unchanged));
    scene.node.starts()?;
    serve(scene, token)
}

fn tampered(scene: &mut Scene, tamper: impl Fn(&mut Value) + Send + 'static) -> Outcome<Refusal> {
    scene.carrier()?.tamper(tamper);
    scene.node.refuses(&[])
}

fn of_another_host(scene: &mut Scene) -> Outcome<Refusal> {
    let mut claims = genuine(scene)?;
    claims["submods"]["host"]["ear_verifier_claims"]["node_name"] = json!("another-host");
    forge(scene, &claims)
}

fn claim_changed(scene: &mut Scene) -> Outcome<Refusal> {
    let token = genuine_token(scene)?;
    let mut claims = payload(&token)?;
    claims["exp"] = json!(claims["exp"].as_u64().map(|exp| exp + 3600));
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    if let Some(part) = parts.get_mut(1) {
        *part = portcullis_attestation::base64url::encode(claims.to_string().as_bytes());
    }
    serve(scene, parts.join("."))
}

pub(crate) fn now_s() -> Outcome<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.doing("read the clock")?.as_secs())
}
