//! The Keylime verifier, asked over HTTPS with a client certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::opinion::{Opinion, OpinionError};

/// For connection, question and answer together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER_BYTES: u64 = 1024 * 1024;
/// The version of the interface that is asked for; Keylime keeps its older ones.
const VERSION: &str = "v2.2";

/// How the verifier is reached.
#[derive(Debug)]
pub(crate) struct Address<'a> {
    /// `https://HOST:PORT`.
    pub(crate) url: &'a str,
    /// The certificate authority that its certificate must be of.
    pub(crate) authority: &'a Path,
    /// Our certificate.
    pub(crate) certificate: &'a Path,
    /// The key of our certificate.
    pub(crate) key: &'a Path,
}

/// The verifier.
#[derive(Debug)]
pub(crate) struct Verifier {
    agent: Agent,
    url: String,
}

/// Why there is no opinion.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifierError {
    /// A certificate or key cannot be read.
    #[error("cannot read '{}'", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("cannot use '{}' as {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why not.
        #[source]
        source: ureq::Error,
    },
    /// The address is no HTTPS address.
    #[error("cannot use address '{url}': expected 'https://HOST:PORT'")]
    Address {
        /// The address.
        url: String,
    },
    /// There was no answer.
    #[error("cannot ask '{url}'")]
    Ask {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: ureq::Error,
    },
    /// The answer is another one.
    #[error("cannot use answer of '{url}': expected status 200, found {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
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
    /// If a file cannot be used, or the address is not one of HTTPS.
    pub(crate) fn new(address: &Address<'_>) -> Result<Self, VerifierError> {
        let url = address.url.trim_end_matches('/').to_owned();
        if !url.starts_with("https://") {
            return Err(VerifierError::Address { url });
        }
        let certificate = |path: &Path, what| {
            Certificate::from_pem(&read(path)?).map_err(|source| VerifierError::Pem {
                path: path.to_owned(),
                what,
                source,
            })
        };
        let authority = certificate(address.authority, "certificate of an authority")?;
        let own = certificate(address.certificate, "certificate")?;
        let key =
            PrivateKey::from_pem(&read(address.key)?).map_err(|source| VerifierError::Pem {
                path: address.key.to_owned(),
                what: "private key",
                source,
            })?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .client_cert(Some(ClientCert::new_with_certs(&[own], key)))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        Ok(Self { agent, url })
    }

    /// Asks for the opinion about the agent `uuid`.
    ///
    /// # Errors
    ///
    /// [`VerifierError`]. None of them is an opinion: verdicts run out meanwhile.
    pub(crate) fn opinion(&self, uuid: &str) -> Result<Opinion, VerifierError> {
        let url = format!("{}/{VERSION}/agents/{uuid}", self.url);
        let asking = |source| VerifierError::Ask {
            url: url.clone(),
            source,
        };
        let mut answer = self.agent.get(&url).call().map_err(asking)?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(VerifierError::Status { url, status });
        }
        let body = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES)
            .read_to_vec()
            .map_err(asking)?;
        Ok(Opinion::read(&body)?)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, VerifierError> {
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| VerifierError::File {
            path: path.to_owned(),
            source,
        })
}
