//! The application as a part of a member of a Socket.IO cluster: what it tells the other members, and what it does for them.
//!
//! Members ask a process, not a shard: shard 0 is asked, asks the others, and answers for all. Everything that can be answered is,
//! in time also where a shard or a client is silent, for whoever asked waits for every member.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    Broadcast, Io, MemberAnswers, Order,
    core::Core,
    members,
    questions::{Asked as Whom, Replies, ask_then},
};
use crate::{
    broker::cluster::{ClusterAsk, ClusterNews},
    limits::{ACKS_EARLIER_MS, CLUSTER_ANSWER_MS, CLUSTER_ASKED_MS},
    mesh::{GatheredAck, SocketCommand, SocketSummary, SocketsAnswer, SocketsRequest, Told},
    model::{Arguments, Reach, namespace_of},
    wire::{
        json::{Raw, text_beside, with_base64},
        redis_adapter::{Answer, Asked, Emitted, Fetched, Request, Selected},
    },
};

impl Broadcast {
    /// Asks the other members of the cluster to do the same with their sockets.
    pub(super) fn ask_cluster(&self, request: impl FnOnce(Selected) -> Request) {
        if self.reach != Reach::Everywhere || self.reaches_nobody() {
            return;
        }
        let namespace = self.namespace.name();
        self.namespace.core().ask_cluster(namespace, || request(self.selected_names()));
    }

    /// An event to the sockets that are named by their ids, for other members.
    pub(super) fn emitted_to_sockets(&self, arguments: &Arguments) -> Emitted {
        Emitted {
            namespace: self.namespace.name().into(),
            rooms: self.sockets.iter().map(|socket| socket.to_string().into()).collect(),
            except: self.except_names(),
            is_volatile: self.is_volatile,
            arguments: arguments.clone(),
        }
    }

    /// The sockets it is about, by names.
    pub(super) fn selected_names(&self) -> Selected {
        Selected { rooms: self.room_names(), except: self.except_names() }
    }

    fn room_names(&self) -> Vec<Box<str>> {
        let rooms = self.rooms.iter().filter_map(|room| namespace_of(room).1).map(Box::from);
        rooms.chain(self.sockets.iter().map(|socket| socket.to_string().into())).collect()
    }

    fn except_names(&self) -> Vec<Box<str>> {
        let rooms = self.except_rooms.iter().filter_map(|room| namespace_of(room).1).map(Box::from);
        rooms.chain(self.except_socket.map(|socket| socket.to_string().into())).collect()
    }

    /// Sends an event of another member to the sockets of this process. Where a broker joins several nodes, it is published on none:
    /// each hears it, and sends it to its own.
    fn emit_of_member(&self, arguments: Arguments) {
        if !self.namespace.core().settings.has_broker {
            // It has been bounded where it was read, and one attachment may stand in many places.
            if let Ok(base64) = text_beside(&arguments, BASE64_BYTES_MAX) {
                self.emit_json(arguments, base64);
            }
        } else if !self.reaches_nobody() {
            let command = SocketCommand::Emit { arguments, is_volatile: self.is_volatile };
            let request = SocketsRequest::Command { selection: self.selection(), command };
            self.namespace.core().order(Order::Request(request));
        }
    }

    fn fetch_for_member(&self, told: Told, give: impl FnOnce(Replies) + 'static) {
        self.fetch_then(told, in_time(CLUSTER_ANSWER_MS), give);
    }
}

/// An event of another member with its bytes as text for those who take none, at most.
const BASE64_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One request, and where it is answered.
struct Question {
    core: Rc<Core>,
    namespace: Box<str>,
    id: Option<Box<str>>,
}

