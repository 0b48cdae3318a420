//! Bytes to typed fields, through the strict JSON reader.

use portcullis_json::Limits;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::frame::FRAME_LIMIT_BYTES;
use crate::message::MalformedMessage;

/// Objects inside each other in one message; a record of a launch needs about eight.
const DEPTH_LIMIT: usize = 32;

/// Parses one message; duplicate keys and everything else two readers could read differently is
/// refused.
pub(crate) fn parse(frame: &[u8]) -> Result<Value, MalformedMessage> {
    let limits = Limits {
        max_bytes: FRAME_LIMIT_BYTES,
        max_depth: DEPTH_LIMIT,
    };
    portcullis_json::parse(frame, limits).map_err(MalformedMessage::ParseJson)
}

/// Turns parsed JSON into the fields of `what`.
pub(crate) fn decode<T: DeserializeOwned>(
    what: &'static str,
    value: Value,
) -> Result<T, MalformedMessage> {
    serde_json::from_value(value).map_err(|source| MalformedMessage::DecodeFields { what, source })
}
