//! Header fields that every answer carries, whatever kind it is of.

use crate::app::{Answer, Response};

/// Adds header fields to whatever kind of answer.
pub(super) fn add_fields(answer: Answer, added: &str) -> Answer {
    match answer {
        Answer::Respond(response) => Answer::Respond(with_fields(response, added)),
        Answer::EventStream { channel, since, shown, fields } => {
            Answer::EventStream { channel, since, shown, fields: fields + added }
        }
        Answer::Events { fields } => Answer::Events { fields: fields + added },
        Answer::LongPoll { channel, since, timeout_ms, fields } => {
            Answer::LongPoll { channel, since, timeout_ms, fields: fields + added }
        }
        Answer::EventStreams { channels, shown, fields } => {
            Answer::EventStreams { channels, shown, fields: fields + added }
        }
        Answer::LongPolls { channels, timeout_ms, fields } => {
            Answer::LongPolls { channels, timeout_ms, fields: fields + added }
        }
        answer @ (Answer::Later { .. } | Answer::Consult(_) | Answer::HandOver(_)) => answer,
    }
}

/// Adds them to an answer that is whole.
pub(super) fn with_fields(mut response: Response, added: &str) -> Response {
    response.fields.push_str(added);
    response
}

/// A JSON answer that is true only now.
pub(super) fn fresh(body: Vec<u8>) -> Response {
    Response::json(200, body).with_field("Cache-Control", "no-store")
}
