//! A channel's state as JSON: the commands that change and read it, what followers are told of changes, snapshots.
//!
//! ```text
//! {"key":"title","offset":12,"data":"hello"}        a key in a snapshot
//! {"key":"sold","offset":14,"value":4812}           a counter
//! ```

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Data, Fault, Raw,
    encode::{self, push_display},
    publish::{checked_content_type, decode_data, once, text},
};
use crate::model::{
    ChangeKind, Changed, ChannelName, Condition, Payload, Position, PresencePage, Publication,
    SharedPublication, StateKey, Version,
};

/// A command about one key. The names have yet to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCommand<'a> {
    /// Whose state.
    pub channel: Cow<'a, str>,
    /// Which key.
    pub key: Cow<'a, str>,
    /// What is wanted.
    pub action: KeyAction<'a>,
    /// Only if this holds.
    pub condition: Condition,
    /// In how many milliseconds it goes by itself.
    pub ttl_ms: Option<u64>,
}

/// What is done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAction<'a> {
    /// Hold this, of the content type named.
    Set(Data<'a>, Option<Cow<'a, str>>),
    /// Hold nothing.
    Remove,
    /// Count so much further.
    Add(i64),
}

/// The members of each command, beside those that all have.
const SET: [&str; 8] =
    ["channel", "key", "data", "data_base64", "content_type", "ttl_ms", "if_match", "if_none_match"];
const REMOVE: [&str; 4] = ["channel", "key", "if_match", "if_none_match"];
const ADD: [&str; 6] = ["channel", "key", "add", "ttl_ms", "if_match", "if_none_match"];

impl<'a> KeyCommand<'a> {
    pub(super) fn decode_set(value: Raw<'a>) -> Result<Self, Fault> {
        let (mut members, mut data, mut content_type) = (Members::default(), None, None);
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            match &*name {
                "content_type" => {
                    once(&mut content_type, checked_content_type(text("content_type", value)?)?)?
                }
                "data" | "data_base64" if data.is_some() => return Err(Fault::DataTwice),
                "data" => data = Some(decode_data(value)?),
                "data_base64" => {
                    let bytes = STANDARD.decode(&*text("data_base64", value)?).map_err(|_| Fault::Base64)?;
                    data = Some(Data::Binary(bytes));
                }
                name => members.take(name, value, &SET)?,
            }
        }
        let data = data.ok_or(Fault::Missing("data"))?;
        members.command(KeyAction::Set(data, content_type))
    }

    pub(super) fn decode_remove(value: Raw<'a>) -> Result<Self, Fault> {
        let mut members = Members::default();
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            members.take(&name, value, &REMOVE)?;
        }
        members.command(KeyAction::Remove)
    }

    pub(super) fn decode_add(value: Raw<'a>) -> Result<Self, Fault> {
        let (mut members, mut add) = (Members::default(), None);
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            match &*name {
                "add" => once(&mut add, value.as_i64().ok_or(Fault::NotWhole("add"))?)?,
                name => members.take(name, value, &ADD)?,
            }
        }
        let add = add.ok_or(Fault::Missing("add"))?;
        members.command(KeyAction::Add(add))
    }

    /// Appends the command with its name; the decoder of its name reads it back.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let name = match self.action {
            KeyAction::Set(..) => "set",
            KeyAction::Remove => "remove",
            KeyAction::Add(_) => "add",
        };
        push_display(out, format_args!(",\"{name}\":{{\"channel\":"));
        encode::push_string(out, &self.channel);
        out.extend_from_slice(b",\"key\":");
        encode::push_string(out, &self.key);
        match &self.action {
            KeyAction::Set(data, content_type) => {
                data.encode(out);
                if let Some(content_type) = content_type {
                    out.extend_from_slice(b",\"content_type\":");
                    encode::push_string(out, content_type);
                }
            }
            KeyAction::Remove => {}
            KeyAction::Add(add) => push_display(out, format_args!(",\"add\":{add}")),
        }
        match self.condition {
            Condition::None => {}
            Condition::Absent => out.extend_from_slice(b",\"if_none_match\":\"*\""),
            Condition::Present => out.extend_from_slice(b",\"if_match\":\"*\""),
            Condition::At(version) => push_display(out, format_args!(",\"if_match\":\"{version}\"")),
        }
        if let Some(ttl_ms) = self.ttl_ms {
            push_display(out, format_args!(",\"ttl_ms\":{ttl_ms}"));
        }
        out.push(b'}');
    }
}

/// What every command about a key may say.
#[derive(Default)]
struct Members<'a> {
    channel: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
    condition: Option<Condition>,
    ttl_ms: Option<u64>,
}

