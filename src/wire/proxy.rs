//! The PROXY protocol, versions 1 and 2: what a proxy says of its client before the client's first byte
//! (haproxy.org/download/2.8/doc/proxy-protocol.txt). The crate `proxy-header` reads headers; this bounds them.
//!
//! Whose header is taken is not decided here.

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ParseConfig, ProxyHeader};
use serde::{Deserialize, Serialize};

/// Which versions are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// None: connections begin as their clients begin them.
    #[default]
    None,
    /// A line of text.
    V1,
    /// A binary header.
    V2,
    /// Either of them.
    Either,
}

/// What has arrived of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not all of it.
    NeedMore,
    /// All of it.
    Header {
        /// The client, unless the proxy connects for itself (to see whether the server is well), or cannot tell.
        client: Option<SocketAddr>,
        /// How many bytes it took.
        consumed: usize,
    },
}

/// These bytes begin no header that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHeader;

const LINE: &[u8] = b"PROXY ";
/// A line of version 1 with its end (§2.1).
const LINE_BYTES_MAX: usize = 107;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What stands before the addresses in version 2 (§2.2).
const FIXED_BYTES: usize = 16;

/// Reads the header at the beginning of `input`. One of version 2 may be `bytes_max` long; what it carries beside the
/// addresses is passed over.
pub fn decode(input: &[u8], taken: ProxyProtocol, bytes_max: usize) -> Result<Step, NoHeader> {
    let (takes_line, takes_binary) = match taken {
        ProxyProtocol::None => (false, false),
        ProxyProtocol::V1 => (true, false),
        ProxyProtocol::V2 => (false, true),
        ProxyProtocol::Either => (true, true),
    };
    let length = if takes_line && begins_as(input, LINE) {
        let line = &input[..input.len().min(LINE_BYTES_MAX)];
        let end = line.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2);
        end.or(if line.len() == LINE_BYTES_MAX { Some(usize::MAX) } else { None })
    } else if takes_binary && begins_as(input, SIGNATURE) {
        let rest = input.get(FIXED_BYTES - 2..FIXED_BYTES);
        rest.map(|rest| FIXED_BYTES + usize::from(u16::from_be_bytes([rest[0], rest[1]])))
    } else {
        return Err(NoHeader);
    };
    match length {
        Some(length) if length > bytes_max.max(LINE_BYTES_MAX) => Err(NoHeader),
        Some(length) if length <= input.len() => {
            let settings = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
            let (header, consumed) = ProxyHeader::parse(&input[..length], settings).map_err(|_| NoHeader)?;
            let client = header.proxied_address().map(|addresses| addresses.source);
            (consumed == length).then_some(Step::Header { client, consumed }).ok_or(NoHeader)
        }
        _ => Ok(Step::NeedMore),
    }
}

/// Whether the bytes, or as many as there are, are these.
fn begins_as(input: &[u8], wanted: &[u8]) -> bool {
    let length = input.len().min(wanted.len());
    input[..length] == wanted[..length]
}

/// The fuzz body: whatever the bytes, what is made of them does not depend on how they arrive, a header takes no more than there
/// is and than it may, and the client that it names is named again by a header that is made of it.
pub fn fuzz(data: &[u8]) {
    const BYTES_MAX: usize = 300;
    for taken in [ProxyProtocol::None, ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Either] {
        let whole = decode(data, taken, BYTES_MAX);
        let mut is_refused = false;
        for length in 0..data.len() {
            match (decode(&data[..length], taken, BYTES_MAX), whole) {
                (Ok(Step::NeedMore), Ok(Step::Header { consumed, .. })) => assert!(length < consumed),
                (Ok(Step::NeedMore), _) => assert!(!is_refused, "refused before {length} bytes"),
                (Ok(early), whole) => assert_eq!(Ok(early), whole),
                (Err(NoHeader), whole) => {
                    is_refused = true;
                    assert!(whole.is_err(), "refused with {length} bytes");
                }
            }
        }
        let Ok(Step::Header { client, consumed }) = whole else { continue };
        assert!(consumed <= data.len() && consumed <= BYTES_MAX);
        let Some(client) = client else { continue };
        let made = binary_of(client);
        assert_eq!(
            decode(&made, ProxyProtocol::V2, BYTES_MAX),
            Ok(Step::Header { client: Some(client), consumed: made.len() })
        );
    }
}

