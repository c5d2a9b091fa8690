//! The relay that a waking shard is measured against.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::floor::Floor;

/// A connection that the program has accepted: it relays to it.
fn accepted(floor: &Floor, by: Option<&mut TcpStream>) -> TcpStream {
    let mut made = TcpStream::connect(&floor.address).expect("connect");
    if let Some(other) = by {
        made.write_all(b"!").expect("send");
        other.read_exact(&mut [0]).expect("relayed");
    }
    made
}

#[test]
fn a_relay_passes_on_to_everybody_else_also_over_its_second_thread() {
    for more in [&[][..], &["--handed"]] {
        let floor = Floor::start(&[&["relay"], more].concat());
        let mut first = accepted(&floor, None);
        let mut second = accepted(&floor, Some(&mut first));
        for text in ["to the other", "and once more"] {
            first.write_all(text.as_bytes()).expect("send");
            let mut heard = vec![0; text.len()];
            second.read_exact(&mut heard).expect("relayed");
            assert_eq!(heard, text.as_bytes(), "{more:?}");
        }
    }
}