impl<'a> Members<'a> {
    fn take(&mut self, name: &str, value: Raw<'a>, known: &[&'static str]) -> Result<(), Fault> {
        if !known.contains(&name) {
            return Err(Fault::unknown(name, known));
        }
        match name {
            "channel" => once(&mut self.channel, text("channel", value)?),
            "key" => once(&mut self.key, text("key", value)?),
            "ttl_ms" => {
                let ttl_ms = value.as_i64().and_then(|ttl_ms| u64::try_from(ttl_ms).ok());
                once(&mut self.ttl_ms, ttl_ms.ok_or(Fault::NotWhole("ttl_ms"))?)
            }
            "if_match" => {
                let condition = match &*text("if_match", value)? {
                    "*" => Condition::Present,
                    version => version.parse().map(Condition::At).map_err(|_| Fault::Condition)?,
                };
                once(&mut self.condition, condition)
            }
            "if_none_match" => match &*text("if_none_match", value)? {
                "*" => once(&mut self.condition, Condition::Absent),
                _ => Err(Fault::Condition),
            },
            name => Err(Fault::unknown(name, known)),
        }
    }

    fn command(self, action: KeyAction<'a>) -> Result<KeyCommand<'a>, Fault> {
        Ok(KeyCommand {
            channel: self.channel.ok_or(Fault::Missing("channel"))?,
            key: self.key.ok_or(Fault::Missing("key"))?,
            action,
            condition: self.condition.unwrap_or_default(),
            ttl_ms: self.ttl_ms,
        })
    }
}

/// Reads the body of `POST /channels/{name}/counters/{key}`: `{"add":1}`.
pub fn decode_add(body: &[u8]) -> Result<i64, Fault> {
    let mut add = None;
    for member in Raw::read(body)?.members().ok_or(Fault::NotObject)? {
        let (name, value) = member?;
        match &*name {
            "add" => once(&mut add, value.as_i64().ok_or(Fault::NotWhole("add"))?)?,
            name => return Err(Fault::unknown(name, &["add"])),
        }
    }
    add.ok_or(Fault::Missing("add"))
}

/// Appends what a change is beside channel and position, as an object: what event streams and Socket.IO are told.
pub fn encode_change(out: &mut Vec<u8>, publication: &Publication) {
    if publication.payload.change.as_ref().is_some_and(|change| change.kind == ChangeKind::Digest) {
        return out.extend_from_slice(&publication.payload.data);
    }
    out.push(b'{');
    push_key(out, publication);
    push_content(out, publication);
    out.push(b'}');
}

/// Appends some of a channel's state: the body of an answer, the push behind a subscription, the data of an event.
pub fn encode_state(
    out: &mut Vec<u8>,
    channel: &ChannelName,
    position: Option<Position>,
    keys: &[SharedPublication],
    has_more: bool,
) {
    out.push(b'{');
    encode::push_channel(out, channel.as_str());
    encode::push_position(out, position);
    out.extend_from_slice(b",\"keys\":[");
    for (index, publication) in keys.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'{');
        push_key(out, publication);
        push_display(out, format_args!(",\"offset\":{}", publication.position.offset));
        push_content(out, publication);
        out.push(b'}');
    }
    push_display(out, format_args!("],\"more\":{has_more}}}"));
}

/// Appends the state as subscribers of `/ws` are told it first.
pub fn encode_state_push(
    out: &mut Vec<u8>,
    channel: &ChannelName,
    position: Position,
    keys: &[SharedPublication],
) {
    out.extend_from_slice(b"{\"state\":");
    encode_state(out, channel, Some(position), keys, false);
    out.push(b'}');
}

/// Appends the reply to a state command.
pub fn encode_state_reply(
    out: &mut Vec<u8>,
    id: u32,
    channel: &ChannelName,
    position: Option<Position>,
    keys: &[SharedPublication],
    has_more: bool,
) {
    push_display(out, format_args!("{{\"id\":{id},\"state\":"));
    encode_state(out, channel, position, keys, has_more);
    out.push(b'}');
}

/// Appends one key as it is.
pub fn encode_key(out: &mut Vec<u8>, publication: &Publication) {
    out.push(b'{');
    encode::push_channel(out, publication.channel.as_str());
    out.push(b',');
    push_key(out, publication);
    encode::push_position(out, Some(publication.position));
    push_content(out, publication);
    push_display(out, format_args!(",\"etag\":\"{}\"}}", Version::of(publication)));
}

/// Appends what became of a change: of a counter its value, of any other key its position.
pub fn encode_changed(out: &mut Vec<u8>, changed: Changed) {
    out.push(b'{');
    push_changed(out, changed);
    out.push(b'}');
}

/// Appends the reply to a command that changed a key.
pub fn encode_changed_reply(
    out: &mut Vec<u8>,
    id: u32,
    kind: ChangeKind,
    channel: &ChannelName,
    key: &str,
    changed: Changed,
) {
    let name = match kind {
        ChangeKind::Set => "set",
        ChangeKind::Add => "added",
        _ => "removed",
    };
    encode::push_reply(out, id, name, channel.as_str());
    out.extend_from_slice(b",\"key\":");
    encode::push_string(out, key);
    out.push(b',');
    push_changed(out, changed);
    out.extend_from_slice(b"}}");
}

