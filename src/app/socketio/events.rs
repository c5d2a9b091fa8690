//! Which function hears which event, and how a function of typed data is made one of JSON.

use std::{fmt, net::IpAddr, rc::Rc};

use serde::de::DeserializeOwned;

use super::{
    Ack, Event, Socket,
    arguments::{self, PayloadError},
    listeners::{Listeners, NamedListeners},
};

/// An event as the client sent it, for [`super::Handlers::on_any`].
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a>(pub(super) &'a Event<'a>);

/// An event whose arguments are not what its listener takes.
#[derive(Debug)]
pub struct EventError<'a> {
    /// The event.
    pub event: RawEvent<'a>,
    /// What is wrong with it.
    pub error: PayloadError,
}

type AnyListener = dyn Fn(&Socket, &RawEvent<'_>);
type Listener = dyn Fn(&Socket, &RawEvent<'_>) -> Result<(), PayloadError>;

/// The events that are listened for.
#[derive(Debug, Default)]
pub(super) struct EventTable {
    by_name: NamedListeners<Listener>,
    any: Listeners<AnyListener>,
}

impl EventTable {
    /// The application ends.
    pub(super) fn end(&self) {
        self.by_name.clear();
        self.any.clear();
    }

    pub(super) fn on<T, F>(&self, name: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(&Socket, T) + 'static,
    {
        self.by_name.add(
            name,
            Rc::new(move |socket: &Socket, event: &RawEvent<'_>| {
                listener(socket, event.arguments()?);
                Ok(())
            }),
        );
    }

    pub(super) fn on_with_ack<T, F>(&self, name: &str, listener: F)
    where
        T: DeserializeOwned,
        F: Fn(&Socket, T, Ack) + 'static,
    {
        self.by_name.add(
            name,
            Rc::new(move |socket: &Socket, event: &RawEvent<'_>| {
                listener(socket, event.arguments()?, Ack::to_socket(socket, event.0.ack));
                Ok(())
            }),
        );
    }

    pub(super) fn on_any(&self, listener: impl Fn(&Socket, &RawEvent<'_>) + 'static) {
        self.any.add(Rc::new(listener));
    }

    pub(super) fn off(&self, name: &str) {
        self.by_name.remove(name);
    }

    pub(super) fn off_any(&self) {
        self.any.clear();
    }

    /// Calls whoever listens for the event: first those that listen for any.
    pub(super) fn dispatch(&self, socket: &Socket, event: &RawEvent<'_>) {
        self.any.each(|listener| {
            socket.guarded("a listener", || listener(socket, event));
        });
        let Some(listeners) = self.by_name.of(event.name()) else { return };
        for listener in listeners.iter() {
            let heard = socket.guarded("a listener", || listener(socket, event));
            if let Some(Err(error)) = heard {
                socket.namespace().event_failed(socket, &EventError { event: *event, error });
            }
        }
    }
}

impl<'a> RawEvent<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        self.0.name
    }

    /// The JSON array it came in: the name, then the arguments.
    pub fn json(&self) -> &'a str {
        self.0.json
    }

    /// The binary values, by the number in their placeholder.
    pub fn attachments(&self) -> &'a [Box<[u8]>] {
        self.0.attachments
    }

    /// Where the client's connection comes from, as far as that is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// Whether the client waits for an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        self.0.ack.is_some()
    }

    /// The id under which the client waits for an acknowledgement.
    pub(crate) fn ack_id(&self) -> Option<u64> {
        self.0.ack
    }

    /// The means to acknowledge it, for whoever knows that no other listener does.
    pub fn ack(&self, socket: &Socket) -> Ack {
        Ack::to_socket(socket, self.0.ack)
    }

    /// The arguments, as whatever they shall be.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        arguments::decode_event(self.0.json, self.0.attachments)
    }
}

impl fmt::Display for EventError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {:?}: {}", self.event.name(), self.error)
    }
}

impl std::error::Error for EventError<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
