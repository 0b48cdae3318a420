//! What a Keylime verifier thinks of one agent, read from its answer.
//!
//! Keylime's answer is not signed and knows three words that must stay apart: it vouches, it speaks
//! against, or it has nothing new to say. An agent that Keylime cannot reach is of the third kind,
//! although Keylime calls that a failure too.

use std::time::Duration;

use portcullis_json::{JsonError, Limits};
use serde_json::Value;

/// An answer is about 1.5 KiB; policies may stand in it.
const LIMITS: Limits = Limits {
    max_bytes: 1024 * 1024,
    max_depth: 16,
};
/// `keylime.common.states.FAILED`: the agent could not be reached often enough.
const UNREACHABLE: u64 = 7;
/// Characters of an event id that are kept.
const EVENT_LIMIT: usize = 96;

/// Keylime's opinion of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// The last attestation succeeded.
    Vouches {
        /// When it did, in seconds since 1970.
        at_s: u64,
        /// How long Keylime itself goes on believing it.
        patience: Duration,
        /// What its policies asked.
        scope: Scope,
    },
    /// The last attestation failed, by what the agent sent.
    Speaks {
        /// Keylime's name for the failure, such as `ima.pcr_mismatch`.
        event: String,
    },
    /// Nothing is known, or nothing new: not attested yet, or not reachable. Silence lets verdicts
    /// run out; it never makes one.
    Silent {
        /// Keylime's word for it.
        word: String,
    },
}

/// What Keylime's policies for the agent cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// A measured-boot policy: PCRs 0 to 9 and the firmware's log.
    pub(crate) boot: bool,
    /// A runtime policy: IMA's list and PCR 10.
    pub(crate) runtime: bool,
}

/// Why an answer says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpinionError {
    /// It is not strict JSON.
    #[error("cannot read Keylime's answer")]
    Json(#[from] JsonError),
    /// A member is missing or of the wrong form.
    #[error("cannot read Keylime's answer: '{pointer}' is not {expected}")]
    Member {
        /// Its JSON pointer.
        pointer: &'static str,
        /// What should be there.
        expected: &'static str,
    },
}

// === impl Opinion ===

impl Opinion {
    /// Reads the body of the answer to `GET /v2.x/agents/{uuid}`.
    ///
    /// # Errors
    ///
    /// [`OpinionError`]; nothing may be concluded then.
    ///
    /// # Source
    ///
    /// `process_get_status` of Keylime 7.14 (`keylime/cloud_verifier_common.py`).
    pub(crate) fn read(body: &[u8]) -> Result<Self, OpinionError> {
        let answer = portcullis_json::parse(body, LIMITS)?;
        if unsigned(&answer, "/code", "200")? != 200 {
            return Err(member("/code", "200"));
        }
        let status = text(&answer, "/results/attestation_status")?;
        // Absent for an agent that pushes its evidence.
        let state = answer
            .pointer("/results/operational_state")
            .and_then(Value::as_u64);
        match status {
            "PASS" => Self::vouching(&answer),
            "FAIL" if state == Some(UNREACHABLE) => Ok(Self::Silent {
                word: "unreachable".to_owned(),
            }),
            "FAIL" => {
                let event = answer
                    .pointer("/results/last_event_id")
                    .and_then(Value::as_str)
                    .unwrap_or("unnamed");
                Ok(Self::Speaks {
                    event: shown(event),
                })
            }
            "PENDING" | "TIMEOUT" => Ok(Self::Silent {
                word: status.to_lowercase(),
            }),
            _ => Err(member(
                "/results/attestation_status",
                "one of PASS, FAIL, PENDING, TIMEOUT",
            )),
        }
    }

    fn vouching(answer: &Value) -> Result<Self, OpinionError> {
        let at_s = unsigned(
            answer,
            "/results/last_successful_attestation",
            "a time in seconds",
        )?;
        if at_s == 0 {
            // State "get quote" is reached before the first quote was looked at.
            return Ok(Self::Silent {
                word: "not attested yet".to_owned(),
            });
        }
        let flag = |pointer| unsigned(answer, pointer, "0 or 1").map(|flag| flag == 1);
        let period = seconds(answer, "/results/attestation_period")?;
        let longest = seconds(answer, "/results/maximum_attestation_interval")?;
        Ok(Self::Vouches {
            at_s,
            patience: longest.max(period.saturating_mul(2)),
            scope: Scope {
                boot: flag("/results/has_mb_refstate")?,
                runtime: flag("/results/has_runtime_policy")?,
            },
        })
    }
}

fn member(pointer: &'static str, expected: &'static str) -> OpinionError {
    OpinionError::Member { pointer, expected }
}

fn text<'a>(answer: &'a Value, pointer: &'static str) -> Result<&'a str, OpinionError> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or(member(pointer, "a text"))
}

fn unsigned(
    answer: &Value,
    pointer: &'static str,
    expected: &'static str,
) -> Result<u64, OpinionError> {
    match answer.pointer(pointer) {
        Some(value) => value.as_u64().ok_or(member(pointer, expected)),
        None => Err(member(pointer, expected)),
    }
}

/// Reads `2s`, as Keylime writes its intervals.
fn seconds(answer: &Value, pointer: &'static str) -> Result<Duration, OpinionError> {
    text(answer, pointer)?
        .strip_suffix('s')
        .and_then(|number| number.parse().ok())
        .map(Duration::from_secs)
        .ok_or(member(pointer, "whole seconds, such as '2s'"))
}

fn shown(event: &str) -> String {
    event.escape_debug().take(EVENT_LIMIT).collect()
}

#[cfg(test)]
mod tests;
