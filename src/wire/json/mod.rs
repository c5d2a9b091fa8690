//! The JSON of the HTTP API and of `/ws`: commands and batches in, pushes, replies and pages out.
//!
//! # The protocol of `/ws`
//!
//! One WebSocket follows many channels. Every message, both ways, is one text frame holding one JSON object.
//!
//! A client sends *commands*. Each has an `id`, an integer from 0 to 4294967295 that the client chooses and the
//! reply carries, and exactly one of thirteen members:
//!
//! ```text
//! {"id":1,"subscribe":{"channel":"news","since":"1754:41"}}          since is optional
//! {"id":2,"unsubscribe":{"channel":"news"}}
//! {"id":3,"publish":{"channel":"news","data":"hello"}}
//! {"id":3,"publish":{"channel":"news","data":{"any":["JSON"]}}}
//! {"id":3,"publish":{"channel":"news","data_base64":"/wA=","content_type":"image/x-icon"}}
//! {"id":3,"publish":{"channel":"news","data":"hello","event":"greeting"}}
//! {"id":4,"ping":{}}
//! {"id":7,"set":{"channel":"news","key":"title","data":"hello","ttl_ms":5000,"if_none_match":"*"}}
//! {"id":7,"remove":{"channel":"news","key":"title","if_match":"1754:45"}}
//! {"id":7,"add":{"channel":"news","key":"sold","add":1}}
//! {"id":8,"enter":{"channel":"news","info":{"name":"Anna"}}}            is shown as present, until it leaves or ends
//! {"id":8,"leave":{"channel":"news"}}
//! {"id":8,"presence":{"channel":"news"}}                            also in subscribe, as "presence":true
//! {"id":7,"state":{"channel":"news"}}                               also in subscribe, as "state":true
//! {"id":5,"connect":{"token":"eyJ…"}}                                says who one is
//! {"id":6,"refresh":{"token":"eyJ…"}}                                again, before the token runs out
//! ```
//!
//! A string as `data` is published as its text; any other JSON value is published as its JSON text, with content
//! type `application/json` unless `content_type` says otherwise. `data_base64` publishes bytes, which stay bytes though
//! they may be UTF-8, unless `content_type` says that they are text. `event` is a name that event streams show.
//!
//! The server *replies* to each command once. Replies to commands on different channels may overtake each other.
//!
//! ```text
//! {"id":1,"subscribed":{"channel":"news","epoch":1754,"offset":43,"recovered":true,"missed":2}}
//! {"id":2,"unsubscribed":{"channel":"news"}}
//! {"id":3,"published":{"channel":"news","epoch":1754,"offset":44}}
//! {"id":4,"pong":{}}
//! {"id":5,"connected":{"user":"42","expires":1790000000}}
//! {"id":6,"refreshed":{"user":"42","expires":1790003600}}
//! {"id":7,"set":{"channel":"news","key":"title","epoch":1754,"offset":45,"etag":"1754:45"}}
//! {"id":7,"removed":{"channel":"news","key":"title","epoch":1754,"offset":46,"etag":"1754:46"}}
//! {"id":7,"added":{"channel":"news","key":"sold","value":4812,"epoch":1754,"offset":47,"etag":"1754/4812"}}
//! {"id":7,"state":{"channel":"news","epoch":1754,"offset":47,"position":"1754:47","keys":[…],"more":false}}
//! {"id":8,"entered":{"channel":"news","user":"42","epoch":1754,"offset":48}}
//! {"id":8,"left":{"channel":"news"}}
//! {"id":8,"presence":{"channel":"news",…,"users":1,"guests":0,"connections":2,"members":[…],"more":false}}
//! {"id":5,"error":{"code":"channel_name_invalid","message":"a channel name cannot be empty"}}
//! ```
//!
//! `offset` is the channel's position when the subscription began. The last `missed` publications up to it follow as
//! pushes, then everything newer. `recovered` tells whether these are all since `since`; `false` means that some are
//! lost: the gap is between `since` and the first push. It is `true` when no `since` was given. A text that is not a command gets an error whose `id` is `null` when there
//! was none to read; the connection lives on. A binary frame gets the error `binary_unsupported`.
//!
//! Between replies the server sends *pushes*, in order of `offset` for each channel:
//!
//! ```text
//! {"push":{"channel":"news","epoch":1754,"offset":44,"data":"hello","content_type":"text/plain"}}
//! {"push":{"channel":"news","epoch":1754,"offset":45,"data_base64":"/wA="}}
//! ```
//!
//! `data` is the publication's text, as a string; where the publisher said that it is JSON (with `content_type`, or with
//! a value as `data`) and it is, `data` is that value, as it came. `data_base64` takes its place when the publisher said
//! that it is binary, or said nothing and the bytes are not UTF-8. `event` is there when the publisher gave one.
//! When the server had to drop publications, the next push has an offset further on; when there is none yet, a `gap`
//! comes, and everything up to its `offset` that was not pushed is lost:
//!
//! ```text
//! {"gap":{"channel":"news","epoch":1754,"offset":47}}
//! ```
//!
//! Changes of the channel's state come as pushes of their own words, and `{"state":{…}}` behind a subscription that asks
//! for it (`state.rs`), and again when something was lost to it; so does `{"presence":{…}}`:
//!
//! ```text
//! {"set":{"channel":"news","epoch":1754,"offset":45,"key":"title","data":"hello"}}
//! {"add":{"channel":"news","epoch":1754,"offset":47,"key":"sold","value":4812}}
//! {"remove":{"channel":"news","epoch":1754,"offset":46,"key":"title"}}
//! {"enter":{"channel":"news","epoch":1754,"offset":48,"user":"42","info":{"name":"Anna"}}}     update, leave alike
//! {"presence":{"channel":"news","epoch":1754,"offset":49,"users":180,"guests":3,"connections":190,"joined":4,"left":1}}
//! ```
//!
//! A token (see [`crate::auth`]) gives rights from its command on; commands sent behind it wait for it. One that is refused
//! gets an error whose code begins with `token_`, and the WebSocket closes with 4008. When it runs out the server says so;
//! without another one in time the WebSocket closes with 4007. Subscriptions to which another token gives no right end:
//!
//! ```text
//! {"expired":{"refresh_within_s":25}}
//! {"ended":{"channel":"news","code":"subscribe_forbidden"}}
//! ```
//!
//! A client that remembers `epoch` and `offset` of the last push comes back with `"since":"epoch:offset"`.
//!
//! Error codes of commands: `json_invalid`, `json_not_utf8`, `json_too_deep`, `not_an_object`, `id_invalid`,
//! `command_invalid`, `member_missing`, `member_invalid`, `member_unknown`, `member_twice`, `position_invalid`,
//! `data_invalid`, `content_type_invalid`, `binary_unsupported`, `channel_name_invalid`, `publication_too_large`,
//! `subscribe_forbidden`, `publish_forbidden`, `token_…`, `rate_limited`, `busy`, `owner_failed`, `channels_full`, `already_subscribed`, `subscriptions_full`,
//! `subscription_withdrawn` (an unsubscribe overtook it).
//!
//! JSON that only passes through is passed on as it came, byte by byte: numbers of any size, the order of members, halves
//! of surrogate pairs inside of it. Objects and arrays of what is published may stand at most
//! [`crate::limits::JSON_DEPTH_MAX`] deep inside each other. What the server must read, such as a channel's name or a
//! string as `data`, must be whole characters.

