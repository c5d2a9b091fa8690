//! Publications as JSON: one inside a `publish` command, or many as the body of `POST /publish`.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Fault, Raw, encode};
use crate::{
    limits::{CONTENT_TYPE_BYTES_MAX, EVENT_NAME_BYTES_MAX},
    model::Payload,
};

/// What somebody wants published, as read from JSON. The channel's name has yet to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest<'a> {
    /// The channel, unescaped.
    pub channel: Cow<'a, str>,
    /// The data.
    pub data: Data<'a>,
    /// The content type named.
    pub content_type: Option<Cow<'a, str>>,
    /// The name of the event it is.
    pub event: Option<Cow<'a, str>>,
}

/// The data of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// A JSON string: its text is the data.
    Text(Cow<'a, str>),
    /// Any other JSON value: its text, as it came, is the data.
    Json(Raw<'a>),
    /// Bytes that came as base64.
    Binary(Vec<u8>),
}

/// What a publication may say.
const MEMBERS: [&str; 5] = ["channel", "data", "data_base64", "content_type", "event"];

impl<'a> PublishRequest<'a> {
    /// The data as bytes.
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// The payload. JSON values are `application/json` unless something else was named.
    pub fn into_payload(self) -> Payload {
        self.data.into_payload(self.content_type.as_deref()).with_event(self.event.as_deref())
    }

    pub(super) fn decode(value: Raw<'a>) -> Result<Self, Fault> {
        let (mut channel, mut data, mut content_type, mut event) = (None, None, None, None);
        for member in value.members().ok_or(Fault::NotObject)? {
            let (name, value) = member?;
            match &*name {
                "channel" => once(&mut channel, text("channel", value)?)?,
                "content_type" => {
                    once(&mut content_type, checked_content_type(text("content_type", value)?)?)?
                }
                "event" => once(&mut event, checked_event(text("event", value)?)?)?,
                "data" | "data_base64" if data.is_some() => return Err(Fault::DataTwice),
                "data" => data = Some(decode_data(value)?),
                "data_base64" => {
                    let bytes = STANDARD.decode(&*text("data_base64", value)?).map_err(|_| Fault::Base64)?;
                    data = Some(Data::Binary(bytes));
                }
                name => return Err(Fault::unknown(name, &MEMBERS)),
            }
        }
        let channel = channel.ok_or(Fault::Missing("channel"))?;
        Ok(Self { channel, data: data.ok_or(Fault::Missing("data"))?, content_type, event })
    }

    /// Appends the members [`Self::decode`] reads, braces and all.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"channel\":");
        encode::push_string(out, &self.channel);
        self.data.encode(out);
        if let Some(content_type) = &self.content_type {
            out.extend_from_slice(b",\"content_type\":");
            encode::push_string(out, content_type);
        }
        if let Some(event) = &self.event {
            out.extend_from_slice(b",\"event\":");
            encode::push_string(out, event);
        }
        out.push(b'}');
    }
}

impl Data<'_> {
    /// The data as bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Json(json) => json.as_str().as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The payload. JSON values are `application/json` unless something else was named.
    pub fn into_payload(self, content_type: Option<&str>) -> Payload {
        match self {
            Self::Text(text) => Payload::text_of(&text, content_type),
            Self::Json(json) => Payload::text_of(json.as_str(), content_type.or(Some("application/json"))),
            Self::Binary(bytes) => Payload::bytes_of(bytes, content_type),
        }
    }

    /// Appends the member that [`decode_data`] reads, with a comma before it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.extend_from_slice(b",\"data\":");
                encode::push_string(out, text);
            }
            Self::Json(json) => {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(json.as_str().as_bytes());
            }
            Self::Binary(bytes) => {
                out.extend_from_slice(b",\"data_base64\":\"");
                encode::push_base64(out, bytes);
                out.push(b'"');
            }
        }
    }
}

/// Reads the body of `POST /publish`: `{"publications":[{"channel":…,"data":…}, …]}`. A fault in one publication
/// is that one's alone.
pub fn decode_batch(
    text: &[u8],
    publications_max: u32,
) -> Result<Vec<Result<PublishRequest<'_>, Fault>>, Fault> {
    let mut members = Raw::read(text)?.members().ok_or(Fault::NotBatch)?;
    let (Some(Ok((name, list))), None) = (members.next(), members.next()) else {
        return Err(Fault::NotBatch);
    };
    let elements = list.elements().filter(|_| name == "publications").ok_or(Fault::NotBatch)?;
    if elements.clone().nth(publications_max as usize).is_some() {
        return Err(Fault::BatchTooLarge(publications_max));
    }
    Ok(elements.map(PublishRequest::decode).collect())
}

