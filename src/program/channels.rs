//! What the program asks of channels: to publish, what they hold, and who is there. It may all of that; who else may what is said by
//! the operator's rules.
//!
//! ```text
//!   COMMAND {"op":"set","channel":"news","key":"a","data":1} ─► the channel's owner, on whatever shard ─► REPLY
//! ```
//!
//! Invariant: there is one REPLY to each COMMAND that can be read.

use std::{future::Future, rc::Rc};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    frame::{Frame, FrameError, Head, Kind},
    link::Link,
};
use crate::{
    api::{Refusal, checked_ttl},
    app::socketio::ChannelError,
    limits::{HISTORY_PAGE_MAX, PRESENCE_PAGE_MAX, STATE_KEYS_MAX},
    model::{Arguments, ChannelName, Condition, Payload, Position, StateAction, StateKey, StateRequest},
    wire::json::{
        Fault, content_type_is_valid, encode_changed, encode_key, encode_page, encode_position,
        encode_presence, encode_state, event_name_is_valid,
    },
};

/// A command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command<'a> {
    op: Op,
    channel: String,
    key: Option<String>,
    /// A text is published as it is, any other value as JSON; bytes are attached.
    #[serde(borrow, default, deserialize_with = "read_value")]
    data: Option<&'a RawValue>,
    content_type: Option<String>,
    event: Option<String>,
    #[serde(default)]
    add: i64,
    ttl_ms: Option<u64>,
    if_match: Option<String>,
    if_none_match: Option<String>,
    since: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Publish,
    History,
    State,
    Key,
    Set,
    Remove,
    Add,
    Presence,
}

const REFUSED: u8 = 1;

impl Link {
    /// Does what a command asks for, and tells the program what became of it.
    pub(super) fn command(self: &Rc<Self>, frame: &Frame<'_>) -> Result<(), FrameError> {
        let number = frame.head.number;
        let arguments = frame.object()?;
        let command = serde_json::from_str(&arguments.json).map_err(|_| FrameError::Json(Kind::Command))?;
        if let Err(refusal) = self.begin_command(number, &command, &arguments.attachments) {
            self.refuse(number, refusal);
        }
        Ok(())
    }

    fn begin_command(
        self: &Rc<Self>,
        number: u32,
        command: &Command<'_>,
        attachments: &[Box<[u8]>],
    ) -> Result<(), Refusal> {
        let channel = ChannelName::new(&command.channel, self.limits.channel_name_bytes_max.into())?;
        let at = self.io.channel(channel.as_str())?;
        match command.op {
            Op::Publish => {
                let payload = command.payload(attachments, self.limits.publication_bytes_max)?;
                let event = command.event.as_deref();
                if event.is_some_and(|event| !event_name_is_valid(event)) {
                    return Err(Refusal::Fault(Fault::EventName));
                }
                let published = at.publish(payload.with_event(event));
                self.reply_with(number, published, encode_position);
            }
            Op::History => {
                let since = command.since.as_deref().map(str::parse::<Position>).transpose();
                let page =
                    at.history(since.map_err(|_| Refusal::Position)?, command.limit(HISTORY_PAGE_MAX)?);
                self.reply_with(number, page, move |out, page| {
                    let (recovered, more) = (page.recovered, page.has_more);
                    encode_page(out, &channel, page.position, recovered, more, &page.publications);
                });
            }
            Op::State => {
                let after = command.after.as_deref().map(StateKey::new).transpose()?;
                let page = at.state(after, command.limit(STATE_KEYS_MAX)?);
                self.reply_with(number, page, move |out, page| {
                    encode_state(out, &channel, page.position, &page.keys, page.has_more);
                });
            }
            Op::Key => {
                let key = at.key(command.key()?);
                self.reply_with(number, key, |out, publication| match publication {
                    Some(publication) => encode_key(out, &publication),
                    None => out.extend_from_slice(b"null"),
                });
            }
            Op::Set | Op::Remove | Op::Add => {
                let changed = at.change(command.change(attachments, self.limits.publication_bytes_max)?);
                self.reply_with(number, changed, encode_changed);
            }
            Op::Presence => {
                let after = command.after.as_deref().map(StateKey::of_member);
                let page = at.presence(after, command.limit(PRESENCE_PAGE_MAX)?);
                self.reply_with(number, page, move |out, page| encode_presence(out, &channel, &page));
            }
        }
        Ok(())
    }

