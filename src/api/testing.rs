//! The rig of this folder's tests: a server without a socket. What was asked for stands in the intents.

use super::{ChannelServer, Settings, SocketIoSettings};
use crate::{
    app::{Answer, Context, Handler, Intent, Intents, Message, Moment, Peer, Reply, Response, Verdict},
    auth::{Policy, Ruled},
    model::{ChannelName, ConnectionId, Now, Position, ShardId},
    wire::http1::{HeaderSpan, Method, Request, Version},
};

/// The connection the rig speaks for.
pub(super) const CONNECTION: ConnectionId = ConnectionId { index: 7, generation: 3 };

/// A server of one shard among `shards`, and the time it is told.
pub(super) struct Rig {
    pub(super) server: ChannelServer,
    pub(super) shards: u16,
    pub(super) now_ms: u64,
    pub(super) is_admin: bool,
    pub(super) is_draining: bool,
    pub(super) tag: u32,
    pub(super) channel: Option<ChannelName>,
    /// What the backend has said of what is asked.
    pub(super) rulings: Vec<Ruled>,
    pub(super) intents: Intents,
}

impl Rig {
    pub(super) fn new(settings: Settings) -> Self {
        let server = ChannelServer::new(settings);
        let intents = Intents::default();
        Self {
            server,
            shards: 3,
            now_ms: 5_000,
            is_admin: false,
            is_draining: false,
            tag: 0,
            channel: None,
            rulings: Vec::new(),
            intents,
        }
    }

    /// Everything on that an operator can turn on, so that a test turns off what it is about.
    pub(super) fn open() -> Self {
        Self::new(open_settings())
    }

    /// Hands over a request: `"GET /path"`, header fields, body.
    pub(super) fn request(&mut self, line: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        with_request(line, fields, body, |request| {
            self.call(|server, cx, peer| server.request(cx, peer, request))
        })
    }

    /// A request that must be answered at once.
    pub(super) fn respond(&mut self, line: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        match self.request(line, fields, body) {
            Answer::Respond(response) => response,
            other => panic!("{line} was answered by {other:?}"),
        }
    }

    /// A handshake.
    pub(super) fn connect(&mut self, target: &str, fields: &[(&str, &str)]) -> Verdict {
        with_request(&format!("GET {target}"), fields, b"", |request| {
            self.call(|server, cx, peer| server.connect(cx, peer, request))
        })
    }

    /// A handshake that must be accepted; what follows comes from this WebSocket.
    pub(super) fn accept(&mut self, target: &str, fields: &[(&str, &str)]) {
        match self.connect(target, fields) {
            Verdict::Accept { tag, channel, .. } => {
                (self.tag, self.channel) = (tag, channel.map(|(channel, _)| channel));
            }
            other => panic!("{target} was answered by {other:?}"),
        }
    }

    pub(super) fn message(&mut self, message: Message<'_>) {
        self.call(|server, cx, peer| server.message(cx, peer, message));
    }

    /// The reply to a part of the request put off, or to the command of this id.
    pub(super) fn reply(&mut self, part: u32, reply: Reply) {
        let in_flight = self.server.in_flight.get(&CONNECTION);
        let command = in_flight.and_then(|all| all.iter().find(|command| command.id == part));
        let token = match (self.server.pending.get(&CONNECTION), command) {
            (Some(pending), _) => pending.question.wrapping_add(part),
            (None, Some(command)) => command.number,
            (None, None) => part,
        };
        self.reply_to(token, reply);
    }

    pub(super) fn reply_to(&mut self, token: u32, reply: Reply) {
        self.call(|server, cx, peer| server.reply(cx, peer, token, reply));
    }

    /// Hands over a text message and gives the one text sent back.
    pub(super) fn command(&mut self, text: &str) -> String {
        self.message(Message::Text(text));
        self.sent()
    }

    /// The text of the one message sent since last asked.
    pub(super) fn sent(&mut self) -> String {
        let list = self.intents.take();
        let sent: Vec<_> = list
            .iter()
            .filter_map(|intent| match intent {
                Intent::Send { connection: CONNECTION, is_text: true, range } => Some(range.clone()),
                _ => None,
            })
            .map(|range| String::from_utf8(self.intents.bytes(range).to_vec()).expect("text is UTF-8"))
            .collect();
        self.intents.reset(list);
        let [text] = sent.try_into().expect("one message");
        text
    }

    /// Takes everything asked for since last asked.
    pub(super) fn intents(&mut self) -> Vec<Intent> {
        self.intents.take()
    }

    /// The response given to a request that was put off.
    pub(super) fn response(&mut self) -> Option<Response> {
        self.intents().into_iter().find_map(|intent| match intent {
            Intent::Respond { connection: CONNECTION, response } => Some(response),
            _ => None,
        })
    }

    pub(super) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut ChannelServer, &mut Context<'_>, &Peer<'_>) -> T,
    ) -> T {
        let now = Now { monotonic_ms: self.now_ms, unix_ms: self.now_ms };
        let is_draining = self.is_draining;
        let moment = Moment {
            now,
            shard: ShardId(1),
            shards: self.shards,
            is_draining,
            is_ready: !is_draining,
            is_joined: true,
        };
        let mut cx = Context::new(moment, &mut self.intents);
        let peer = Peer {
            connection: CONNECTION,
            address: None,
            is_secure: false,
            host: None,
            hops: &[],
            is_admin: self.is_admin,
            tag: self.tag,
            channel: self.channel.as_ref(),
            token: None,
            rulings: &self.rulings,
        };
        call(&mut self.server, &mut cx, &peer)
    }
}

pub(super) fn open_settings() -> Settings {
    Settings {
        policy: Policy { read_open: true, publish_open: true, ..Policy::default() },
        admin_is_local: true,
        clients_publish: true,
        diagnostics: true,
        demo: true,
        socketio: Some(SocketIoSettings::default()),
        config_json: "{}".into(),
        ..Settings::default()
    }
}

pub(super) fn name(text: &str) -> ChannelName {
    ChannelName::new(text, 255).expect("a valid name")
}

pub(super) fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

/// The body as text.
pub(super) fn body(response: &Response) -> &str {
    std::str::from_utf8(response.body.as_bytes()).expect("text")
}

/// The code of the error a response holds.
pub(super) fn code(response: &Response) -> String {
    let value: serde_json::Value = serde_json::from_slice(response.body.as_bytes()).expect("a JSON body");
    let sentence = value["error"]["message"].as_str().expect("a sentence");
    assert!(sentence.len() > 15, "{sentence:?} tells no cure");
    value["error"]["code"].as_str().expect("a code").to_owned()
}

fn with_request<T>(
    line: &str,
    fields: &[(&str, &str)],
    body: &[u8],
    call: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let (method, target) = line.split_once(' ').expect("method and target");
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => panic!("unknown method {other}"),
    };
    let mut head = Vec::new();
    let mut append = |text: &str| {
        let start = head.len() as u32;
        head.extend_from_slice(text.as_bytes());
        (start, head.len() as u32)
    };
    let spans: Vec<_> =
        fields.iter().map(|(name, value)| HeaderSpan { name: append(name), value: append(value) }).collect();
    call(&Request {
        method,
        target,
        version: Version::Http11,
        body,
        keep_alive: true,
        head: &head,
        fields: &spans,
        is_secure: false,
        via: None,
    })
}
