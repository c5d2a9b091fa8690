//! Where and how a client connects: what all scenarios know of a server.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use roadstead::wire::websocket::Opcode;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{
        ConnectionId, Io, Route,
        tls::{Tls, Trust},
    },
    error::{Doing, Error, Result},
    protocol::{
        deflate::{Offered, Traffic},
        manners::Manners,
        request::{self, PollPosition},
        socketio::{PONG, Place},
        subscriber::{Notice, Subscriber, Transport, encode_message},
    },
    target::{Numbering, Target},
};

/// How connections are made: through which file, and within which TLS.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// Connect to this socket file instead of the URL's address.
    pub unix_socket: Option<PathBuf>,
    /// Certificates to trust instead of the system's, in PEM.
    pub ca: Option<String>,
    /// The server's name in its certificate, if it is not the URL's.
    pub server_name: Option<String>,
    /// Believe any certificate, on this machine.
    pub insecure: bool,
}

/// What is said of a connection that ended without an error.
pub const CLOSED: &str = "the server closed the connection";

/// One URL, resolved.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The URL.
    pub target: Target,
    /// Its address.
    pub address: SocketAddr,
    /// How its clients receive.
    pub transport: Transport,
    /// What they add.
    pub manners: Arc<Manners>,
    /// The socket file to connect to instead of the address.
    pub unix: Option<Arc<Path>>,
    /// How connections are secured.
    pub tls: Option<Tls>,
}

/// What received bytes did to a connection, besides the messages in them.
#[derive(Debug, Default)]
pub struct Attended {
    /// It is served now.
    pub served: bool,
    /// It has to be given up, and why.
    pub ended: Option<String>,
    /// What came of offering compression.
    pub traffic: Traffic,
}

/// What is said of a connection that the server closed for this reason, if it gave one.
pub fn closed_for(why: Option<&str>) -> String {
    why.map_or_else(|| CLOSED.to_owned(), |why| format!("{CLOSED}: {why}"))
}

impl Endpoint {
    /// The way there.
    pub fn route(&self, source: Option<IpAddr>) -> Route {
        Route { target: self.address, source, unix: self.unix.clone(), tls: self.tls.clone() }
    }

    /// A client that is about to ask.
    pub fn client(&self) -> Subscriber {
        Subscriber::new(self.transport).offering(self.manners.compression)
    }

    /// What the `number`th client sends first.
    pub fn request(&self, number: u64) -> Vec<u8> {
        self.manners.dress(Subscriber::request(self.transport, &self.target.numbered(number)), number)
    }

    /// What all threads' connections came to, where compression was offered.
    pub fn traffic(&self, threads: impl Iterator<Item = Traffic>) -> Option<Traffic> {
        let sum = threads.fold(Traffic::default(), |mut sum, traffic| {
            sum += traffic;
            sum
        });
        (self.manners.compression != Offered::Nothing).then_some(sum)
    }

    /// Whether all clients send the same first.
    pub fn is_same_for_all(&self) -> bool {
        self.target.numbering() == Numbering::Same && self.manners.is_same_for_all()
    }

    /// Whether nothing tells that a client is served: a poll that is parked and a bare connection that is accepted are
    /// silent, and count as served when they have asked.
    pub fn is_served_silently(&self) -> bool {
        matches!(self.transport, Transport::Poll | Transport::Tcp)
    }

    /// Lets the `number`th client read received bytes, sends what it answers, and gives every message to `message`.
    #[inline]
    pub fn attend(
        &self,
        (number, client): (u64, &mut Subscriber),
        (io, id): (&mut Io, ConnectionId),
        bytes: &mut [u8],
        mut message: impl FnMut(&[u8]),
    ) -> Attended {
        let mut attended = Attended::default();
        let (mut closing, mut again, mut to_say) = (None, None, Vec::new());
        let result = self.manners.attend(client, number, bytes, |notice| match notice {
            Notice::Message(data) => message(data),
            Notice::Served => attended.served = true,
            Notice::Agreed => attended.traffic.agreed += 1,
            Notice::Sized(sizes) => attended.traffic.received += sizes,
            // A connection that is gone tells so itself.
            Notice::Reply(reply) => drop(io.send(id, &reply)),
            Notice::Answered(position) => again = Some(position),
            Notice::Opened => to_say.push(self.place(number).enter()),
            Notice::Entered => match self.place(number).join() {
                Some(join) => to_say.push(join),
                None => attended.served = true,
            },
            Notice::Acknowledged(_) => attended.served = true,
            Notice::Pinged => to_say.push(PONG.to_owned()),
            Notice::Closing(why) => closing = Some(why),
        });
        attended.ended = match result {
            Err(error) => Some(error.to_string()),
            Ok(()) => closing.map(|why| closed_for(why.as_deref())),
        };
        if attended.ended.is_none() {
            self.go_on((number, id), io, again, &to_say);
        }
        attended
    }

    fn place(&self, number: u64) -> Place {
        Place::of(&self.target.numbered(number))
    }

    /// Says what a client has to say, and asks again where it has been answered. Connections that are gone tell so
    /// themselves.
    fn go_on(
        &self,
        (number, id): (u64, ConnectionId),
        io: &mut Io,
        answered: Option<Option<Rc<PollPosition>>>,
        to_say: &[String],
    ) {
        let Some(position) = answered else {
            for packet in to_say {
                drop(io.send(id, &encode_message(Opcode::Text, packet.as_bytes())));
            }
            return;
        };
        let target = self.target.numbered(number);
        let request = match position.as_deref() {
            Some(PollPosition::Session(session)) if to_say.is_empty() => {
                request::encode_engine_poll(&target, Some(session))
            }
            Some(PollPosition::Session(session)) => request::encode_engine_post(&target, session, to_say),
            position => request::encode_poll(&target, position),
        };
        drop(io.send(id, &self.manners.dress(request, number)));
    }
}

impl Line {
    /// Where a URL leads, when it is ours to load.
    pub fn address(&self, url: &Target, owned: bool) -> Result<SocketAddr> {
        match self.unix_socket {
            // A file is on this machine; what the URL says is only told to the server.
            Some(_) => Ok(SocketAddr::from(([127, 0, 0, 1], 0))),
            None => Ok(url.resolve(owned)?),
        }
    }

    /// An endpoint whose connections are made so.
    pub fn lead_to(&self, endpoint: Endpoint) -> Result<Endpoint> {
        let unix = self.unix_socket.clone().map(Arc::from);
        let tls = if endpoint.target.is_tls { Some(self.tls(&endpoint)?) } else { None };
        Ok(Endpoint { unix, tls, ..endpoint })
    }

    fn tls(&self, endpoint: &Endpoint) -> Result<Tls> {
        if self.insecure && !endpoint.address.ip().is_loopback() {
            return Err(Error::Argument {
                flag: "--insecure",
                value: endpoint.address.to_string(),
                accepted: "a server on this machine; give the certificate that signed the other's with --ca"
                    .to_owned(),
            });
        }
        let trust = match &self.ca {
            _ if self.insecure => Trust::All,
            Some(text) => Trust::Pem(text),
            None => Trust::System,
        };
        Tls::new(self.server_name.as_ref().unwrap_or(&endpoint.target.host), trust).doing("set up TLS")
    }
}
