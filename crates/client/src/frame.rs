//! Cutting a byte stream into NUL-terminated messages, with a limit.
#![warn(clippy::arithmetic_side_effects)]

/// Longest message either side accepts, without its terminating NUL, in bytes.
///
/// A snapshot is about 4 KiB and a record of a launch with many changes about 60 KiB; the limit
/// leaves room and keeps a broken peer from filling our memory.
pub const FRAME_LIMIT_BYTES: usize = 1024 * 1024;

/// A message is longer than the limit, or may become so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot accept message of more than {limit_bytes} bytes")]
pub struct FrameOversized {
    /// The limit that was passed, in bytes.
    pub limit_bytes: usize,
}

/// Collects bytes as they arrive and hands out whole messages.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` known to hold no NUL, so that a slow peer cannot make us
    /// search the same bytes again and again.
    searched: usize,
    limit_bytes: usize,
}

// === impl FrameReader ===

impl Default for FrameReader {
    fn default() -> Self {
        Self::with_limit(FRAME_LIMIT_BYTES)
    }
}

impl FrameReader {
    /// Makes a reader that refuses messages longer than `limit_bytes`.
    #[must_use]
    pub const fn with_limit(limit_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            searched: 0,
            limit_bytes,
        }
    }

    /// Adds bytes that arrived. Take the messages out with [`Self::next_frame`] before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole message, without its NUL; `None` if its end has not arrived.
    ///
    /// # Errors
    ///
    /// [`FrameOversized`] if the next message is longer than the limit, or already has more bytes.
    /// The connection should be closed: where the following message begins is not known.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameOversized> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let end = unsearched.iter().position(|byte| *byte == 0);
        let length = end.map_or(self.buffer.len(), |offset| {
            self.searched.saturating_add(offset)
        });
        if length > self.limit_bytes {
            return Err(FrameOversized {
                limit_bytes: self.limit_bytes,
            });
        }
        if end.is_none() {
            self.searched = length;
            return Ok(None);
        }
        let rest = self.buffer.split_off(length.saturating_add(1));
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.truncate(length);
        self.searched = 0;
        Ok(Some(frame))
    }

    /// Says whether no bytes wait for the rest of their message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(frames: &mut FrameReader) -> Option<String> {
        frames
            .next_frame()
            .unwrap()
            .map(|frame| String::from_utf8(frame).unwrap())
    }

    #[test]
    fn gives_a_message_that_arrives_byte_by_byte() {
        let mut frames = FrameReader::default();
        for byte in b"{\"a\":1}" {
            frames.push(&[*byte]);
            assert_eq!(take(&mut frames), None);
        }
        frames.push(b"\0");
        assert_eq!(take(&mut frames).as_deref(), Some("{\"a\":1}"));
        assert!(frames.is_empty());
    }

    #[test]
    fn gives_messages_that_arrive_together_in_order() {
        let mut frames = FrameReader::default();
        frames.push(b"one\0two\0thr");
        assert_eq!(take(&mut frames).as_deref(), Some("one"));
        assert_eq!(take(&mut frames).as_deref(), Some("two"));
        assert_eq!(take(&mut frames), None);
        assert!(!frames.is_empty());
        frames.push(b"ee\0");
        assert_eq!(take(&mut frames).as_deref(), Some("three"));
    }

    #[test]
    fn accepts_a_message_of_the_limit_and_refuses_one_byte_more() {
        for (message, accepted) in [("123", true), ("1234", true), ("12345", false)] {
            let mut frames = FrameReader::with_limit(4);
            frames.push(message.as_bytes());
            frames.push(b"\0");
            assert_eq!(frames.next_frame().is_ok(), accepted, "{message}");
        }
    }

    #[test]
    fn refuses_an_endless_message_once_the_limit_is_passed() {
        let mut frames = FrameReader::with_limit(4);
        frames.push(b"1234");
        assert_eq!(frames.next_frame(), Ok(None));
        frames.push(b"5");
        assert_eq!(frames.next_frame(), Err(FrameOversized { limit_bytes: 4 }));
    }

    #[test]
    fn counts_the_limit_for_each_message_and_not_for_all_that_wait() {
        let mut frames = FrameReader::with_limit(4);
        frames.push(b"123\x00456\x00789");
        assert_eq!(take(&mut frames).as_deref(), Some("123"));
        assert_eq!(take(&mut frames).as_deref(), Some("456"));
        assert_eq!(take(&mut frames), None);
    }

    proptest! {
        /// How the stream was cut on its way has no effect on the messages.
        #[test]
        fn gives_the_same_messages_however_the_bytes_arrive(
            messages in prop::collection::vec("[a-z]{0,20}", 0..6),
            cuts in prop::collection::vec(1_usize..12, 1..40),
        ) {
            let stream: Vec<u8> =
                messages.iter().flat_map(|message| message.bytes().chain([0])).collect();
            let mut frames = FrameReader::default();
            let mut received = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, later) = rest.split_at((*cut).min(rest.len()));
                frames.push(piece);
                received.extend(std::iter::from_fn(|| take(&mut frames)));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(received, messages);
            prop_assert!(frames.is_empty());
        }

        #[test]
        fn never_keeps_more_than_the_limit(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..16), 0..16),
        ) {
            let mut frames = FrameReader::with_limit(24);
            for piece in pieces {
                frames.push(&piece);
                loop {
                    match frames.next_frame() {
                        Ok(Some(frame)) => prop_assert!(frame.len() <= 24),
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(frames.buffer.len() <= 24);
            }
        }
    }
}
