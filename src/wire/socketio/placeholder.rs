//! Where in a packet its attachments belong: `{"_placeholder":true,"num":0}` stands for the first.
//!
//! The rule is that of the parser of Socket.IO for JavaScript, here and wherever else attachments are put in their places:
//! an object whose member `_placeholder` is `true` stands for the attachment of its member `num`, whatever else it holds
//! and in whatever order; it may stand in many places, or in none; a `num` that is no attachment's is a fault of its
//! sender. In a packet without attachments it is an object like others.

use std::ops::Range;

use super::SocketError;
use crate::wire::json::{Object, Raw, find_objects, push_display};

/// Appends the placeholder of an attachment.
pub fn encode_placeholder(out: &mut Vec<u8>, index: u32) {
    push_display(out, format_args!("{{\"_placeholder\":true,\"num\":{index}}}"));
}

/// Which attachment a placeholder's `num` says, if there can be one.
pub fn attachment_of(number: f64) -> Option<u32> {
    let is_index = number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0;
    is_index.then_some(number as u32)
}

/// Where the placeholders of so many attachments are in `json`, and for which each stands.
pub(in crate::wire) fn placeholders(
    json: Raw<'_>,
    attachments: u32,
) -> Result<Vec<(Range<usize>, u32)>, SocketError> {
    let index = |object: &Object<'_>| {
        let index = object.number.and_then(attachment_of).filter(|index| *index < attachments);
        object.is_placeholder.then_some(index)
    };
    let found = find_objects(json, index);
    found.into_iter().map(|(range, index)| Ok((range, index.ok_or(SocketError::Placeholders)?))).collect()
}
