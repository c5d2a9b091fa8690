//! What can be wrong with a command or a batch that is JSON but not what was asked for.

use std::fmt;

use super::JsonError;
use crate::{
    limits::{CONTENT_TYPE_BYTES_MAX, SOCKET_ROOMS_MAX},
    model::Misspelt,
};

/// Why a command or a publication could not be read. All are the sender's fault; each has a code for programs and a
/// sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The text is not JSON this server reads.
    Json(JsonError),
    /// The value that should be an object is not one.
    NotObject,
    /// A command has no `id`.
    IdMissing,
    /// The `id` is not an integer from 0 to 4294967295.
    IdInvalid,
    /// An object with an `id` and no command.
    CommandMissing,
    /// A member that names no command.
    CommandUnknown,
    /// More than one command in one message.
    CommandsSeveral,
    /// A member that is needed is absent.
    Missing(&'static str),
    /// A member is not a string.
    NotText(&'static str),
    /// A member that is not known here; refused, for it may be a misspelt `since`.
    MemberUnknown(Misspelt),
    /// A member stands twice.
    MemberTwice,
    /// `since` is not `epoch:offset`.
    Position,
    /// Both `data` and `data_base64`.
    DataTwice,
    /// `data_base64` is not base64 (RFC 4648 §4, padded).
    Base64,
    /// `content_type` is too long, or not printable ASCII.
    ContentType,
    /// `event` is no name that an event stream can show.
    EventName,
    /// A member is not a list.
    NotList(&'static str),
    /// A member is neither `true` nor `false`.
    NotFlag(&'static str),
    /// A member is no whole number that it may be.
    NotWhole(&'static str),
    /// `if_match` or `if_none_match` is none that there can be.
    Condition,
    /// More than [`SOCKET_ROOMS_MAX`] rooms.
    TooManyRooms,
    /// An event has a name that Socket.IO keeps for itself.
    EventReserved,
    /// `{"base64":…}` is not base64.
    BinaryBase64,
    /// Arguments hold what would stand for an attachment.
    Placeholder,
    /// A command about sockets that says not what to do.
    NothingToDo,
    /// A long poll or a WebSocket of one channel cannot begin with state or presence.
    ShownInStreams,
    /// The batch is not `{"publications":[…]}`.
    NotBatch,
    /// The batch holds more publications than allowed.
    BatchTooLarge(u32),
}

impl Fault {
    /// A member that is none of those known where it stands.
    pub(super) fn unknown(name: &str, known: &[&'static str]) -> Self {
        Self::MemberUnknown(Misspelt::new(name, known))
    }

    /// The code a program can match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::Json(JsonError::TooDeep) => "json_too_deep",
            Self::Json(JsonError::NotUtf8) => "json_not_utf8",
            Self::Json(JsonError::Syntax | JsonError::Number) => "json_invalid",
            Self::NotObject => "not_an_object",
            Self::IdMissing | Self::IdInvalid => "id_invalid",
            Self::CommandMissing | Self::CommandUnknown | Self::CommandsSeveral => "command_invalid",
            Self::Missing(_) => "member_missing",
            Self::NotText(_) | Self::NotList(_) | Self::NotFlag(_) | Self::NotWhole(_) => "member_invalid",
            Self::Condition => "condition_invalid",
            Self::TooManyRooms => "rooms_too_many",
            Self::EventReserved => "event_reserved",
            Self::NothingToDo => "command_invalid",
            Self::MemberUnknown(_) => "member_unknown",
            Self::MemberTwice => "member_twice",
            Self::Position => "position_invalid",
            Self::DataTwice | Self::Base64 | Self::BinaryBase64 | Self::Placeholder => "data_invalid",
            Self::ContentType => "content_type_invalid",
            Self::EventName => "event_invalid",
            Self::ShownInStreams => "parameter_unsupported",
            Self::NotBatch => "batch_invalid",
            Self::BatchTooLarge(_) => "batch_too_large",
        }
    }
}

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// What conditions there are.
const CONDITION: &str = "If-Match (if_match) takes one etag as it was given, or *; If-None-Match (if_none_match) takes * where a key is changed";

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json(error) => return error.fmt(f),
            Self::Missing(member) => return write!(f, "the member \"{member}\" is missing; add it"),
            Self::NotText(member) => return write!(f, "the member \"{member}\" must be a string"),
            Self::NotList(member) => return write!(f, "the member \"{member}\" must be a list"),
            Self::NotFlag(member) => return write!(f, "the member \"{member}\" must be true or false"),
            Self::NotWhole(member) => return write!(f, "the member \"{member}\" must be a whole number"),
            Self::TooManyRooms => {
                return write!(f, "a request names at most {SOCKET_ROOMS_MAX} rooms; send several");
            }
            Self::MemberUnknown(name) => return write!(f, "there is no member {name}"),
            Self::ContentType => {
                return write!(
                    f,
                    "a content type is printable ASCII of at most {CONTENT_TYPE_BYTES_MAX} bytes"
                );
            }
            Self::BatchTooLarge(max) => {
                return write!(f, "a batch holds at most {max} publications; send several batches");
            }
            Self::ShownInStreams => {
                "only an event stream begins with state=true or presence=true (Accept: text/event-stream); else ask /state and /presence of the channel"
            }
            Self::NotObject => "send a JSON object",
            Self::IdMissing => "a command needs an \"id\", which its reply will carry",
            Self::IdInvalid => "the \"id\" must be an integer from 0 to 4294967295",
            Self::CommandMissing => {
                "add a command: \"subscribe\", \"unsubscribe\", \"publish\", \"set\", \"remove\", \"add\", \"state\", \"enter\", \"leave\", \"presence\", \"ping\", \"connect\" or \"refresh\""
            }
            Self::CommandUnknown => {
                "a command is one of \"subscribe\", \"unsubscribe\", \"publish\", \"set\", \"remove\", \"add\", \"state\", \"enter\", \"leave\", \"presence\", \"ping\", \"connect\" and \"refresh\""
            }
            Self::Condition => CONDITION,
            Self::CommandsSeveral => "send one command per message",
            Self::MemberTwice => "a member stands twice; send it once",
            Self::Position => "\"since\" is written \"epoch:offset\", two decimal numbers",
            Self::DataTwice => "send either \"data\" or \"data_base64\", not both",
            Self::Base64 => "\"data_base64\" must be base64 with padding (RFC 4648 §4)",
            Self::EventName => {
                "an event's name is one line of at most 255 bytes, and not open, error, reset or base64"
            }
            Self::EventReserved => "Socket.IO keeps this event's name for itself; choose another",
            Self::BinaryBase64 => "the bytes of {\"base64\":…} must be base64 with padding (RFC 4648 §4)",
            Self::Placeholder => {
                "arguments may not hold a member \"_placeholder\"; send bytes as {\"base64\":…}"
            }
            Self::NothingToDo => "say what to do: \"join\", \"leave\" or \"disconnect\"",
            Self::NotBatch => "send {\"publications\":[{\"channel\":…,\"data\":…}, …]}",
        })
    }
}

impl std::error::Error for Fault {}