impl Io {
    /// The cluster has said something to this process.
    pub(crate) fn cluster_said(&self, news: ClusterNews) {
        match news {
            ClusterNews::Emitted(emitted) => {
                let Emitted { namespace, rooms, except, is_volatile, arguments } = *emitted;
                if let Some(selected) = self.selected(&namespace, &Selected { rooms, except }) {
                    let selected = if is_volatile { selected.volatile() } else { selected };
                    selected.emit_of_member(arguments);
                }
            }
            ClusterNews::Asked { namespace, asked } => self.asked_by_member(namespace, *asked),
            // The shard itself knows that.
            ClusterNews::Surveys { .. } => {}
            ClusterNews::Answered { token, answers, missing } => {
                members::answered(self.core(), token, MemberAnswers { list: answers, missing });
            }
        }
    }

    /// Sockets that a member names.
    fn selected(&self, namespace: &str, Selected { rooms, except }: &Selected) -> Option<Broadcast> {
        let mut selected = self.sockets_of(namespace)?.asked_by_member();
        for room in rooms {
            selected = selected.to(&**room);
        }
        for room in except {
            selected = selected.except(&**room);
        }
        Some(selected)
    }

    fn asked_by_member(&self, namespace: Box<str>, asked: Asked) {
        let is_of_old = asked.is_of_old();
        let question = Question { core: Rc::clone(self.core()), namespace, id: asked.id };
        let namespace = question.namespace.clone();
        let selected = |selected: &Selected| self.selected(&namespace, selected);
        match asked.request {
            Request::Sockets { rooms } => {
                let all = selected(&Selected { rooms, except: Vec::new() });
                question.fetch(all, Told::Ids, |sockets| {
                    Answer::Sockets(sockets.into_iter().map(|socket| socket.id.to_string().into()).collect())
                });
            }
            Request::AllRooms => {
                let all = selected(&Selected::default());
                question.fetch(all, Told::Summaries, |sockets| Answer::Rooms(rooms_of(sockets)));
            }
            Request::Fetch { selected: which } => {
                question.fetch(selected(&which), Told::Summaries, |sockets| {
                    Answer::Fetched(sockets.into_iter().map(fetched).collect())
                });
            }
            Request::Join { selected: which, rooms } => {
                question.command(selected(&which), is_of_old, move |these| these.sockets_join(names(&rooms)));
            }
            Request::Leave { selected: which, rooms } => {
                question
                    .command(selected(&which), is_of_old, move |these| these.sockets_leave(names(&rooms)));
            }
            Request::Disconnect { selected: which, close } => {
                question.command(selected(&which), is_of_old, move |these| these.disconnect_sockets(close));
            }
            Request::ServerEvent { arguments } => self.server_event_of_member(question, arguments),
            // It is read nowhere but among nodes, as [`ClusterNews::Surveys`].
            Request::Survey(_) => {}
            Request::Acknowledge { emitted, timeout_ms } => {
                let Emitted { rooms, except, arguments, .. } = *emitted;
                let these = selected(&Selected { rooms, except });
                question.acknowledge(these, arguments, timeout_ms.unwrap_or(CLUSTER_ASKED_MS));
            }
        }
    }

    /// Every shard's application hears what another member's says, and the first that answers something answers for all.
    fn server_event_of_member(&self, question: Question, arguments: Arguments) {
        let (core, namespace) = (Rc::clone(&question.core), question.namespace.clone());
        let event = |token| SocketsRequest::ServerEvent {
            namespace: namespace.clone(),
            arguments: arguments.clone(),
            token,
        };
        if question.id.is_none() {
            core.order(Order::Request(event(None)));
            return self.server_event(core.shard, &namespace, &arguments, None);
        }
        let mut own = None;
        let put = |token| {
            own = Some(token);
            event(Some(token))
        };
        let give = move |replies: Replies| question.answer(Answer::Said(said(replies)));
        ask_then(&core, Whom::Everybody, in_time(CLUSTER_ANSWER_MS), put, give);
        if own.is_some() {
            self.server_event(core.shard, &namespace, &arguments, own);
        }
    }
}

