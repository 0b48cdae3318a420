//! One round for one node: opinion, evidence, appraisal, verdict.

use std::io;
use std::path::PathBuf;

use portcullis_attestation::appraisal::{AppraisalPolicy, appraise};
use portcullis_attestation::jws::{self, SignError, Typ};
use portcullis_attestation::nonce::Nonce;
use portcullis_attestation::reference::{self, Floors};
use portcullis_attestation::software_key::SoftwareKey;
use portcullis_attestation::verdict::{self, Terms};
use portcullis_config::Faults;
use portcullis_host::write_whole;

use crate::clock;
use crate::node::{self, NodeError};
use crate::opinion::Opinion;
use crate::settings::{NodeSettings, Settings};
use crate::verdict::{Outcome, weigh};
use crate::verifier::{Verifier, VerifierError};

/// Who made the verdict.
const DEVELOPER: &str = "https://portcullis.dev";
/// See [`DEVELOPER`].
const BUILD: &str = concat!("portcullis-keylime ", env!("CARGO_PKG_VERSION"));

/// What came of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Round {
    /// A verdict was written.
    Written {
        /// Its status.
        status: &'static str,
        /// Its life, in seconds.
        lifetime_s: u64,
        /// Codes of what was found wrong.
        findings: String,
    },
    /// None was: the one that is out runs out.
    Nothing {
        /// Why.
        reason: String,
    },
}

/// Why a round came to nothing. The verdict that is out runs out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    /// Keylime gave no opinion.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// The node gave no evidence.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Evidence of another TPM than the node's.
    #[error("cannot use evidence of TPM {found}: node '{node}' has TPM {expected}")]
    OtherTpm {
        /// The node.
        node: String,
        /// Its TPM.
        expected: String,
        /// The TPM of the evidence.
        found: String,
    },
    /// Pinned keys or reference values cannot be read.
    #[error("cannot read what is approved: {0}")]
    Approved(Faults),
    /// The system gives no random bytes.
    #[error("cannot draw a nonce")]
    Nonce(#[source] getrandom::Error),
    /// The verdict cannot be signed.
    #[error("cannot sign verdict")]
    Sign(#[from] SignError),
    /// The verdict cannot be written.
    #[error("cannot write '{}'", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Asks Keylime about `node` and writes the verdict that follows.
///
/// # Errors
///
/// [`RoundError`]: nothing was written.
pub(crate) fn round(
    settings: &Settings,
    node: &NodeSettings,
    verifier: &Verifier,
    key: &mut SoftwareKey,
) -> Result<Round, RoundError> {
    let opinion = verifier.opinion(&node.agent)?;
    if let Opinion::Silent { word } = &opinion {
        // Nothing to say about evidence either; the node need not be troubled.
        let reason = format!("Keylime says '{word}'");
        return Ok(Round::Nothing { reason });
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(RoundError::Nonce)?;
    let nonce = Nonce::new(bytes);
    let evidence = node::evidence(&node.evidence, &nonce)?;
    if evidence.ueid.as_str() != node.ueid {
        return Err(RoundError::OtherTpm {
            node: node.name.clone(),
            expected: node.ueid.clone(),
            found: evidence.ueid.to_string(),
        });
    }
    let keys = portcullis_config::trusted_keys().map_err(RoundError::Approved)?;
    let mut documents = Vec::new();
    let mut refused = Vec::new();
    for file in portcullis_config::reference_values().map_err(RoundError::Approved)? {
        match reference::verify(&file.token, &keys) {
            Ok(reference) => documents.push((file.path, reference)),
            Err(error) => refused.push(error.finding(&file.path)),
        }
    }
    let now = clock::now();
    // Nothing is remembered here: what withdraws a document must lie beside it.
    let standing = reference::standing(documents, &Floors::default(), 1, now.s);
    refused.extend(standing.refused);
    let references = standing.accepted;
    let policy = AppraisalPolicy {
        references: &references,
        refused_references: &refused,
        keys: &keys,
    };
    let appraisal = appraise(&evidence, &nonce, &policy, now.s);
    let knows_boot_states = references
        .iter()
        .any(|one| !one.values.boot_states.is_empty());
    let max_age = settings.max_verdict_age();
    match weigh(&opinion, appraisal, knows_boot_states, max_age, now.s) {
        Outcome::Nothing { reason } => Ok(Round::Nothing { reason }),
        Outcome::Issue {
            appraisal,
            lifetime_s,
        } => {
            let terms = Terms {
                issuer: settings.issuer.clone(),
                verifier_developer: DEVELOPER.to_owned(),
                verifier_build: BUILD.to_owned(),
                issued_at_s: now.s,
                lifetime_s,
                node_name: Some(node.name.clone()),
                // Grows with time, so nothing need be kept; a clock set back makes verdicts that
                // the node has seen newer ones than, and refuses.
                sequence: now.ms,
                max_age_s: None,
                latched: None,
            };
            let Some(claims) = verdict::claims(&terms, &appraisal) else {
                let reason = "the evidence is not genuine".to_owned();
                return Ok(Round::Nothing { reason });
            };
            let token = jws::sign(Typ::Verdict, &claims, key)?;
            write_whole(&node.verdict, token.as_bytes()).map_err(|source| RoundError::Write {
                path: node.verdict.clone(),
                source,
            })?;
            let codes: Vec<&str> = appraisal.findings.iter().map(|one| one.code).collect();
            Ok(Round::Written {
                status: appraisal.status.as_str(),
                lifetime_s,
                findings: codes.join(","),
            })
        }
    }
}
