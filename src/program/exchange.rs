//! The bytes of a shard's link: one program at a time, its requests in, what happens out.
//!
//! Invariant: no more is read of a program than is done within a turn.

use std::{io, rc::Rc, time::Duration};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future, io::split};
use glommio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use super::{
    frame::{self, FrameError, Kind, Step},
    greeting::{self, LinkError, OfShard},
    link::Link,
};
use crate::{
    app::socketio::{Awaiting, Order, Then},
    limits::PROGRAM_READ_BYTES,
};

/// Time after which a connection is tried to be taken again.
const AGAIN: Duration = Duration::from_millis(100);

/// Takes one program after the other.
pub(super) async fn serve(link: Rc<Link>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                if let Err(error) = converse(&link, stream).await {
                    warn!(shard = %link.io.shard(), "the link to the program ends: {error}");
                }
                link.end();
            }
            Err(error) => {
                warn!("no program can be linked: {error}");
                glommio::timer::sleep(AGAIN).await;
            }
        }
    }
}

/// Speaks with a program until it goes.
async fn converse(link: &Rc<Link>, stream: UnixStream) -> Result<(), LinkError> {
    let (mut reader, mut writer) = split(stream);
    let outcome = speak(link, &mut reader, &mut writer).await;
    if let Err(error) = &outcome {
        let mut refused = Vec::new();
        greeting::encode_refused(&mut refused, error);
        // It may be gone.
        drop(writer.write_all(&refused).await);
    }
    outcome
}

async fn speak(
    link: &Rc<Link>,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(), LinkError> {
    let mut input = Input::default();
    let protocol = loop {
        if let Step::Frame { frame, consumed } = frame::decode(input.arrived())? {
            let protocol = greeting::take_hello(&frame)?;
            input.consume(consumed);
            break protocol;
        }
        if !input.read_from(reader).await? {
            return Ok(());
        }
    };
    let (node, shard, shards) = (link.io.settings().node, link.io.shard().0, link.io.shards());
    link.protocol.set(protocol);
    let members = link.meets_members();
    let of = OfShard { node, shard, shards, members, recalled: link.begin() };
    let mut hello = Vec::new();
    greeting::encode_hello(&mut hello, protocol, Some(of));
    writer.write_all(&hello).await?;
    info!(shard = %link.io.shard(), "the program is linked");
    future::or(read(link, reader, input), write(link, writer)).await
}

/// Does what the program asks.
async fn read(
    link: &Rc<Link>,
    reader: &mut (impl AsyncRead + Unpin),
    mut input: Input,
) -> Result<(), LinkError> {
    loop {
        while let Step::Frame { mut frame, consumed } = frame::decode(input.arrived())? {
            // No other node's stand in frames.
            frame.head.socket.node = link.io.settings().node;
            let kind = frame.head.kind;
            link.handle(&frame)?;
            input.consume(consumed);
            if kind == Kind::Ready {
                // What it asks behind that is about those whom it is told of by then.
                link.until_live().await;
            }
        }
        input.compact();
        // What it has asked is done first, so that no more of it is held than it writes at once.
        let (give, done) = Awaiting::new();
        link.io.orders().push(Order::Then(Then(Box::new(move || give(())))));
        done.await;
        if !input.read_from(reader).await? {
            return match input.arrived() {
                [] => Ok(()),
                _ => Err(FrameError::Cut.into()),
            };
        }
    }
}

/// Tells the program what happens. That it hears no more does not end this: what it has said before it went is done first.
async fn write(link: &Rc<Link>, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), LinkError> {
    while write_some(link, writer).await.is_ok() {}
    future::pending().await
}

async fn write_some(link: &Rc<Link>, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut flight = link.outbox.take().await;
    while !flight.rest().is_empty() {
        match writer.write(flight.rest()).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => flight.advance(written),
        }
    }
    Ok(())
}

/// What has arrived and is not done.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    /// Where what is not done begins.
    at: usize,
}

impl Input {
    fn arrived(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.at);
        self.at = 0;
        if self.bytes.is_empty() {
            // A large frame need not be kept room for.
            self.bytes.shrink_to(2 * PROGRAM_READ_BYTES);
        }
    }

    /// Waits for more; `false` at the end.
    async fn read_from(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> Result<bool, LinkError> {
        let length = self.bytes.len();
        self.bytes.resize(length + PROGRAM_READ_BYTES, 0);
        let outcome = reader.read(&mut self.bytes[length..]).await;
        self.bytes.truncate(length + *outcome.as_ref().unwrap_or(&0));
        Ok(outcome? > 0)
    }
}