/// Appends who is present: the body of an answer, and what stands in pushes and replies.
pub fn encode_presence(out: &mut Vec<u8>, channel: &ChannelName, page: &PresencePage) {
    let PresencePage { position, users, guests, connections, members, has_more } = page;
    out.push(b'{');
    encode::push_channel(out, channel.as_str());
    encode::push_position(out, *position);
    push_display(
        out,
        format_args!(",\"users\":{users},\"guests\":{guests},\"connections\":{connections},\"members\":["),
    );
    for (index, member) in members.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        push_member(out, &member.id);
        push_info(out, Some(&member.info));
        push_display(out, format_args!(",\"connections\":{}}}", member.connections));
    }
    push_display(out, format_args!("],\"more\":{has_more}"));
    if let Some(last) = members.last().filter(|_| *has_more) {
        out.extend_from_slice(b",\"next\":");
        encode::push_string(out, last.id.as_str());
    }
    out.push(b'}');
}

/// Appends who is present as subscribers of `/ws` are shown it first.
pub fn encode_presence_push(out: &mut Vec<u8>, channel: &ChannelName, page: &PresencePage) {
    out.extend_from_slice(b"{\"presence\":");
    encode_presence(out, channel, page);
    out.push(b'}');
}

/// Appends the reply to a presence command.
pub fn encode_presence_reply(out: &mut Vec<u8>, id: u32, channel: &ChannelName, page: &PresencePage) {
    push_display(out, format_args!("{{\"id\":{id},\"presence\":"));
    encode_presence(out, channel, page);
    out.push(b'}');
}

/// Appends the reply to an enter command.
pub fn encode_entered(
    out: &mut Vec<u8>,
    id: u32,
    channel: &ChannelName,
    member: &StateKey,
    position: Position,
) {
    encode::push_reply(out, id, "entered", channel.as_str());
    out.push(b',');
    push_member(out, member);
    encode::push_position_members(out, position);
    out.extend_from_slice(b"}}");
}

/// Appends the reply to a leave command.
pub fn encode_left(out: &mut Vec<u8>, id: u32, channel: &ChannelName) {
    encode::push_reply(out, id, "left", channel.as_str());
    out.extend_from_slice(b"}}");
}

/// What a publication is, as subscribers of `/ws` are told it.
pub(super) fn push_word(publication: &Publication) -> &'static str {
    publication.payload.change.as_deref().map_or("push", |change| change.kind.word())
}

/// Appends the members of a publication behind its position: its data, or what it does to the state.
pub(super) fn push_said(out: &mut Vec<u8>, publication: &Publication) {
    let change = publication.payload.change.as_deref();
    if change.is_some_and(|change| change.kind != ChangeKind::Digest) {
        out.push(b',');
        push_key(out, publication);
    }
    push_content(out, publication);
}

fn push_changed(out: &mut Vec<u8>, changed: Changed) {
    let Changed { position, version, .. } = changed;
    if let Some(value) = version.value() {
        push_display(out, format_args!("\"value\":{value},"));
    }
    push_display(
        out,
        format_args!("\"epoch\":{},\"offset\":{},\"etag\":\"{version}\"", position.epoch, position.offset),
    );
}

fn push_key(out: &mut Vec<u8>, publication: &Publication) {
    let Some(change) = &publication.payload.change else { return };
    if matches!(change.kind, ChangeKind::Enter | ChangeKind::Update | ChangeKind::Leave) {
        return push_member(out, &change.key);
    }
    out.extend_from_slice(b"\"key\":");
    encode::push_string(out, change.key.as_str());
}

fn push_content(out: &mut Vec<u8>, publication: &Publication) {
    let Payload { change, data, .. } = &publication.payload;
    let Some(change) = change else { return encode::push_payload(out, &publication.payload) };
    match change.kind {
        ChangeKind::Set => encode::push_payload(out, &publication.payload),
        ChangeKind::Add => {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(data);
        }
        ChangeKind::Remove => {}
        ChangeKind::Enter | ChangeKind::Update | ChangeKind::Leave => {
            push_info(out, publication.payload.text())
        }
        ChangeKind::Digest => push_digest(out, &publication.payload),
        ChangeKind::Expire => out.extend_from_slice(b",\"expired\":true"),
    }
    if let Some(expires) = change.expires_unix_ms {
        push_display(out, format_args!(",\"expires\":{expires}"));
    }
}

/// Who a member is.
fn push_member(out: &mut Vec<u8>, member: &StateKey) {
    out.extend_from_slice(if member.is_user() { b"\"user\":" } else { b"\"guest\":" });
    encode::push_string(out, member.member());
}

/// What others may know of a member, JSON that was checked.
fn push_info(out: &mut Vec<u8>, info: Option<&str>) {
    if let Some(info) = info.filter(|info| !info.is_empty()) {
        out.extend_from_slice(b",\"info\":");
        out.extend_from_slice(info.as_bytes());
    }
}

/// The members of a digest, which is written as an object.
fn push_digest(out: &mut Vec<u8>, payload: &Payload) {
    let text = payload.text().unwrap_or_default();
    if let Some(members) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        out.push(b',');
        out.extend_from_slice(members.as_bytes());
    }
}
