//! A bare HTTP answer: `epoll_wait`, `recv`, find the end of each head, `send` the same answer again.
//!
//! Nothing of a request is read but where its head ends and whether it asks for a WebSocket. The one answer is what
//! servers say to `GET /hello`; the other is `101` with the accept value of the one key this load generator sends
//! (RFC 6455 §1.3's example), after which the connection stays and is silent: the floor of a connection storm.

use std::{
    io,
    net::SocketAddr,
    os::fd::RawFd,
    time::{Duration, Instant},
};

use memchr::memmem;

use super::{Connections, Floor, epoll};

const HELLO: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nContent-Type: text/plain\r\n\r\nHello, world!\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Answers until `seconds` have passed.
pub fn run(listen: SocketAddr, seconds: u64) -> io::Result<()> {
    let mut floor = Floor::new(listen)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        floor.turn(answer)?;
    }
    Ok(())
}

/// A head counts when its end arrives. An end cut in two by the network would go unanswered: over loopback a request of
/// a hundred bytes arrives whole, and a floor holds nothing back.
fn answer(socket: RawFd, buffer: &mut [u8], connections: &mut Connections) {
    let answered = match epoll::receive(socket, buffer) {
        Ok(0) => false,
        Ok(count) => answer_all(&buffer[..count], |answer| {
            epoll::send(socket, answer).is_ok_and(|sent| sent == answer.len())
        }),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    if !answered {
        connections[socket as usize] = None;
    }
}

/// Sends one answer for each head that ends in `bytes`; tells whether all were taken.
fn answer_all(mut bytes: &[u8], mut send: impl FnMut(&'static [u8]) -> bool) -> bool {
    while let Some(end) = memmem::find(bytes, HEAD_END) {
        let wants_websocket = memmem::find(&bytes[..end], b"Upgrade: websocket").is_some();
        if !send(if wants_websocket { SWITCHING } else { HELLO }) {
            return false;
        }
        bytes = &bytes[end + HEAD_END.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{head, request, response::Responses};

    fn answers(bytes: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        assert!(answer_all(bytes, |answer| {
            sent.extend_from_slice(answer);
            true
        }));
        sent
    }

    #[test]
    fn every_head_is_answered_once_and_an_upgrade_by_101() {
        let target = "http://h/hello".parse().unwrap();
        let (get, upgrade) = (request::encode_get(&target), request::encode_upgrade(&target));
        let mut whole = 0;
        let two = answers(&[get.as_slice(), &get].concat());
        Responses::default().handle(&two, |answer| whole += usize::from(answer.status == 200)).unwrap();
        assert_eq!(whole, 2);
        assert_eq!(answers(&get[..get.len() - 1]), b"");
        assert_eq!(head::decode(&answers(&upgrade)).unwrap().unwrap().status, 101);
    }
}