impl Question {
    fn answer(&self, answer: Answer) {
        let (namespace, Some(id)) = (self.namespace.clone(), self.id.clone()) else { return };
        self.core.tell_cluster(|| ClusterAsk::Answer { namespace, id, answer: Box::new(answer) });
    }

    /// Answers with what is told of sockets by all shards, or by those that are not silent.
    fn fetch(
        self,
        these: Option<Broadcast>,
        told: Told,
        answer: impl FnOnce(Vec<SocketSummary>) -> Answer + 'static,
    ) {
        match these {
            Some(these) => these.fetch_for_member(told, move |replies| {
                self.answer(answer(replies.flat_map(|_, answer| answer.sockets).list));
            }),
            None => self.answer(answer(Vec::new())),
        }
    }

    /// Does something. In a form of old it is answered, by the member that has the socket.
    fn command(self, these: Option<Broadcast>, is_of_old: bool, act: impl FnOnce(&Broadcast) + 'static) {
        let Some(these) = these else { return };
        if !is_of_old {
            return act(&these);
        }
        these.clone().fetch_for_member(Told::Ids, move |replies| {
            if replies.list.iter().any(|(_, answer)| answer.count > 0) {
                act(&these);
                self.answer(Answer::Done);
            }
        });
    }

    /// Has clients acknowledge an event. Whoever asked hears how many they are and what those have said that were in time, a
    /// little before it gives up.
    fn acknowledge(self, these: Option<Broadcast>, arguments: Arguments, timeout_ms: u64) {
        let Some(these) = these else { return self.answer(Answer::Asked(0)) };
        let earlier_ms = ACKS_EARLIER_MS.min(timeout_ms / 4);
        let until = in_time(timeout_ms.min(ACKS_TIMEOUT_MS_MAX) - earlier_ms);
        let told_by = until + Duration::from_millis(earlier_ms / 2);
        these.ask_clients(arguments, [until, told_by], move |replies| {
            let acks = replies.flat_map(|_, answer| answer.acks).list;
            self.answer(Answer::Asked(acks.len() as u32));
            for GatheredAck { said, .. } in acks {
                if let Some(said) = said {
                    self.answer(Answer::Acknowledged(said));
                }
            }
        });
    }
}

/// The longest that clients may be waited for.
const ACKS_TIMEOUT_MS_MAX: u64 = 600_000;

fn in_time(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn names(rooms: &[Box<str>]) -> Vec<&str> {
    rooms.iter().map(|room| &**room).collect()
}

/// The first that an application says, as JSON.
fn said(replies: Replies) -> Box<str> {
    let first = |SocketsAnswer { arguments, .. }: SocketsAnswer| {
        let arguments = arguments?;
        let json = match arguments.attachments.is_empty() {
            true => arguments.json.into_string(),
            false => with_base64(&arguments, BASE64_BYTES_MAX)?,
        };
        Some(Raw::check(&json, usize::MAX).ok()?.elements()?.next()?.as_str().into())
    };
    let all = replies.flat_map(|_, answer| first(answer).into_iter().collect());
    all.list.into_iter().next().unwrap_or_else(|| "null".into())
}

/// The rooms that sockets are in, with those in which they are alone, as members in JavaScript count them.
fn rooms_of(sockets: Vec<SocketSummary>) -> Vec<Box<str>> {
    let mut rooms: Vec<_> = sockets.into_iter().flat_map(|socket| fetched(socket).rooms).collect();
    rooms.sort_unstable();
    rooms.dedup();
    rooms
}

/// A socket as members in JavaScript know it: it is in a room of its own, and its data is an object.
fn fetched(socket: SocketSummary) -> Fetched {
    let id: Box<str> = socket.id.to_string().into();
    let rooms = socket.rooms.iter().filter_map(|room| namespace_of(room).1).map(Box::from);
    let rooms = std::iter::once(id.clone()).chain(rooms.filter(|room| *room != id)).collect();
    let data = if &*socket.data == "null" { "{}".into() } else { socket.data };
    Fetched { id, rooms, data }
}
