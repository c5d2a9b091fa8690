//! Reading about channels: history, the list, and one channel over all shards.
//!
//! A channel nobody has used yet is not an error: any name may be followed or published to, so it reads as empty,
//! with `null` for its position.

use std::{collections::BTreeMap, io::Write};

use super::{
    ChannelServer, Refusal,
    access::Who,
    fields::fresh,
    pending::{Outcome, Survey, Wait},
    route::query,
};
use crate::{
    app::{Context, Peer, Request, Response},
    auth::Right,
    limits::{CHANNEL_LIST_MAX, HISTORY_PAGE_MAX},
    mesh::ChannelReport,
    model::{ChannelName, Position, Transport},
    wire::json::push_string,
};

/// Channels listed when no `limit` is given.
const CHANNEL_LIST_DEFAULT: u32 = 100;

impl ChannelServer {
    /// `GET /channels/{name}/history?since=&limit=`
    pub(super) fn history(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
        name: &str,
    ) -> Result<Outcome, Refusal> {
        let channel = self.channel(name)?;
        self.access.check(&Who::reading(peer), Right::History, channel.as_str())?;
        let since = since(request)?;
        let limit = limit(request, HISTORY_PAGE_MAX, HISTORY_PAGE_MAX)?;
        cx.read_history(self.ticket(peer), channel.clone(), since, limit);
        Ok(Outcome::Wait(Wait::History(channel)))
    }

    /// `GET /channels/{name}/info`
    pub(super) fn info(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        name: &str,
    ) -> Result<Outcome, Refusal> {
        let channel = self.channel(name)?;
        self.access.check(&Who::reading(peer), Right::Presence, channel.as_str())?;
        Ok(self.ask(cx, peer, Survey::info(channel, cx.shards).with_nodes(self.settings.has_broker)))
    }

    /// `GET /channels?prefix=&limit=`, of what the asker may know of.
    pub(super) fn list(
        &mut self,
        cx: &mut Context<'_>,
        peer: &Peer<'_>,
        request: &Request<'_>,
    ) -> Result<Outcome, Refusal> {
        let limit = limit(request, CHANNEL_LIST_DEFAULT, CHANNEL_LIST_MAX)?;
        let prefix = query(request.target, "prefix").unwrap_or_default();
        self.check_lists()?;
        if self.may_ask_who(peer, request)
            && let Err(refusal) = self.access.check_every(&Who::reading(peer), Right::Presence)
        {
            // Somebody may be shown more than nobody in particular.
            return Err(refusal);
        }
        let visible = self.access.visible_to(peer);
        Ok(self.ask(
            cx,
            peer,
            Survey::list(prefix.into(), limit, visible, cx.shards).with_nodes(self.settings.has_broker),
        ))
    }
}

/// `?since=`; an empty one is none.
pub(super) fn since(request: &Request<'_>) -> Result<Option<Position>, Refusal> {
    match query(request.target, "since") {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(|_| Refusal::Position),
        Some(_) | None => Ok(None),
    }
}

pub(super) fn limit(request: &Request<'_>, default: u32, max: u32) -> Result<u32, Refusal> {
    match query(request.target, "limit") {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            Ok(_) | Err(_) => Err(Refusal::Limit(max)),
        },
    }
}

/// What is known of one channel.
pub(super) fn info_response(
    channel: &ChannelName,
    report: Option<&ChannelReport>,
    missing_nodes: u32,
) -> Response {
    let mut body = Vec::new();
    let unknown = || ChannelReport {
        channel: channel.clone(),
        subscribers: [0; Transport::ALL.len()],
        position: None,
        history_publications: 0,
        history_bytes: 0,
    };
    match report {
        Some(report) => push_report(&mut body, report),
        None => push_report(&mut body, &unknown()),
    }
    push_missing(&mut body, missing_nodes);
    fresh(body)
}

/// How many nodes have not answered, if any, at the end of an object.
fn push_missing(body: &mut Vec<u8>, missing_nodes: u32) {
    if missing_nodes > 0 {
        body.pop();
        body.extend_from_slice(format!(",\"missing_nodes\":{missing_nodes}}}").as_bytes());
    }
}

/// The first `limit` channels by name. Every shard reported its first ones in that order, so the sums of those listed
/// are whole; with `is_cut` more of them are not known, for a node has told of as many as it may.
pub(super) fn list_response(
    sums: &BTreeMap<ChannelName, ChannelReport>,
    limit: u32,
    missing_nodes: u32,
    is_cut: bool,
) -> Response {
    let limit = limit as usize;
    let mut body = b"{\"channels\":[".to_vec();
    for (index, report) in sums.values().take(limit).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        push_report(&mut body, report);
    }
    let is_complete = sums.len() <= limit && missing_nodes == 0 && !is_cut;
    write!(body, "],\"complete\":{is_complete}}}").expect("writing to a Vec cannot fail");
    push_missing(&mut body, missing_nodes);
    fresh(body)
}

fn push_report(body: &mut Vec<u8>, report: &ChannelReport) {
    body.extend_from_slice(b"{\"channel\":");
    push_string(body, report.channel.as_str());
    let [websocket, json, event_stream, long_poll, socketio] = report.subscribers;
    let total: u64 = report.subscribers.iter().copied().map(u64::from).sum();
    let mut push =
        |text: std::fmt::Arguments<'_>| body.write_fmt(text).expect("writing to a Vec cannot fail");
    push(format_args!(
        ",\"subscribers\":{total},\"transports\":{{\"websocket\":{websocket},\"json\":{json},\
         \"event_stream\":{event_stream},\"long_poll\":{long_poll},\"socketio\":{socketio}}}"
    ));
    match report.position {
        Some(position) => push(format_args!(
            ",\"epoch\":{},\"offset\":{},\"position\":\"{position}\"",
            position.epoch, position.offset
        )),
        None => push(format_args!(",\"epoch\":null,\"offset\":null,\"position\":null")),
    }
    push(format_args!(
        ",\"history_publications\":{},\"history_bytes\":{}}}",
        report.history_publications, report.history_bytes
    ));
}
