//! What a program elsewhere needs of an application: events and acknowledgements that are JSON already, and what is known of
//! this shard's sockets. Nothing here reads arguments.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    AckError, Answers, Broadcast, Handshake, Io, Namespace, Order, Socket, awaiting,
    members::MemberAcks,
    questions::{self, Replies, Said},
    socket::Introduction,
};
use crate::{
    mesh::{GatheredAck, SocketCommand, SocketSummary},
    model::{Arguments, ChannelName, SocketId},
    wire::redis_adapter::Request,
};

/// What other members do, that this one has done with its own sockets.
#[derive(Debug)]
pub(crate) enum MemberCommand {
    /// Put sockets into rooms.
    Join(Vec<Box<str>>),
    /// Take them out of rooms.
    Leave(Vec<Box<str>>),
    /// Take them out of the namespace, and with `close` end their clients' connections.
    Disconnect { close: bool },
    /// Tell their applications something, whatever sockets are meant.
    Say(Arguments),
}

impl Io {
    /// Has `listener` told what other members' applications say in a namespace, and who waits for an answer to it. Where it takes
    /// nothing, nobody else hears it. The last one counts.
    pub(crate) fn on_said(&self, listener: impl Fn(&str, &Arguments, Option<Said>) -> bool + 'static) {
        drop(self.core().on_said.replace(Some(Rc::new(listener))));
    }

    /// Has `listener` told of sockets of this shard that other members put into rooms, or take out of them: not of what this
    /// application does to a socket itself.
    pub(crate) fn on_moved(&self, listener: impl Fn(SocketId, &[ChannelName], bool) + 'static) {
        self.core().on_moved.add(Rc::new(listener));
    }

    /// Answers what another member's application has said.
    pub(crate) fn answer_said(&self, Said { asker, token }: Said, arguments: Arguments) {
        self.core().order(Order::Answer { asker, token, arguments });
    }

    /// Sends a socket of this shard an event, and calls `then` with its acknowledgement, if there is one by then.
    pub(crate) fn ask_socket(
        &self,
        socket: SocketId,
        (arguments, is_volatile): (Arguments, bool),
        until: Option<Instant>,
        then: impl FnOnce(Result<Arguments, AckError>) + 'static,
    ) {
        let one = Socket::new(socket, (**self).clone());
        let tell = move |answer: awaiting::Answer<'_>| then(answer.map(awaiting::arguments_of));
        if let Some(number) = awaiting::await_one(&one, until, tell) {
            one.send(arguments, Some(number), is_volatile);
        }
    }

    /// Asks to be told of those who come back what is known of them: what they say now, and the rooms that they are in.
    pub(crate) fn want_introductions_again(&self) {
        self.core().introduces_again.set(true);
    }

    /// Whether somebody has asked for that.
    pub(crate) fn wants_introductions_again(&self) -> bool {
        self.core().introduces_again.get()
    }

    /// What is known of a client that is about to be told of as having come back.
    pub(crate) fn introduce_again(
        &self,
        socket: SocketId,
        auth: Option<&str>,
        handshake: Option<Handshake>,
        rooms: Vec<ChannelName>,
    ) {
        let introduction = Introduction { auth: auth.map(Box::from), handshake, rooms };
        let before = self.core().introductions.borrow_mut().insert(socket, Rc::new(introduction));
        drop(before);
    }

    /// Keeps JSON as what others are told of a socket of this shard.
    pub(crate) fn keep_data(&self, socket: SocketId, json: Box<str>) {
        if let Some(state) = self.core().presence.state_or_new(socket) {
            state.public_data.replace(Some(json));
        }
    }

    /// Calls `listener` with every socket whose client has changed to a WebSocket (`true`), or has come back over this.
    pub(crate) fn on_carried(&self, listener: impl Fn(SocketId, bool) + 'static) {
        self.core().on_carried.add(Rc::new(listener));
    }