/// Whether a content type may be kept with a publication.
pub fn content_type_is_valid(text: &str) -> bool {
    text.len() <= CONTENT_TYPE_BYTES_MAX && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// Whether an event may be named so: one line, and no name that means something to event streams or their clients
/// already.
pub fn event_name_is_valid(name: &str) -> bool {
    (1..=EVENT_NAME_BYTES_MAX).contains(&name.len())
        && !name.chars().any(char::is_control)
        && !RESERVED_NAMES.contains(&name)
}

/// What `EventSource` or this server says itself.
const RESERVED_NAMES: [&str; 4] = ["open", "error", "reset", "base64"];

fn checked_event(name: Cow<'_, str>) -> Result<Cow<'_, str>, Fault> {
    if event_name_is_valid(&name) { Ok(name) } else { Err(Fault::EventName) }
}

pub(super) fn checked_content_type(text: Cow<'_, str>) -> Result<Cow<'_, str>, Fault> {
    if content_type_is_valid(&text) { Ok(text) } else { Err(Fault::ContentType) }
}

pub(super) fn decode_data(value: Raw<'_>) -> Result<Data<'_>, Fault> {
    match value.text() {
        Some(text) => Ok(Data::Text(text?)),
        None => Ok(Data::Json(value.bounded()?)),
    }
}

/// The string a member must be.
pub(super) fn text<'a>(member: &'static str, value: Raw<'a>) -> Result<Cow<'a, str>, Fault> {
    Ok(value.text().ok_or(Fault::NotText(member))??)
}

/// Fills a slot that may be filled once: with two members of one name, readers disagree about which counts
/// (RFC 8259 §4).
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Fault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::MemberTwice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::JSON_DEPTH_MAX, wire::json::JsonError};

    fn batch(text: &str) -> Result<Vec<Result<Payload, Fault>>, Fault> {
        let items = decode_batch(text.as_bytes(), 3)?;
        Ok(items.into_iter().map(|item| item.map(PublishRequest::into_payload)).collect())
    }

    #[test]
    fn data_is_text_or_any_json_or_base64_and_keeps_its_content_type() {
        let text = r#"{"publications":[
            {"channel":"a","data":"te\u0301xt"},
            {"channel":"b","data":{"b":[1,2.5],"a":null}},
            {"channel":"c","data_base64":"/wA=","content_type":"image/x"}]}"#;
        let expected = [
            Payload::new("te\u{301}xt".as_bytes(), None),
            Payload::new(*br#"{"b":[1,2.5],"a":null}"#, Some("application/json")),
            Payload::new([0xff, 0], Some("image/x")),
        ];
        assert_eq!(batch(text), Ok(expected.into_iter().map(Ok).collect()));
    }

    #[test]
    fn a_fault_in_one_publication_is_its_own() {
        let levels = JSON_DEPTH_MAX + 1;
        let deep = format!(r#"{{"channel":"a","data":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        let cases = [
            (r#"{"channel":"a","data":1}"#, None),
            (r#"[]"#, Some(Fault::NotObject)),
            (r#"{"data":1}"#, Some(Fault::Missing("channel"))),
            (r#"{"channel":"a"}"#, Some(Fault::Missing("data"))),
            (r#"{"channel":1,"data":1}"#, Some(Fault::NotText("channel"))),
            (r#"{"channel":"a","data":1,"data_base64":""}"#, Some(Fault::DataTwice)),
            (r#"{"channel":"a","channel":"b","data":1}"#, Some(Fault::MemberTwice)),
            (r#"{"channel":"a","data":1,"sinse":"1:1"}"#, Some(Fault::unknown("sinse", &MEMBERS))),
            (r#"{"channel":"a","data_base64":"/w"}"#, Some(Fault::Base64)),
            (r#"{"channel":"a","data_base64":"/w=="}"#, None),
            (r#"{"channel":"a","data":1,"content_type":"a\nb"}"#, Some(Fault::ContentType)),
            (&deep, Some(Fault::Json(JsonError::TooDeep))),
            (r#"{"channel":"a","data":"\ud83d"}"#, Some(Fault::Json(JsonError::NotUtf8))),
            (r#"{"channel":"a","data":["\ud83d",1e400]}"#, None),
            (r#"{"channel":"\ud83d","data":1}"#, Some(Fault::Json(JsonError::NotUtf8))),
            (r#"{"channel":"a","data":1,"\ud83d":1}"#, Some(Fault::Json(JsonError::NotUtf8))),
        ];
        for (item, fault) in cases {
            let items = batch(&format!(r#"{{"publications":[{item},{{"channel":"z","data":""}}]}}"#));
            let items = items.expect("the batch itself is sound");
            assert_eq!(items[0].as_ref().err(), fault.as_ref(), "{item}");
            assert!(items[1].is_ok());
        }
    }

    #[test]
    fn a_batch_is_one_list_of_at_most_the_number_allowed() {
        let of = |count: usize| {
            let items = vec![r#"{"channel":"a","data":""}"#; count].join(",");
            batch(&format!(r#"{{"publications":[{items}]}}"#)).map(|items| items.len())
        };
        assert_eq!((of(0), of(3), of(4)), (Ok(0), Ok(3), Err(Fault::BatchTooLarge(3))));
        for text in ["[]", "{}", r#"{"publications":{}}"#, r#"{"publications":[],"x":1}"#, r#"{"x":[]}"#] {
            assert_eq!(batch(text), Err(Fault::NotBatch), "{text}");
        }
    }

    #[test]
    fn a_content_type_of_255_bytes_is_kept_and_of_256_refused() {
        assert!(content_type_is_valid(&"x".repeat(255)) && !content_type_is_valid(&"x".repeat(256)));
    }
}
