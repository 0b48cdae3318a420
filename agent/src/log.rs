//! What the agent says in the journal.

use portcullis_journal::Journal;

pub(crate) use portcullis_journal::chain;

const JOURNAL: Journal = Journal::of("portcullis-agent");

/// Something failed that the operator has to look at.
pub(crate) fn error(event: &str, fields: &[(&str, &str)]) {
    JOURNAL.error(event, fields);
}

/// Something failed and is being dealt with.
pub(crate) fn warn(event: &str, fields: &[(&str, &str)]) {
    JOURNAL.warn(event, fields);
}

/// Something happened.
pub(crate) fn info(event: &str, fields: &[(&str, &str)]) {
    JOURNAL.info(event, fields);
}
