//! The file that carries an asset tag from its authority to the node: the document, and the
//! authority's permission to write its digest to the TPM.

use std::path::{Path, PathBuf};

use portcullis_attestation::jws::{JwsError, Typ, Unverified};
use portcullis_attestation::tag::authorization::WriteAuthorization;
use portcullis_json::{JsonError, Limits};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::files;

/// Objects inside each other in the file; it has one.
const DEPTH: usize = 2;

/// What is in the file.
#[derive(Debug)]
pub(crate) struct TagFile {
    /// The document, a compact JWS. Its form was looked at, its signature was not.
    pub(crate) document: String,
    /// The permission; absent from a bare document.
    pub(crate) authorization: Option<WriteAuthorization>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TagFileError {
    #[error("cannot read asset tag '{}'", path.display())]
    Document {
        path: PathBuf,
        #[source]
        source: JwsError,
    },
    #[error("cannot read asset tag '{}'", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("cannot read asset tag '{}': expected an object with 'document' and 'authorization'", path.display())]
    Shape { path: PathBuf },
}

// === impl TagFile ===

impl TagFile {
    /// Reads the file; a bare document, as the node stores it, is read too.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = files::read_text(path)?;
        Self::parse(&text, path).map_err(Failure::usage)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, TagFileError> {
        let file = if text.starts_with('{') {
            Self::from_json(text, path)?
        } else {
            Self {
                document: text.to_owned(),
                authorization: None,
            }
        };
        match Unverified::parse(&file.document, Typ::Tag) {
            Ok(_) => Ok(file),
            Err(source) => Err(TagFileError::Document {
                path: path.to_path_buf(),
                source,
            }),
        }
    }

    fn from_json(text: &str, path: &Path) -> Result<Self, TagFileError> {
        let limits = Limits {
            max_bytes: text.len(),
            max_depth: DEPTH,
        };
        let value = portcullis_json::parse(text.as_bytes(), limits).map_err(|source| {
            TagFileError::Json {
                path: path.to_path_buf(),
                source,
            }
        })?;
        let member = |name| value.get(name).and_then(Value::as_str);
        let both = member("document").zip(member("authorization"));
        both.filter(|_| value.as_object().is_some_and(|members| members.len() == 2))
            .and_then(|(document, authorization)| {
                Some(Self {
                    document: document.to_owned(),
                    authorization: Some(WriteAuthorization::parse(authorization)?),
                })
            })
            .ok_or_else(|| TagFileError::Shape {
                path: path.to_path_buf(),
            })
    }

    /// The form of the file.
    pub(crate) fn to_text(document: &str, authorization: &WriteAuthorization) -> String {
        let value = json!({
            "document": document,
            "authorization": authorization.to_string(),
        });
        format!("{value:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use portcullis_attestation::jws;
    use portcullis_attestation::software_key::SoftwareKey;
    use portcullis_attestation::ueid::Ueid;
    use zeroize::Zeroizing;

    use super::*;

    fn read(text: &str) -> Result<TagFile, TagFileError> {
        TagFile::parse(text.trim(), Path::new("x"))
    }

    #[test]
    fn reads_what_it_writes_and_a_bare_document() {
        let mut key = SoftwareKey::from_random(&Zeroizing::new([1; 32])).unwrap();
        let document = jws::sign(Typ::Tag, &json!({}), &mut key).unwrap();
        let subject = Ueid::of_endorsement_key(b"ek");
        let authorization = WriteAuthorization::sign(&document, &subject, &mut key).unwrap();
        let text = TagFile::to_text(&document, &authorization);
        let file = read(&text).unwrap();
        assert_eq!(file.document, document);
        assert_eq!(file.authorization, Some(authorization));
        assert!(read(&document).unwrap().authorization.is_none());
        for cut in 0..text.trim().len() {
            assert!(read(text.get(..cut).unwrap()).is_err(), "{cut}");
        }
        for other in ["{}", r#"{"document":"a.b.c","authorization":""}"#, "[]"] {
            assert!(read(other).is_err(), "{other}");
        }
        let more = text.replacen('{', r#"{"more": 1,"#, 1);
        assert!(matches!(read(&more), Err(TagFileError::Shape { .. })));
    }
}
