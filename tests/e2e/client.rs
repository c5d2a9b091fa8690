//! A blocking HTTP/1.1 client that sends exactly the bytes it is told to.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{certificate, server::SOON};

/// A connection that speaks TLS.
pub type Sealed = StreamOwned<ClientConnection, TcpStream>;

/// A connection.
pub struct Client {
    line: Line,
    /// Received and not yet looked at.
    pub received: Vec<u8>,
}

/// What a connection runs over.
enum Line {
    Tcp(TcpStream),
    Tls(Box<Sealed>),
    Unix(UnixStream),
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// Torn down.
    Reset,
}

impl Client {
    /// Connects over TCP.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, SOON).expect("the server accepts connections");
        Self::over(stream)
    }

    /// Connects with a socket whose kernel takes as little as it may.
    #[track_caller]
    pub fn narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("TCP has this option");
        socket.connect_timeout(&address.into(), SOON).expect("the server accepts connections");
        Self::over(socket.into())
    }

    /// Speaks over a socket made elsewhere; with TLS, if its server does.
    pub fn over(stream: TcpStream) -> Self {
        let speaks_tls = stream.peer_addr().is_ok_and(certificate::speaks_tls);
        let client = Self::plainly_over(stream);
        match client.line {
            Line::Tcp(stream) if speaks_tls => Self::sealed_over(stream, &certificate::client()),
            line => Self { line, ..client },
        }
    }

    /// Speaks over a socket without TLS, whatever its server does.
    pub fn plainly_over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        stream.set_write_timeout(Some(SOON)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("TCP has this option");
        Self { line: Line::Tcp(stream), received: Vec::new() }
    }

    /// Speaks TLS over a socket.
    pub fn sealed_over(stream: TcpStream, config: &Arc<ClientConfig>) -> Self {
        let name = "localhost".try_into().expect("a name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        let mut sealed = Box::new(Sealed::new(connection, stream));
        // A server that turns clients away may not even shake hands.
        while sealed.conn.is_handshaking() && sealed.conn.complete_io(&mut sealed.sock).is_ok() {}
        Self { line: Line::Tls(sealed), received: Vec::new() }
    }

    /// TLS, if it is spoken.
    pub fn sealed(&mut self) -> Option<&mut Sealed> {
        match &mut self.line {
            Line::Tls(sealed) => Some(sealed),
            Line::Tcp(_) | Line::Unix(_) => None,
        }
    }

    /// Connects over a Unix socket.
    #[track_caller]
    pub fn connect_unix(path: &str) -> Self {
        let stream = UnixStream::connect(path).expect("the server accepts connections");
        stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        Self { line: Line::Unix(stream), received: Vec::new() }
    }

    /// The socket, to be treated badly.
    pub fn tcp(&self) -> &TcpStream {
        match &self.line {
            Line::Tcp(stream) => stream,
            Line::Tls(sealed) => &sealed.sock,
            Line::Unix(_) => panic!("this connection is a Unix socket"),
        }
    }

    /// Reads a little now and then until so much has come; whether it did before the connection ended.
    pub fn sip(&mut self, bytes: usize) -> bool {
        let mut piece = [0; 16 * 1024];
        let mut taken = 0;
        while taken < bytes {
            match self.tcp().read(&mut piece) {
                Ok(count @ 1..) => taken += count,
                Ok(0) | Err(_) => return false,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Sends as many of the bytes as the socket takes at once.
    pub fn try_send_some(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.line {
            Line::Tcp(stream) => stream.write(bytes),
            Line::Tls(sealed) => sealed.write(bytes),
            Line::Unix(stream) => stream.write(bytes),
        }
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes bytes");
    }

    /// Sends bytes to a server that may have gone.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        match &mut self.line {
            Line::Tcp(stream) => stream.write_all(bytes.as_ref()),
            Line::Tls(sealed) => sealed.write_all(bytes.as_ref()).and_then(|()| sealed.flush()),
            Line::Unix(stream) => stream.write_all(bytes.as_ref()),
        }
    }

    /// Sends bytes from another thread, while answers are read on this one.
    #[track_caller]
    pub fn send_beside(&mut self, bytes: impl AsRef<[u8]>) -> JoinHandle<()> {
        let mut bytes = bytes.as_ref().to_vec();
        if let Line::Tls(sealed) = &mut self.line {
            let mut records = Vec::new();
            sealed.conn.set_buffer_limit(None);
            sealed.conn.writer().write_all(&bytes).expect("a client buffers");
            while sealed.conn.wants_write() {
                sealed.conn.write_tls(&mut records).expect("a vector takes everything");
            }
            bytes = records;
        }
        let mut writer = self.tcp().try_clone().expect("sockets can be shared");
        std::thread::spawn(move || writer.write_all(&bytes).expect("the server reads on"))
    }

    /// Sends a request without waiting for its answer. `fields` are lines, each with its line end.
    #[track_caller]
    pub fn ask(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) {
        let length = match (method, body) {
            ("GET" | "HEAD" | "OPTIONS", []) => String::new(),
            (_, body) => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n");
        self.send([head.as_bytes(), body].concat());
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        self.ask(method, target, fields, body);
        match method {
            "HEAD" => self.response_head(),
            _ => self.response(),
        }
    }

    /// Publishes; the offset.
    #[track_caller]
    pub fn publish(&mut self, channel: &str, data: impl AsRef<[u8]>) -> u64 {
        let response = self.request("POST", &format!("/channels/{channel}"), "", data.as_ref());
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["offset"].as_u64().expect("an offset")
    }

    /// Reads an answer, whole.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        let mut response = self.response_head();
        let length = response.field("content-length").map_or(0, |text| text.parse().expect("a length"));
        response.body = self.take(length);
        response
    }

    /// Reads the head of an answer.
    #[track_caller]
    pub fn response_head(&mut self) -> Response {
        let end = self.receive_until(|received| find(received, b"\r\n\r\n").map(|at| at + 4));
        let head = String::from_utf8(self.received.drain(..end).collect()).expect("a head is ASCII");
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
        Response { status, head, body: Vec::new() }
    }

    /// Reads so many bytes.
    #[track_caller]
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        self.receive_until(|received| (received.len() >= length).then_some(length));
        self.received.drain(..length).collect()
    }

    /// Receives until `done` says where what is wanted ends.
    #[track_caller]
    fn receive_until(&mut self, done: impl Fn(&[u8]) -> Option<usize>) -> usize {
        loop {
            if let Some(end) = done(&self.received) {
                return end;
            }
            let count = self.receive().unwrap_or_else(|error| panic!("{error}: {}", self.shown()));
            assert_ne!(count, 0, "the server closed the connection early: {}", self.shown());
        }
    }

    /// Receives what there is; 0 at the end.
    pub fn receive(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 65536];
        let count = loop {
            let read = match &mut self.line {
                Line::Tcp(stream) => stream.read(&mut buffer),
                Line::Tls(sealed) => sealed.read(&mut buffer),
                Line::Unix(stream) => stream.read(&mut buffer),
            };
            match read {
                // With a timeout set, the kernel does not begin again by itself (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The server has ended without the last word of TLS.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break 0,
                read => break read?,
            }
        };
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Receives until the connection ends, and tells how it did.
    #[track_caller]
    pub fn receive_to_end(&mut self) -> End {
        loop {
            match self.receive() {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return End::Reset,
                Err(error) => panic!("{error}: {}", self.shown()),
            }
        }
    }

    /// Checks that the server closes the connection without another word.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let end = self.receive_to_end();
        assert!(end == End::Closed && self.received.is_empty(), "{end:?} after {}", self.shown());
    }

    /// Ends the sending direction.
    pub fn end_sending(&self) {
        self.tcp().shutdown(Shutdown::Write).expect("the socket is connected");
    }

    /// Tears the connection down, so that the server sees a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.tcp());
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("TCP has this option");
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.received).chars().take(2000).collect()
    }
}

impl Response {
    /// The value of a field; its name in small letters.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let refuse = |error| panic!("{error}: {}{}", self.head, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(refuse)
    }

    /// The code of the error in the body.
    #[track_caller]
    pub fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("an error has a code").to_owned()
    }
}

/// Where `needle` first stands.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Each of them is answered once.
#[track_caller]
pub fn greet_all<'a>(clients: impl IntoIterator<Item = &'a mut Client>) {
    clients.into_iter().for_each(|client| assert_eq!(client.request("GET", "/hello", "", b"").status, 200));
}
