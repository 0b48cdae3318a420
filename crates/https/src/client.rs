//! A client of one authority.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

/// For connection, question and answer together.
const PATIENCE: Duration = Duration::from_secs(10);
/// A system's whole list of authorities is a quarter of a MiB.
const PEM_BYTES: u64 = 1024 * 1024;

/// A certificate and its key, both PEM, to show to servers.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
}

/// A client that believes certificates of the authorities it was made with.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// A certificate or key cannot be read.
    #[error("cannot read '{}'", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
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
    /// The address is not one of HTTPS.
    #[error("cannot use address '{url}': expected 'https://…'")]
    Address {
        /// The address, escaped.
        url: String,
    },
    /// There was no answer, or a longer one than was asked for.
    #[error("cannot ask '{url}'")]
    Ask {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: ureq::Error,
    },
    /// The server did not give what was asked for, or take what was sent.
    #[error("cannot use answer of '{url}': expected status {expected}, found {status}")]
    Status {
        /// The address.
        url: String,
        /// What would have been right.
        expected: &'static str,
        /// The HTTP status.
        status: u16,
    },
}

// === impl Client ===

impl Client {
    /// Reads certificates, at least one in `authority`, and key; does not connect.
    ///
    /// # Errors
    ///
    /// [`HttpsError::File`] and [`HttpsError::Pem`].
    pub fn new(authority: &Path, identity: Option<Identity<'_>>) -> Result<Self, HttpsError> {
        let authorities = authorities(authority)?;
        let identity = identity
            .map(|identity| {
                let own = certificate(identity.certificate, "certificate")?;
                let key = PrivateKey::from_pem(&read(identity.key)?)
                    .map_err(|source| unusable(identity.key, "private key", source))?;
                Ok::<_, HttpsError>(ClientCert::new_with_certs(&[own], key))
            })
            .transpose()?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&authorities))
            .client_cert(identity)
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
        Ok(Self { agent })
    }

    /// The body of the answer to `GET url`, of at most `limit_bytes`; within 10 s.
    ///
    /// # Errors
    ///
    /// [`HttpsError::Address`], [`HttpsError::Ask`] and [`HttpsError::Status`]; worth another try
    /// later, but for the first.
    pub fn get(&self, url: &str, limit_bytes: u64) -> Result<Vec<u8>, HttpsError> {
        let shown: String = url.escape_debug().take(256).collect();
        if !url.starts_with("https://") {
            return Err(HttpsError::Address { url: shown });
        }
        let asking = |source| HttpsError::Ask {
            url: shown.clone(),
            source,
        };
        let mut answer = self.agent.get(url).call().map_err(asking)?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(HttpsError::Status {
                url: shown,
                expected: "200",
                status,
            });
        }
        answer
            .body_mut()
            .with_config()
            .limit(limit_bytes)
            .read_to_vec()
            .map_err(asking)
    }

    /// Sends `body` by `POST url` as `content_type`; within 10 s. Follows no redirect and does not
    /// read what is answered beyond the status.
    ///
    /// Errors name the host only: the rest of the address may be a secret.
    ///
    /// # Errors
    ///
    /// [`HttpsError::Address`], [`HttpsError::Ask`], and [`HttpsError::Status`] for any but 2xx;
    /// worth another try later, but for the first.
    pub fn post(&self, url: &str, content_type: &str, body: &[u8]) -> Result<(), HttpsError> {
        let shown = host_of(url);
        if !url.starts_with("https://") {
            return Err(HttpsError::Address { url: shown });
        }
        // Another try must not meet the connection on which this one failed.
        let sent = self
            .agent
            .post(url)
            .header("connection", "close")
            .content_type(content_type)
            .send(body);
        let answer = match sent {
            // They repeat the address.
            Err(ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_)) => {
                return Err(HttpsError::Address { url: shown });
            }
            Err(source) => return Err(HttpsError::Ask { url: shown, source }),
            Ok(answer) => answer,
        };
        if answer.status().is_success() {
            return Ok(());
        }
        Err(HttpsError::Status {
            url: shown,
            expected: "2xx",
            status: answer.status().as_u16(),
        })
    }
}

/// Scheme and host of an address, without user, path and query.
#[must_use]
pub fn host_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "…".to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let shown: String = host.escape_debug().take(256).collect();
    format!("{scheme}://{shown}")
}

/// All certificates in a file, at least one.
fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, HttpsError> {
    const WHAT: &str = "certificate of an authority";
    let bytes = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(one) = item.map_err(|source| unusable(path, WHAT, source))? {
            found.push(one);
        }
    }
    if found.is_empty() {
        let source = ureq::Error::Tls("no certificate in it");
        return Err(unusable(path, WHAT, source));
    }
    Ok(found)
}

fn certificate(path: &Path, what: &'static str) -> Result<Certificate<'static>, HttpsError> {
    Certificate::from_pem(&read(path)?).map_err(|source| unusable(path, what, source))
}

fn unusable(path: &Path, what: &'static str, source: ureq::Error) -> HttpsError {
    HttpsError::Pem {
        path: path.to_owned(),
        what,
        source,
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, HttpsError> {
    let reading = |source| HttpsError::File {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(reading)?.len();
    if size > PEM_BYTES {
        let limit = format!("expected at most {PEM_BYTES} bytes, found {size}");
        return Err(reading(io::Error::other(limit)));
    }
    fs::read(path).map(Zeroizing::new).map_err(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("https://a.example/hook/s3cret", "https://a.example"),
            ("https://a.example?key=s3cret", "https://a.example"),
            ("https://a.example#s3cret", "https://a.example"),
            (
                "https://me:s3cret@a.example:8443/x",
                "https://a.example:8443",
            ),
            ("https://a.example", "https://a.example"),
            ("s3cret/x", "…"),
        ] {
            assert_eq!(host_of(url), shown);
        }
    }
}