mod command;
mod encode;
mod fault;
mod lexemes;
mod objects;
mod publish;
mod raw;
mod sockets;
mod state;

pub use command::{Action, Command, CommandFault, decode_command, fuzz};
pub use encode::{
    Polled, as_text, code_of_error, encode_admitted, encode_ended, encode_error, encode_error_reply,
    encode_expired, encode_gap, encode_named, encode_page, encode_poll_answer, encode_polls_answer,
    encode_pong, encode_position, encode_published, encode_push, encode_reset, encode_subscribed,
    encode_unsubscribed, push_base64, push_payload, push_string,
};
pub use fault::Fault;
pub use publish::{Data, PublishRequest, content_type_is_valid, decode_batch, event_name_is_valid};
pub use raw::{Elements, JsonError, Members, Raw};
pub use sockets::{
    EmitRequest, RESERVED_EVENTS, SelectionRequest, SocketsCommand, decode_emit, decode_inner_event,
    decode_sockets_command, text_beside, with_base64,
};
pub use state::{
    KeyAction, KeyCommand, decode_add, encode_change, encode_changed, encode_changed_reply, encode_entered,
    encode_key, encode_left, encode_presence, encode_presence_push, encode_presence_reply, encode_state,
    encode_state_push, encode_state_reply,
};
pub(in crate::wire) use {
    encode::push_display,
    lexemes::skip_string,
    objects::{Object, find_objects},
};
