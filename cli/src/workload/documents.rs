//! What a file is, and where the pods in it are.

use portcullis_json::Limits;
use serde_json::Value;

use super::field::{Field, FieldError};
use crate::yaml::{self, YamlError};

/// As the gate reads configurations: a `List` may hold many pods.
const LIMITS: Limits = Limits {
    max_bytes: 10 << 20,
    max_depth: 64,
};
/// Lists in lists.
const LIST_DEPTH: usize = 4;

/// What a file can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// The configuration of an OCI runtime.
    Config,
    /// One or more Kubernetes objects, in YAML or JSON.
    Pod,
}

/// Why a file holds nothing that could be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error(
        "cannot tell what this is: expected 'ociVersion' of a config.json, or 'apiVersion' and 'kind'; say it with '--as'"
    )]
    Unknown,
    #[error("cannot read a manifest that is not UTF-8")]
    Encoding,
    #[error("cannot find a pod in {} of kind {}", count(*documents), kinds.join(", "))]
    NoPod {
        documents: usize,
        kinds: Vec<String>,
    },
    #[error("cannot find an object in an empty manifest")]
    Empty,
    #[error(transparent)]
    Json(#[from] portcullis_json::JsonError),
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// A pod, or the template of one, in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodPlace {
    /// Which document of the file.
    pub(crate) document: usize,
    /// `Deployment 'web'`, for people.
    pub(crate) title: String,
    /// Pointer to the object that a controller or a pod is; empty unless in a list.
    pub(crate) object: String,
    /// Pointer to what has the `metadata` and `spec` of the pod.
    pub(crate) pod: String,
}

fn count(documents: usize) -> String {
    match documents {
        1 => "1 object".to_owned(),
        more => format!("{more} objects"),
    }
}

/// What `bytes` are: a configuration if the first object has `ociVersion`, or looks like one.
pub(crate) fn recognise(bytes: &[u8]) -> Result<Form, DocumentError> {
    let documents = parse(bytes)?;
    let first = documents.first().ok_or(DocumentError::Empty)?;
    let has = |key| first.get(key).is_some();
    if has("apiVersion") && has("kind") {
        Ok(Form::Pod)
    } else if has("ociVersion") || (has("process") && !has("kind")) {
        Ok(Form::Config)
    } else {
        Err(DocumentError::Unknown)
    }
}

/// The objects of a manifest, in YAML or JSON.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Value>, DocumentError> {
    let text = str::from_utf8(bytes).map_err(|_place_does_not_help| DocumentError::Encoding)?;
    if text.trim_start().starts_with('{') {
        // YAML has JSON in it, but JSON has readers that agree better.
        if let Ok(value) = portcullis_json::parse(bytes, LIMITS) {
            return Ok(vec![value]);
        }
        if !text.contains("\n---") {
            return Ok(vec![portcullis_json::parse(bytes, LIMITS)?]);
        }
    }
    Ok(yaml::parse(text)?)
}

/// All pods of `documents`.
pub(crate) fn pods(documents: &[Value]) -> Result<Vec<PodPlace>, DocumentError> {
    let mut places = Vec::new();
    let mut kinds = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let object = Field::at(document, "");
        find(index, &object, LIST_DEPTH, &mut places, &mut kinds)?;
    }
    match (places.is_empty(), kinds.is_empty()) {
        (false, _) => Ok(places),
        (true, true) => Err(DocumentError::Empty),
        (true, false) => Err(DocumentError::NoPod {
            documents: kinds.len(),
            kinds,
        }),
    }
}

fn find(
    document: usize,
    object: &Field<'_>,
    depth: usize,
    places: &mut Vec<PodPlace>,
    kinds: &mut Vec<String>,
) -> Result<(), DocumentError> {
    let kind = object.clone().object()?.get("kind").needed_text()?;
    if kind.ends_with("List") && depth > 0 {
        for item in object.get("items").list()? {
            find(document, &item, depth.saturating_sub(1), places, kinds)?;
        }
        return Ok(());
    }
    let template = match kind {
        "Pod" => "",
        "PodTemplate" => "/template",
        "Deployment"
        | "DaemonSet"
        | "StatefulSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        other => {
            kinds.push(portcullis_gate::quote(other));
            return Ok(());
        }
    };
    let metadata = object.get("metadata");
    let name = match metadata.get("name").text()? {
        Some(name) => name,
        None => metadata.get("generateName").text()?.unwrap_or_default(),
    };
    places.push(PodPlace {
        document,
        title: format!("{kind} {}", portcullis_gate::quote(name)),
        object: object.pointer.clone(),
        pod: format!("{}{template}", object.pointer),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_recognised_by_what_is_in_it() {
        for (text, expected) in [
            ("{\"ociVersion\": \"1.0.2\", \"process\": {}}", Form::Config),
            ("{\"process\": {}}", Form::Config),
            ("{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}", Form::Pod),
            ("apiVersion: v1\nkind: Service\n", Form::Pod),
            ("---\n# none\n---\nkind: Pod\napiVersion: v1\n", Form::Pod),
        ] {
            assert_eq!(recognise(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in ["a: 1", "[]", "{}", "", "# nothing"] {
            assert!(recognise(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn pods_are_found_in_controllers_and_lists() {
        let text = "kind: Service\n---\nkind: CronJob\nmetadata: {name: a}\n---\nkind: List\nitems:\n\
                    - kind: ConfigMap\n- kind: Deployment\n  metadata: {name: b}\n- kind: PodList\n  \
                    items:\n  - kind: Pod\n    metadata: {generateName: c-}\n";
        let documents = parse(text.as_bytes()).unwrap();
        let found = pods(&documents).unwrap();
        let found: Vec<(usize, &str, &str)> = found
            .iter()
            .map(|it| (it.document, it.title.as_str(), it.pod.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (1, "CronJob 'a'", "/spec/jobTemplate/spec/template"),
                (2, "Deployment 'b'", "/items/1/spec/template"),
                (2, "Pod 'c-'", "/items/2/items/0"),
            ]
        );
    }

    #[test]
    fn a_manifest_without_pods_says_what_is_in_it() {
        let documents = parse(b"kind: Service\n---\nkind: ConfigMap\n").unwrap();
        assert_eq!(
            pods(&documents).unwrap_err().to_string(),
            "cannot find a pod in 2 objects of kind 'Service', 'ConfigMap'"
        );
        let documents = parse(b"kind: [Pod]").unwrap();
        assert_eq!(
            pods(&documents).unwrap_err().to_string(),
            "cannot read manifest at '/kind': expected a text, found a list"
        );
    }
}
