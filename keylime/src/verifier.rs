//! The Keylime verifier, asked over HTTPS with a client certificate.

use portcullis_https::{Client, HttpsError, Identity};

use crate::opinion::{Opinion, OpinionError};
use crate::settings::Settings;

/// Largest answer that is read.
const ANSWER_BYTES: u64 = 1024 * 1024;
/// The version of the interface that is asked for; Keylime keeps its older ones.
const VERSION: &str = "v2.2";

/// The verifier.
#[derive(Debug)]
pub(crate) struct Verifier {
    client: Client,
    url: String,
}

/// Why there is no opinion.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifierError {
    /// The verifier did not answer.
    #[error("cannot ask Keylime")]
    Ask(#[from] HttpsError),
    /// The answer cannot be read.
    #[error(transparent)]
    Opinion(#[from] OpinionError),
}

// === impl Verifier ===

impl Verifier {
    /// Reads certificates and key; does not connect.
    ///
    /// # Errors
    ///
    /// If a file cannot be used.
    pub(crate) fn new(settings: &Settings) -> Result<Self, HttpsError> {
        let identity = Identity {
            certificate: &settings.certificate,
            key: &settings.certificate_key,
        };
        Ok(Self {
            client: Client::new(&settings.authority, Some(identity))?,
            url: settings.verifier.trim_end_matches('/').to_owned(),
        })
    }

    /// Asks for the opinion about the agent `uuid`.
    ///
    /// # Errors
    ///
    /// [`VerifierError`]. None of them is an opinion: verdicts run out meanwhile.
    pub(crate) fn opinion(&self, uuid: &str) -> Result<Opinion, VerifierError> {
        let url = format!("{}/{VERSION}/agents/{uuid}", self.url);
        Ok(Opinion::read(&self.client.get(&url, ANSWER_BYTES)?)?)
    }
}
