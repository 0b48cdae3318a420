//! Which user namespace the container lives in, and what its ids are on the host.

use portcullis_gate::Code;
use serde_json::{Map, Value};

use super::Context;
use crate::facts::{HostFacts, IdRange, UserNamespaceMaps};
use crate::oci_config::text;
use crate::review::{Review, is_set};

/// A container's user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UserNamespace {
    /// That of the host.
    Host,
    /// One that the runtime makes, with the maps of the configuration.
    Own(UserNamespaceMaps),
    /// One that is joined by path, with the maps that the kernel has for it.
    Joined(UserNamespaceMaps),
    /// One that is joined by path and whose maps nobody could read.
    Unknown,
}

/// A mapping by which a process of the user namespace could have an id of the host.
pub(super) struct LowMapping {
    /// Where it comes from.
    pub pointer: &'static str,
    /// What is wrong with it.
    pub found: String,
}

// === impl UserNamespace ===

impl UserNamespace {
    /// The one that `linux` asks for.
    pub(super) fn of(linux: &Map<String, Value>, facts: &HostFacts) -> Self {
        let namespaces = linux.get("namespaces").and_then(Value::as_array);
        let mut paths = namespaces
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .filter(|namespace| text(namespace, "type") == "user")
            .map(|namespace| text(namespace, "path"));
        match (paths.next(), &facts.user_namespace) {
            (None, _) => Self::Host,
            (Some(""), _) => Self::Own(UserNamespaceMaps {
                uids: ranges(linux, UIDS),
                gids: ranges(linux, GIDS),
            }),
            (Some(_), Some(maps)) => Self::Joined(maps.clone()),
            (Some(_), None) => Self::Unknown,
        }
    }

    /// The first mapping that gives a host id below `minimum`, or none at all: crun would make one
    /// to the host's 0, and a map that is not written yet may become any. A container that lives
    /// among the host's ids has no mapping.
    pub(super) fn low_mapping(&self, minimum: u32) -> Option<LowMapping> {
        let (maps, pointers) = match self {
            Self::Host => return None,
            Self::Own(maps) => (maps, ["/linux/uidMappings", "/linux/gidMappings"]),
            Self::Joined(maps) => (maps, [JOINED; 2]),
            Self::Unknown => {
                return Some(LowMapping {
                    pointer: JOINED,
                    found: "a user namespace whose ids cannot be read".to_owned(),
                });
            }
        };
        let kinds = [&maps.uids, &maps.gids].into_iter().zip(pointers);
        kinds.into_iter().find_map(|(ranges, pointer)| {
            let found = low_range(ranges, minimum)?;
            Some(LowMapping { pointer, found })
        })
    }

    /// True if uid 0 of the container is `minimum` or above on the host.
    pub(super) fn maps_root(&self, minimum: u32) -> bool {
        let (Self::Own(maps) | Self::Joined(maps)) = self else {
            return false;
        };
        let mut ranges = maps.uids.iter();
        ranges.any(|range| range.inside == 0 && range.count > 0 && range.host >= minimum.into())
    }

    /// True if mounts may be mapped to its ids.
    pub(super) fn maps_mounts(&self) -> bool {
        match self {
            Self::Own(maps) | Self::Joined(maps) => !maps.uids.is_empty(),
            Self::Host | Self::Unknown => false,
        }
    }
}

/// Where a namespace that is joined is named.
const JOINED: &str = "/linux/namespaces";
const UIDS: &str = "uidMappings";
const GIDS: &str = "gidMappings";

fn ranges(linux: &Map<String, Value>, key: &str) -> Vec<IdRange> {
    let ranges = linux.get(key).and_then(Value::as_array);
    let number = |range: &Value, key: &str| range.get(key).and_then(Value::as_u64).unwrap_or(0);
    ranges
        .into_iter()
        .flatten()
        .map(|range| IdRange {
            inside: number(range, "containerID"),
            host: number(range, "hostID"),
            count: number(range, "size"),
        })
        .collect()
}

fn low_range(ranges: &[IdRange], minimum: u32) -> Option<String> {
    if ranges.is_empty() {
        return Some("none".to_owned());
    }
    ranges.iter().find_map(|range| {
        let IdRange { host, count, .. } = *range;
        let fits = host
            .checked_add(count)
            .is_some_and(|end| end <= u64::from(u32::MAX));
        (host < u64::from(minimum) || !fits).then(|| format!("{count} from {host}"))
    })
}

/// Some runtimes do not look at the mappings beside a path, others read mounts by them: they must
/// say what is so.
pub(super) fn refuse_contradiction(
    linux: &Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let UserNamespace::Joined(maps) = UserNamespace::of(linux, context.facts) else {
        return;
    };
    for (key, known) in [(UIDS, &maps.uids), (GIDS, &maps.gids)] {
        let sorted = |mut ranges: Vec<IdRange>| {
            ranges.sort_unstable();
            ranges
        };
        if is_set(linux, key) && sorted(ranges(linux, key)) != sorted(known.clone()) {
            let expected = "the ids of the user namespace that is joined";
            let pointer = format!("/linux/{key}");
            review.refuse(Code::OciFieldDenied, pointer, expected, "others");
        }
    }
}
