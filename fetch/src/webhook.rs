//! Posting news of drift to a server of the operator's.

use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use portcullis_config::WebhookConfig;
use portcullis_https::{Client, HttpsError, host_of};
use portcullis_journal::chain;

use crate::JOURNAL;

/// Longest message, in bytes; the agent's are shorter.
const MESSAGE_LIMIT_BYTES: u64 = 64 * 1024;
/// Between two attempts. With the 10 s that each may take, all of them take a minute at most.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
];

/// Why nothing was posted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// There is no message, or one that is too long.
    #[error("cannot read message: expected 1 to {MESSAGE_LIMIT_BYTES} bytes, found {found}")]
    Message {
        /// Its length as far as it was read, in bytes.
        found: usize,
    },
    /// Standard input fails.
    #[error("cannot read message")]
    Read(#[from] io::Error),
    /// The server did not take it.
    #[error("cannot post")]
    Post(#[from] HttpsError),
}

/// Posts the message in `input`, in several attempts if need be.
///
/// # Errors
///
/// [`WebhookError`]; of several attempts, what the last one came to.
pub(crate) fn post(webhook: &WebhookConfig, input: impl Read) -> Result<(), WebhookError> {
    let mut message = Vec::new();
    let limit = MESSAGE_LIMIT_BYTES.saturating_add(1);
    input.take(limit).read_to_end(&mut message)?;
    let found = message.len();
    if message.is_empty() || u64::try_from(found).unwrap_or(u64::MAX) > MESSAGE_LIMIT_BYTES {
        return Err(WebhookError::Message { found });
    }
    let client = Client::new(Path::new(&webhook.authority), None)?;
    insist(&PAUSES, || {
        client.post(&webhook.url, "application/json", &message)
    })?;
    JOURNAL.info(
        "drift told to webhook",
        &[("server", &host_of(&webhook.url))],
    );
    Ok(())
}

/// Tries once, and once more after each of `pauses`.
fn insist(
    pauses: &[Duration],
    mut attempt: impl FnMut() -> Result<(), HttpsError>,
) -> Result<(), HttpsError> {
    for pause in pauses {
        let Err(error) = attempt() else {
            return Ok(());
        };
        if matches!(error, HttpsError::Address { .. }) {
            return Err(error);
        }
        let event = format!("webhook does not answer, retrying in {} s", pause.as_secs());
        JOURNAL.warn(&event, &[("cause", &chain(&error))]);
        thread::park_timeout(*pause);
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> HttpsError {
        HttpsError::Status {
            url: "https://a.example".to_owned(),
            expected: "2xx",
            status: 503,
        }
    }

    #[test]
    fn tries_once_more_after_each_pause_and_no_more() {
        let pauses = [Duration::ZERO; 3];
        for (fails, tries, is_posted) in [(0, 1, true), (3, 4, true), (4, 4, false)] {
            let mut tried = 0;
            let outcome = insist(&pauses, || {
                tried += 1;
                if tried <= fails {
                    Err(status())
                } else {
                    Ok(())
                }
            });
            assert_eq!((tried, outcome.is_ok()), (tries, is_posted), "{fails}");
        }
        let mut tried = 0;
        let outcome = insist(&pauses, || {
            tried += 1;
            Err(HttpsError::Address { url: String::new() })
        });
        assert!(outcome.is_err());
        assert_eq!(tried, 1, "an address does not mend");
    }

    #[test]
    fn all_attempts_take_a_minute_at_most() {
        let attempts = u32::try_from(PAUSES.len()).unwrap() + 1;
        let all = PAUSES.iter().sum::<Duration>() + Duration::from_secs(10) * attempts;
        assert!(all <= Duration::from_secs(60), "{all:?}");
    }

    #[test]
    fn a_message_has_a_length() {
        let webhook = WebhookConfig {
            url: "https://a.example".to_owned(),
            authority: "/nonexistent".to_owned(),
        };
        let most = usize::try_from(MESSAGE_LIMIT_BYTES).unwrap();
        for (length, is_read) in [(0, false), (1, true), (most, true), (most + 1, false)] {
            let error = post(&webhook, &*vec![b' '; length]).unwrap_err();
            let is_length = matches!(error, WebhookError::Message { .. });
            assert_eq!(is_length, !is_read, "{length}: {error}");
        }
    }
}