    /// Tells the program what a channel answers, once it does.
    fn reply_with<T: 'static>(
        self: &Rc<Self>,
        number: u32,
        answer: impl Future<Output = Result<T, ChannelError>> + 'static,
        encode: impl FnOnce(&mut Vec<u8>, T) + 'static,
    ) {
        let (link, life) = (Rc::clone(self), self.life.get());
        self.io.spawn_local(async move {
            match answer.await {
                Ok(answer) => {
                    let mut out = Vec::new();
                    encode(&mut out, answer);
                    let json = String::from_utf8(out).expect("JSON is text");
                    let said = Arguments { json: json.into(), attachments: Box::default() };
                    link.tell(life, &Head { number, ..Head::of(Kind::Reply) }, &said);
                }
                Err(error) if link.life.get() == life => link.refuse(number, error.into()),
                Err(_) => {}
            }
        });
    }

    /// Tells the program why a command was not done.
    pub(super) fn refuse(&self, number: u32, refusal: Refusal) {
        let said = serde_json::json!({ "code": refusal.code(), "message": refusal.to_string() });
        let head = Head { number, flags: REFUSED, ..Head::of(Kind::Reply) };
        self.outbox.push_always(&head, &said.to_string(), &[]);
    }
}

impl Command<'_> {
    fn key(&self) -> Result<StateKey, Refusal> {
        Ok(StateKey::new(self.key.as_deref().unwrap_or_default())?)
    }

    fn limit(&self, max: u32) -> Result<u32, Refusal> {
        let limit = self.limit.unwrap_or(max);
        (1..=max).contains(&limit).then_some(limit).ok_or(Refusal::Limit(max))
    }

    fn payload(&self, attachments: &[Box<[u8]>], bytes_max: u32) -> Result<Payload, Refusal> {
        let content_type = self.content_type.as_deref();
        if content_type.is_some_and(|content_type| !content_type_is_valid(content_type)) {
            return Err(Refusal::ContentType);
        }
        let payload = match (attachments, self.data.map(RawValue::get)) {
            ([bytes], None) => Payload::bytes_of(bytes.clone(), content_type),
            ([], Some(json)) if json.starts_with('"') => {
                let text: String = serde_json::from_str(json).map_err(|_| NO_DATA)?;
                Payload::text_of(&text, content_type)
            }
            ([], Some(json)) => Payload::text_of(json, content_type.or(Some("application/json"))),
            _ => return Err(NO_DATA),
        };
        match payload.data.len() > bytes_max as usize {
            true => Err(Refusal::PublicationTooLarge(bytes_max)),
            false => Ok(payload),
        }
    }

    fn change(&self, attachments: &[Box<[u8]>], bytes_max: u32) -> Result<StateRequest, Refusal> {
        let action = match self.op {
            Op::Remove => StateAction::Remove,
            Op::Add => StateAction::Add(self.add),
            _ => StateAction::Set(self.payload(attachments, bytes_max)?),
        };
        let condition = match (self.if_match.as_deref(), self.if_none_match.as_deref()) {
            (None, None) => Condition::None,
            (None, Some("*")) => Condition::Absent,
            (Some("*"), None) => Condition::Present,
            (Some(version), None) => Condition::At(version.parse().map_err(|_| Refusal::Condition)?),
            _ => return Err(Refusal::Condition),
        };
        let ttl_ms = checked_ttl(self.ttl_ms)?;
        Ok(StateRequest { key: self.key()?, action, condition, ttl_ms })
    }
}

/// Reads a value; `null` is one.
fn read_value<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

const NO_DATA: Refusal = Refusal::CommandArguments("data, or one attachment");
