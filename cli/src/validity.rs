//! The time for which a signed document counts, as people read it.

use crate::clock;
use crate::paint::{bad, good};

/// Whether a document counts at `now_s`, and until or since when; all in seconds since 1970.
/// `expires_s` is the first second in which it does not.
pub(crate) fn validity(not_before_s: u64, expires_s: u64, now_s: u64) -> String {
    if now_s < not_before_s {
        return format!("{} before {}", bad("not valid"), clock::utc(not_before_s));
    }
    let until = clock::utc_and_distance(expires_s, now_s);
    if now_s < expires_s {
        format!("{} until {until}", good("valid"))
    } else {
        format!("{} since {until}", bad("expired"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_from_when_until_when_and_since_when() {
        let said = |now_s| validity(1000, 2000, now_s);
        assert!(said(999).ends_with("before 1970-01-01T00:16:40Z"));
        assert!(said(1000).contains(" until 1970-01-01T00:33:20Z (in 16 min 40 s)"));
        assert!(said(2000).ends_with("since 1970-01-01T00:33:20Z (now)"));
    }
}
