//! `portcullis keys generate`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use portcullis_attestation::jwk::{KeyUse, TrustedKey};
use portcullis_attestation::jws::Signer as _;
use portcullis_attestation::software_key::{SoftwareKey, SoftwareKeyError};
use portcullis_config::paths;
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files::{self, FileError};
use crate::paint::{Rows, strong};
use crate::report::Report;

/// Random draws until a number on the curve comes up; one is enough but for once in 2³² times.
const DRAWS: usize = 8;

/// Make a key pair: NAME.pem is private and stays with you, NAME.jwk is pinned on the nodes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis keys generate --use reference --out keys
  portcullis keys generate --use tag --out keys --name tags-2027")]
pub(crate) struct GenerateArguments {
    /// What the key may sign.
    #[arg(long = "use", value_enum)]
    key_use: WantedUse,
    /// Directory for the two files; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the files; the use if not given.
    #[arg(long, value_parser = file_name)]
    name: Option<String>,
    /// Replace files that exist. Whatever an old key signed can then not be signed again.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WantedUse {
    /// Asset tags.
    Tag,
    /// Reference values.
    Reference,
    /// Verdicts, for a verifier outside of the node; the agent makes its own.
    Verdict,
    /// Policies.
    Policy,
}

#[derive(Debug, thiserror::Error)]
enum GenerateError {
    #[error("cannot read random numbers from the kernel")]
    ReadRandom(#[source] getrandom::Error),
    #[error("cannot find a private key among {DRAWS} random numbers")]
    FindKey,
    #[error("cannot encode the private key")]
    EncodeKey(#[source] SoftwareKeyError),
}

pub(crate) fn run(arguments: &GenerateArguments) -> Result<Report, Failure> {
    let key_use = KeyUse::from(arguments.key_use);
    let name = arguments
        .name
        .clone()
        .unwrap_or_else(|| key_use.as_str().to_owned());
    let private_path = arguments.out.join(format!("{name}.pem"));
    let public_path = arguments.out.join(format!("{name}.jwk"));

    let key = generate().map_err(Failure::internal)?;
    let pem = key
        .to_pem()
        .map_err(GenerateError::EncodeKey)
        .map_err(Failure::internal)?;
    let public = TrustedKey::new(key.public_key().clone(), key_use);
    let kid = public.key().kid().to_string();

    files::make_directory(&arguments.out)?;
    files::write(
        &private_path,
        pem.as_bytes(),
        files::PRIVATE,
        arguments.force,
    )?;
    let jwk = format!("{:#}\n", public.to_value());
    if let Err(error) = files::write(&public_path, jwk.as_bytes(), files::PUBLIC, arguments.force) {
        // A private key whose public half is nowhere is of no use to anybody but a thief.
        return Err(match std::fs::remove_file(&private_path) {
            Ok(()) => error.into(),
            Err(source) => FileError::Write {
                path: private_path,
                source,
            }
            .into(),
        });
    }

    let mut rows = Rows::default();
    rows.add("use", key_use.as_str());
    rows.add("kid", kid.as_str());
    rows.add(
        "private key",
        format!("{} (keep it offline)", private_path.display()),
    );
    rows.add("public key", public_path.display().to_string());
    let text = format!(
        "{}\n{}\nNext: {}",
        strong("Key made."),
        rows.render(),
        next_step(key_use, &private_path, &public_path)
    );
    let json = json!({
        "use": key_use.as_str(),
        "kid": kid,
        "private_key": private_path,
        "public_key": public_path,
    });
    Ok(Report::done(text, json))
}

fn generate() -> Result<SoftwareKey, GenerateError> {
    for _ in 0..DRAWS {
        let mut random = Zeroizing::new([0_u8; 32]);
        getrandom::fill(random.as_mut_slice()).map_err(GenerateError::ReadRandom)?;
        if let Some(key) = SoftwareKey::from_random(&random) {
            return Ok(key);
        }
    }
    Err(GenerateError::FindKey)
}

fn next_step(key_use: KeyUse, private: &Path, public: &Path) -> String {
    let (private, public) = (private.display(), public.display());
    let pin = format!("copy {public} to {}/ on the nodes", paths::TRUST);
    match key_use {
        KeyUse::Reference => format!(
            "{pin}, then sign boot states with 'portcullis reference sign --key {private}'."
        ),
        KeyUse::Tag => {
            format!("{pin}, then issue tags with 'portcullis tag issue --key {private}'.")
        }
        KeyUse::Verdict | KeyUse::Policy => format!("{pin}."),
    }
}

/// A file name without a directory: the files stay where `--out` says.
fn file_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && !text.starts_with('.')
        && text
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits, '-', '_' and '.', not beginning with '.'".to_owned())
    }
}

// === impl WantedUse ===

impl From<WantedUse> for KeyUse {
    fn from(wanted: WantedUse) -> Self {
        match wanted {
            WantedUse::Tag => Self::Tag,
            WantedUse::Reference => Self::Reference,
            WantedUse::Verdict => Self::Verdict,
            WantedUse::Policy => Self::Policy,
        }
    }
}
