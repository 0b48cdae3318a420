//! Our verdicts beside the `ear` crate 0.6, Veraison's reading of draft-ietf-rats-ear-04.
//!
//! What one side signs the other reads with the same meaning: `issued`, `received`. Where they
//! differ, we differ on purpose: to refuse more, except in the last three rows. `differences` has a
//! test for each that shows both sides:
//!
//! | Token | `ear` 0.6 | Portcullis |
//! |---|---|---|
//! | claims of both spellings | ignores the foreign one; a part with `ear.status` alone has tier *none* | refused |
//! | affirming whole over a part of tier *none* | accepted: *none* sorts before *affirming* | refused: *none* is no trust |
//! | affirming part over a contraindicated vector | accepted: the vector is not looked at | refused |
//! | part without a vector | accepted | refused |
//! | no `kid`, or one that is not pinned | accepted: the caller chose the key | refused |
//! | no `iss`, `exp`, nonce or binding to TPM, boot, PCRs | accepted | refused |
//! | several nonces | accepted | refused: an attestation has one |
//! | a JSON key twice | accepted, the last one counts | refused |
//! | status as `2` or `Affirming` | accepted | refused |
//! | unknown members in the header | ignored | refused |
//! | signed with another algorithm | accepted if the caller asks for it | refused: ES256 alone |
//! | expired | refused by its own clock | left to the gate, which has a clock it trusts |
//! | empty list of policies | refused, as the draft has it | read, never written: trust does not hang on it |
//! | dotted spelling of the drafts before | refused | read, as Veraison and Trustee still issue it |

mod differences;
mod issued;
mod received;
mod sample;
