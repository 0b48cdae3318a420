//! Where verdicts come from, if the agent does not issue them itself.

use std::time::Duration;

use portcullis_gate::{Code, Refusal};

use super::node::absolute;
use super::{SECOND, span};
use crate::config::RemoteConfig;
use crate::reader::Reader;
use crate::tree::Table;
use crate::{defaults, paths};

/// Longest time between two looks.
const HOUR: Duration = Duration::from_hours(1);

/// The remote verifier; `None` if the agent is the verifier.
pub(super) fn remote(reader: &mut Reader, root: &Table) -> Option<RemoteConfig> {
    let agent = reader.section(root, "agent", "agent.");
    let verifier = reader.text(
        agent,
        "verifier",
        "'embedded' or 'remote'",
        |text| match text {
            "embedded" => Some(false),
            "remote" => Some(true),
            _ => None,
        },
    );
    let section = reader.section(root, "remote", "remote.");
    let verdict = reader.text(
        section,
        "verdict",
        "a path beneath '/run/portcullis' or '/var/lib/portcullis'",
        |text| absolute(text).filter(|path| is_within_reach(path)),
    );
    let url = reader.text(
        section,
        "url",
        "an address 'https://…', or nothing",
        https_or_nothing,
    );
    let authority = reader.text(
        section,
        "authority",
        "an absolute path, or nothing",
        path_or_nothing,
    );
    let interval = span(
        reader,
        section,
        "interval",
        SECOND,
        HOUR,
        defaults::REMOTE_INTERVAL,
    );
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (url, authority) = (given(url), given(authority));
    if url.is_some() && authority.is_none() {
        reader.faults.push(
            Refusal::new(
                Code::ConfigMismatch,
                section.cited("authority", ""),
                "the certificate of the authority that the server at 'url=' must be of",
                "none",
            )
            .with_remedy("set 'remote.authority=' to a PEM file"),
        );
    }
    verifier.unwrap_or(false).then(|| RemoteConfig {
        verdict: verdict.unwrap_or_else(|| defaults::REMOTE_VERDICT.to_owned()),
        url,
        authority,
        interval,
    })
}

/// An address that names at least a host, or an empty one for none.
pub(super) fn https_or_nothing(text: &str) -> Option<String> {
    let has_host = text
        .strip_prefix("https://")
        .is_some_and(|rest| rest.starts_with(|first: char| !"/?#:".contains(first)));
    let fits = text.is_empty() || (has_host && text.bytes().all(|byte| byte.is_ascii_graphic()));
    fits.then(|| text.to_owned())
}

/// An absolute path, or an empty one for none.
pub(super) fn path_or_nothing(text: &str) -> Option<String> {
    if text.is_empty() {
        Some(String::new())
    } else {
        absolute(text)
    }
}

/// Whether the agent, once confined, can read it.
fn is_within_reach(path: &str) -> bool {
    [paths::RUN, paths::STATE].iter().any(|directory| {
        path.strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}