/// A header of version 2 that names a client, connected to itself.
fn binary_of(client: SocketAddr) -> Vec<u8> {
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let port = client.port().to_be_bytes();
    let addresses = [&ip[..], &ip, &port, &port].concat();
    [SIGNATURE, &[0x21, family, 0, addresses.len() as u8], &addresses].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_hold_their_properties_on_any_bytes(
            begin in prop_oneof![
                Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(&b"PROXY TCP6 "[..]),
                Just(SIGNATURE), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..]),
                Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..]),
            ],
            rest in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..400),
                "[0-9a-f.: ]{0,60}(\r\n)?.{0,9}".prop_map(String::into_bytes),
            ],
        ) {
            super::fuzz(&[begin, &rest].concat());
        }
    }

    const MAX: usize = 300;

    /// A header of version 2 with these addresses, and something beside them.
    fn binary(command: u8, family: u8, addresses: &[u8], beside: usize) -> Vec<u8> {
        let length = (addresses.len() + beside) as u16;
        let fixed = [SIGNATURE, &[0x20 | command, family], &length.to_be_bytes()].concat();
        [&fixed, addresses, &vec![0xEE; beside]].concat()
    }

    /// What a header says, with other bytes behind it, however it is split.
    #[track_caller]
    fn check(header: &[u8], taken: ProxyProtocol, expected: Result<Option<&str>, NoHeader>) {
        let whole = [header, b"GET / HTTP/1.1\r\n"].concat();
        let expected = expected.map(|client| Step::Header {
            client: client.map(|client| client.parse().expect("an address")),
            consumed: header.len(),
        });
        assert_eq!(decode(&whole, taken, MAX), expected, "{}", header.escape_ascii());
        for length in 0..header.len() {
            match decode(&whole[..length], taken, MAX) {
                Ok(Step::NeedMore) => {}
                early => assert!(early.is_err() && expected.is_err(), "after {length} bytes: {early:?}"),
            }
        }
    }

    #[test]
    fn a_header_of_either_version_names_the_client_however_it_is_split() {
        use ProxyProtocol::{Either, None, V1, V2};
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.9 4711 443\r\n";
        let v4 = [192, 0, 2, 1, 198, 51, 100, 9, 0x12, 0x67, 1, 0xBB];
        let v6: Vec<u8> = [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 1]].concat();
        let v6 = [&v6[..], &v6, &[0x12, 0x67, 1, 0xBB]].concat();
        for taken in [V1, Either] {
            check(line, taken, Ok(Some("192.0.2.1:4711")));
            check(b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", taken, Ok(Some("[2001:db8::1]:4711")));
            check(b"PROXY UNKNOWN\r\n", taken, Ok(Option::None));
            check(b"PROXY UNKNOWN what ever\r\n", taken, Ok(Option::None));
        }
        for taken in [V2, Either] {
            check(&binary(1, 0x11, &v4, 0), taken, Ok(Some("192.0.2.1:4711")));
            check(&binary(1, 0x11, &v4, MAX - 28), taken, Ok(Some("192.0.2.1:4711")));
            check(&binary(1, 0x21, &v6, 9), taken, Ok(Some("[2001:db8::1]:4711")));
            check(&binary(0, 0x11, &v4, 0), taken, Ok(Option::None));
            check(&binary(0, 0, &[], 0), taken, Ok(Option::None));
            check(&binary(1, 0x31, &[b'/'; 216], 0), taken, Ok(Option::None));
        }
        for taken in [None, V2] {
            check(line, taken, Err(NoHeader));
        }
        for taken in [None, V1] {
            check(&binary(1, 0x11, &v4, 0), taken, Err(NoHeader));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_shows() {
        use ProxyProtocol::Either;
        let refused =
            |bytes: &[u8]| assert_eq!(decode(bytes, Either, MAX), Err(NoHeader), "{}", bytes.escape_ascii());
        refused(b"G");
        refused(b"\x16\x03\x01");
        refused(b"PROXX");
        refused(b"PROXY TCP4 192.0.2.1 198.51.100.9 4711\r\n");
        refused(b"PROXY TCP4 192.0.2.256 198.51.100.9 4711 443\r\n");
        refused(b"PROXY TCP5 192.0.2.1 198.51.100.9 4711 443\r\n");
        refused(b"PROXY TCP4 ::1 ::1 4711 443\r\n");
        refused(b"PROXY TCP4 192.0.2.1 198.51.100.9 65536 443\r\n");
        refused(&[b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat());
        // One byte beyond what may come, and less than its addresses take.
        refused(&binary(1, 0x11, &[1; 12], MAX - 27)[..16]);
        refused(&binary(1, 0x11, &[1; 11], 0));
        refused(&binary(1, 0x31, &[1; 215], 0));
        refused(&binary(2, 0x11, &[1; 12], 0));
        refused(&binary(1, 0x51, &[1; 12], 0));
    }
}
