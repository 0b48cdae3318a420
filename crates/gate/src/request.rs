//! What is to be started, and the moment at which that is decided.

use portcullis_attestation::boot_id::BootId;

use crate::{Code, FirstSeen, Refusal, Requirement, Seen};

/// One launch, as far as the decision needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchRequest {
    /// Name of this node.
    pub node: String,
    /// Noun phrase for the records, for instance `container 'web-1'`.
    pub subject: String,
    /// What the pod itself asks of the host's tags.
    pub require_tags: Vec<Requirement>,
}

/// What the relying party knows by itself, without asking the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_s: u64,
    /// The boot id that the relying party read from the kernel itself.
    pub boot_id: BootId,
    /// `CLOCK_BOOTTIME` in milliseconds, which nobody can set.
    pub boottime_ms: u64,
    /// The verdicts that relying parties of this host have seen in this boot.
    /// [`decide`](crate::decide()) notes the one it is shown; the caller keeps it.
    pub seen: Seen,
}

/// Where a verdict stands among those of its verifier.
///
/// The sequence number comes first, because it only ever grows, while a clock that ran ahead is
/// set back: by the time of issue every verdict after that would be a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerdictOrder {
    /// The verifier's sequence number.
    pub seq: u64,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
}

/// The annotation with which a pod asks for tags of its host.
pub const REQUIRE_TAGS_ANNOTATION: &str = "portcullis.dev/require-tags";

/// The annotation with which a pod asks for a stricter hardening profile.
pub const PROFILE_ANNOTATION: &str = "portcullis.dev/profile";

// === impl Moment ===

impl Moment {
    /// The moment as something that is seen for the first time remembers it.
    pub(crate) const fn now(&self) -> FirstSeen {
        FirstSeen {
            unix_s: self.unix_s,
            boottime_ms: self.boottime_ms,
        }
    }
}

/// Reads the text of [`REQUIRE_TAGS_ANNOTATION`].
///
/// # Errors
/// The refusal `tag-requirement-malformed`, with the column.
pub fn required_tags(annotation: &str) -> Result<Requirement, Refusal> {
    Requirement::parse(annotation).map_err(|error| {
        Refusal::new(
            Code::TagRequirementMalformed,
            format!(
                "annotation '{REQUIRE_TAGS_ANNOTATION}', column {}",
                error.column
            ),
            error.expected,
            error.found,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::required_tags;
    use crate::Code;

    #[test]
    fn the_annotation_of_a_pod_is_read_or_refused_with_its_column() {
        assert!(!required_tags("country in (DE, FR)").unwrap().is_empty());

        let refusal = required_tags("country in DE\n").expect_err("no parentheses");
        assert_eq!(refusal.code, Code::TagRequirementMalformed);
        assert_eq!(
            refusal.to_string(),
            "portcullis: fault [tag-requirement-malformed] annotation \
             'portcullis.dev/require-tags', column 12: expected '(', found 'DE'; \
             correct the expression"
        );
    }
}