    /// Calls `then` with all sockets of a namespace on this shard, their rooms and their data.
    pub(crate) fn tell_sockets(
        &self,
        namespace: &Namespace,
        then: impl FnOnce(Vec<SocketSummary>) + 'static,
    ) {
        let core = self.core();
        let selection = Box::new(namespace.everybody().selection());
        // Nobody else is asked, so there will be an answer.
        let until = Instant::now() + Duration::from_secs(3600);
        let then = move |replies: Replies| then(replies.flat_map(|_, answer| answer.sockets).list);
        questions::ask_here(core, until, |token| Order::Tell { selection, token }, then);
    }
}

impl Broadcast {
    /// Sends an event to the sockets selected, and calls `then` with what they have acknowledged by then, and what the clients
    /// of other members of a cluster have.
    pub(crate) fn ask_json(
        &self,
        arguments: Arguments,
        until: Instant,
        then: impl FnOnce(Answers<GatheredAck>, MemberAcks) + 'static,
    ) {
        self.ask_all_clients(arguments, until, move |replies, acks| {
            then(replies.flat_map(|_, answer| answer.acks), acks);
        });
    }

    /// Has the other members do something with the sockets selected.
    pub(crate) fn tell_members(&self, command: MemberCommand) {
        self.ask_cluster(|selected| match command {
            MemberCommand::Join(rooms) => Request::Join { selected, rooms },
            MemberCommand::Leave(rooms) => Request::Leave { selected, rooms },
            MemberCommand::Disconnect { close } => Request::Disconnect { selected, close },
            MemberCommand::Say(arguments) => Request::ServerEvent { arguments },
        });
    }

    /// But for this socket.
    pub(crate) fn but_for(mut self, socket: SocketId) -> Self {
        self.leave_out(socket);
        self
    }
}

impl Namespace {
    /// A socket of this namespace, of whatever shard, which may be gone.
    pub(crate) fn socket(&self, id: SocketId) -> Socket {
        Socket::new(id, self.clone())
    }
}

impl Socket {
    /// Sends it an event, on whatever shard it is.
    pub(crate) fn emit_json(&self, arguments: Arguments, is_volatile: bool) {
        let (socket, core) = (self.id(), self.core());
        core.order(match socket.shard == core.shard {
            true => Order::Emit { socket, arguments, ack: None, is_volatile },
            false => Order::Command { socket, command: SocketCommand::Emit { arguments, is_volatile } },
        });
    }

    /// Acknowledges its event of this id, on whatever shard it is.
    pub(crate) fn acknowledge_json(&self, id: u64, arguments: Arguments) {
        let (socket, core) = (self.id(), self.core());
        core.order(match socket.shard == core.shard {
            true => Order::Acknowledge { socket, id, arguments },
            false => Order::Command {
                socket,
                command: SocketCommand::Acknowledge { id, arguments: arguments.into() },
            },
        });
    }

    /// Keeps JSON as what [`Socket::set_public_data`] keeps, on whatever shard it is.
    pub(crate) fn set_public_json(&self, json: Box<str>) {
        self.core().order(Order::Command { socket: self.id(), command: SocketCommand::Keep(json) });
    }

    /// What [`Socket::set_public_data`] keeps of a socket of this shard, as JSON.
    pub(crate) fn public_json(&self) -> Option<Box<str>> {
        let state = self.core().presence.state(self.id())?;
        state.public_data.borrow().clone()
    }

    /// Tells it that it is put out, and ends its client's connection, on whatever shard it is.
    pub(crate) fn put_out(&self) {
        self.core().order(Order::Command { socket: self.id(), command: SocketCommand::PutOut });
    }

    /// Takes back what [`Socket::set_data`] kept, if it is of this type.
    pub(crate) fn take_data<T: 'static>(&self) -> Option<Rc<T>> {
        let data = self.data::<T>()?;
        let presence = &self.core().presence;
        if let Some(state) = presence.state(self.id()) {
            drop(state.data.take());
            presence.prune(self.id());
        }
        Some(data)
    }
}
