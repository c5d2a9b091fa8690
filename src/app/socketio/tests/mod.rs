//! The rig of this folder's tests: an application without a shard. What it asks for stands in the orders.

mod acknowledging;
mod broadcasting;
mod connecting;
mod hearing;
mod opening;

use std::{cell::RefCell, fmt::Debug, rc::Rc, time::Instant};

use super::{Connecting, Event, Io, NamespaceId, Order, Orders, Settings};
use crate::{
    mesh::SocketCommand,
    model::{Arguments, ChannelName, CloseReason, ShardId, SocketId},
};

/// What the functions of an application noted.
#[derive(Clone, Debug, Default)]
struct Notes(Rc<RefCell<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0.borrow_mut().push(note.into());
    }

    /// Everything since last asked.
    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// An application on shard 1 of 3.
struct Rig {
    io: Io,
    notes: Notes,
}

impl Rig {
    fn new() -> Self {
        let io = Io::new(Settings::default(), ShardId(1), 3, Orders::new(Rc::default()));
        Self { io, notes: Notes::default() }
    }

    /// A function that notes what it is called with.
    fn noting<T: Debug>(&self, what: &'static str) -> impl Fn(&super::Socket, T) + 'static {
        let notes = self.notes.clone();
        move |_, data| notes.add(format!("{what} {data:?}"))
    }

    fn admit(
        &self,
        index: u32,
        namespace: &str,
        auth: Option<&str>,
    ) -> Result<NamespaceId, super::ConnectError> {
        let connecting = Connecting {
            session: super::EngineId { index, generation: 0 },
            socket: id(index),
            namespace,
            auth,
            token: None,
            handshake: None,
            address: None,
            is_websocket: false,
            rulings: &[],
            question: std::cell::RefCell::default(),
        };
        self.io.admit(&connecting).map(super::Admitted::namespace)
    }

    /// A client enters a namespace.
    fn enter(&self, index: u32, namespace: &str) -> NamespaceId {
        let entered = self.admit(index, namespace, None).expect("it may enter");
        self.io.connected(id(index), entered, false);
        entered
    }

    fn leave(&self, index: u32, namespace: NamespaceId) {
        self.io.disconnected(id(index), namespace, CloseReason::ClientGone, false);
    }

    /// A client sends an event: the JSON array.
    fn say(&self, index: u32, namespace: NamespaceId, json: &str) {
        self.say_for_ack(index, namespace, json, None);
    }

    fn say_for_ack(&self, index: u32, namespace: NamespaceId, json: &str, ack: Option<u64>) {
        let name: Vec<serde_json::Value> = serde_json::from_str(json).expect("an array");
        let name = name[0].as_str().expect("a name");
        self.io.event(
            id(index),
            namespace,
            &Event { name, json, attachments: &[], ack, address: None, rulings: &[] },
        );
    }

    /// Time passes.
    fn pass(&self, at: Instant) {
        self.io.core().deadlines.run_due(at);
    }

    fn orders(&self) -> Vec<Order> {
        let mut orders = Vec::new();
        self.io.orders().take(&mut orders);
        orders.into_iter().map(|(_, order)| order).collect()
    }

    /// The orders since last asked, one line each.
    fn asked(&self) -> Vec<String> {
        self.orders().iter().map(line).collect()
    }
}

fn id(index: u32) -> SocketId {
    SocketId::local(ShardId(1), index, 1)
}

/// An order as a test says it.
fn line(order: &Order) -> String {
    match order {
        Order::Emit { socket, arguments, ack, is_volatile } => {
            let ack = ack.map(|_| " for ack").unwrap_or_default();
            format!("emit {}{}{ack}{}", socket.index, said(arguments), volatile(*is_volatile))
        }
        Order::Acknowledge { socket, id, arguments } => {
            format!("ack {} {id}{}", socket.index, said(arguments))
        }
        Order::Publish { channel, payload, .. } => {
            let emission = payload.emission.as_deref().cloned().unwrap_or_default();
            let text = payload.text().expect("JSON is UTF-8");
            let except = emission.except_socket.map(|socket| format!(" except {}", socket.index));
            let rooms = match &emission.except_rooms[..] {
                [] => String::new(),
                rooms => format!(" except {}", names(rooms)),
            };
            let attached = emission.arguments.as_ref().map(said).unwrap_or_default();
            let volatile = volatile(emission.is_volatile);
            format!("publish {channel} {text}{attached}{}{rooms}{volatile}", except.unwrap_or_default())
        }
        Order::Command { socket, command } => format!("command {} {}", socket.index, command_line(command)),
        other => format!("{other:?}"),
    }
}

fn command_line(command: &SocketCommand) -> String {
    match command {
        SocketCommand::Emit { arguments, is_volatile } => {
            format!("emit{}{}", said(arguments), volatile(*is_volatile))
        }
        SocketCommand::Acknowledge { id, arguments } => format!("acknowledge {id}{}", said(arguments)),
        SocketCommand::Keep(json) => format!("keep {json}"),
        SocketCommand::PutOut => "put out".into(),
        SocketCommand::Join(rooms) => format!("join {}", names(rooms)),
        SocketCommand::Leave(rooms) => format!("leave {}", names(rooms)),
        SocketCommand::Disconnect { ends_session: false } => "disconnect".into(),
        SocketCommand::Disconnect { ends_session: true } => "disconnect all".into(),
    }
}

fn volatile(is_volatile: bool) -> &'static str {
    if is_volatile { " volatile" } else { "" }
}

fn said(arguments: &Arguments) -> String {
    match &arguments.attachments[..] {
        [] => format!(" {}", arguments.json),
        attachments => format!(" {} with {attachments:?}", arguments.json),
    }
}

fn names(rooms: &[ChannelName]) -> String {
    // A room of one socket has a long name.
    let name = |room: &ChannelName| match SocketId::parse(room.as_str()) {
        Some(socket) => format!("<{}>", socket.index),
        None => room.to_string(),
    };
    rooms.iter().map(name).collect::<Vec<_>>().join(",")
}
