//! What proxies say of their client in header fields: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded` (RFC 7239).
//!
//! Each proxy adds what it knows at the right. So the lists are read from the right, and no further than to the first
//! address that is no proxy's of ours: what stands left of it, its sender may have made up.
//!
//! ```text
//!   X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.2        from 10.0.0.1
//!                    made up   the client   a proxy ◄──────  a proxy
//! ```
//!
//! Commas separate even within quotes: a quote that a client has left open takes in nothing that a proxy adds.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Request;
use crate::limits::FORWARDED_HOPS_MAX;

/// Which fields the proxies write. Whatever they do not write comes from the client as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedFields {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded`.
    Forwarded,
    /// Neither.
    None,
}

/// What the proxies of a request say of its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via<'a> {
    /// Its address, as far as that is known; the port is 0 unless it is told.
    pub client: Option<SocketAddr>,
    /// The proxies behind it, in the order in which the request passed them. The last one, which has the connection, is
    /// not among them.
    pub hops: SmallVec<[IpAddr; 2]>,
    /// The host that it asked.
    pub host: Option<&'a [u8]>,
    /// Whether it came over TLS.
    pub is_secure: Option<bool>,
}

/// The values of a field, in order.
type Values<'a> = SmallVec<[&'a [u8]; 2]>;

impl<'a> Via<'a> {
    /// Reads what a proxy that is trusted has passed on. `is_proxy` knows the others.
    pub fn of(request: &Request<'a>, fields: ForwardedFields, is_proxy: impl Fn(IpAddr) -> bool) -> Self {
        Self::of_fields(|name| request.headers(name).collect(), fields, is_proxy)
    }

    /// The same, from the values of each field that stands there.
    pub fn of_fields(
        values: impl Fn(&str) -> Values<'a>,
        fields: ForwardedFields,
        is_proxy: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let mut via = Self::default();
        let values = &values;
        match fields {
            ForwardedFields::None => {}
            ForwardedFields::XForwarded => {
                let mut place = 0;
                for node in items(values("x-forwarded-for")) {
                    match via.note(address(node), &is_proxy) {
                        true => place += 1,
                        false => break,
                    }
                }
                via.host = at(values("x-forwarded-host"), place).filter(|host| !host.is_empty());
                via.is_secure = at(values("x-forwarded-proto"), place).and_then(is_secure);
            }
            ForwardedFields::Forwarded => {
                for element in items(values("forwarded")) {
                    let said = |name| parameter(element, name);
                    let goes_on = via.note(said("for").and_then(address), &is_proxy);
                    (via.host, via.is_secure) = (said("host"), said("proto").and_then(is_secure));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        // Where all are proxies the client is one.
        if via.client.is_some_and(|client| via.hops.last() == Some(&client.ip())) {
            via.hops.pop();
        }
        via.hops.reverse();
        via
    }

    /// Takes the next address from the right; tells whether the one left of it is to be looked at.
    fn note(&mut self, node: Option<SocketAddr>, is_proxy: impl Fn(IpAddr) -> bool) -> bool {
        let Some(node) = node else { return false };
        self.client = Some(node);
        let goes_on = self.hops.len() < FORWARDED_HOPS_MAX && is_proxy(node.ip());
        if goes_on {
            self.hops.push(node.ip());
        }
        goes_on
    }
}

/// The items of a list that may stand in several fields, from the right.
fn items(values: Values<'_>) -> impl Iterator<Item = &[u8]> {
    values.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// The item at this place from the right; the leftmost of a shorter list, which a proxy has written that does not add.
fn at(values: Values<'_>, place: usize) -> Option<&[u8]> {
    items(values).take(place + 1).last()
}

/// An address as proxies write it: with a port or without, in brackets or not.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok();
    let found = bare.parse().map(|ip| SocketAddr::new(ip, 0)).ok().or_else(with_port)?;
    Some(SocketAddr::new(found.ip().to_canonical(), found.port()))
}

/// A parameter of an element of `Forwarded`, without its quotes.
fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a [u8]> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        (key.eq_ignore_ascii_case(name.as_bytes()) && !inner.is_empty()).then_some(inner)
    })
}

fn is_secure(scheme: &[u8]) -> Option<bool> {
    let is = |names: [&[u8]; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    match (is([b"https", b"wss"]), is([b"http", b"ws"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::Limits,
        wire::http1::{Decoder, HeadTable, Step},
    };

    /// What is understood of these fields: client, hops, host, whether it is secure. 10.*.*.* and fd00::1 are proxies.
    fn read(fields: ForwardedFields, lines: &str) -> (String, String, String, Option<bool>) {
        let (mut table, mut decoder) = (HeadTable::default(), Decoder::default());
        let head = format!("GET / HTTP/1.1\r\nHost: own\r\n{lines}\r\n");
        let step = decoder.decode(head.as_bytes(), &mut table, &Limits::default());
        let Ok(Step::Request { request, .. }) = step else { panic!("{head} is no request") };
        let is_proxy = |ip: IpAddr| ip.to_string().starts_with("10.") || ip.to_string() == "fd00::1";
        let via = Via::of(&request, fields, is_proxy);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let hops: Vec<_> = via.hops.iter().map(IpAddr::to_string).collect();
        let client = via.client.map(|client| client.to_string()).unwrap_or_default();
        (client, hops.join(" "), via.host.map(text).unwrap_or_default(), via.is_secure)
    }

    #[test]
    fn x_forwarded_fields_are_walked_from_the_right_to_the_first_stranger() {
        for (lines, client, hops) in [
            ("", "", ""),
            ("X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7:0", ""),
            ("x-forwarded-for: 6.6.6.6, 203.0.113.7\r\n", "203.0.113.7:0", ""),
            ("X-Forwarded-For: 6.6.6.6,203.0.113.7 , 10.0.0.2\r\n", "203.0.113.7:0", "10.0.0.2"),
            (
                "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.7, 10.0.0.3, 10.0.0.2\r\n",
                "203.0.113.7:0",
                "10.0.0.3 10.0.0.2",
            ),
            ("X-Forwarded-For: 10.0.0.9, 10.0.0.2\r\n", "10.0.0.9:0", "10.0.0.2"),
            ("X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7:4711", ""),
            ("X-Forwarded-For: [2001:db8::7]:4711, fd00::1\r\n", "[2001:db8::7]:4711", "fd00::1"),
            ("X-Forwarded-For: [2001:db8::7]\r\n", "[2001:db8::7]:0", ""),
            ("X-Forwarded-For: 6.6.6.6, ::ffff:10.0.0.2\r\n", "6.6.6.6:0", "10.0.0.2"),
            ("X-Forwarded-For: unknown\r\n", "", ""),
            ("X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n", "10.0.0.2:0", ""),
            ("X-Forwarded-For: 6.6.6.6, , 10.0.0.2\r\n", "10.0.0.2:0", ""),
            ("X-Forwarded-For: \r\n", "", ""),
            ("Forwarded: for=6.6.6.6\r\n", "", ""),
        ] {
            let found = read(ForwardedFields::XForwarded, lines);
            assert_eq!((&*found.0, &*found.1), (client, hops), "{lines}");
            assert_eq!(read(ForwardedFields::None, lines), Default::default());
        }
    }

    #[test]
    fn host_and_scheme_are_those_that_the_client_s_proxy_has_seen() {
        for (lines, host, is_secure) in [
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n", "a.example", Some(true)),
            (
                "X-Forwarded-For: 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Proto: http, HTTPS, http\r\n",
                "",
                Some(true),
            ),
            ("X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: evil, a.example\r\n", "a.example", None),
            ("X-Forwarded-For: 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Host: a.example\r\n", "a.example", None),
            ("X-Forwarded-Proto: wss\r\n", "", Some(true)),
            ("X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: \r\n", "", None),
        ] {
            let found = read(ForwardedFields::XForwarded, lines);
            assert_eq!((&*found.2, found.3), (host, is_secure), "{lines}");
        }
    }

    #[test]
    fn forwarded_is_walked_as_well_and_an_open_quote_takes_in_nothing() {
        for (lines, client, hops, host, is_secure) in [
            ("for=203.0.113.7;proto=https;host=a.example", "203.0.113.7:0", "", "a.example", Some(true)),
            (
                "for=6.6.6.6;host=evil, For=\"203.0.113.7:4711\";Host=\"a.example:81\"",
                "203.0.113.7:4711",
                "",
                "a.example:81",
                None,
            ),
            (
                "for=\"[2001:db8::7]:4711\" ; proto=http, for=10.0.0.2;by=_x",
                "[2001:db8::7]:4711",
                "10.0.0.2",
                "",
                Some(false),
            ),
            ("for=\"6.6.6.6, for=203.0.113.7", "203.0.113.7:0", "", "", None),
            ("for=6.6.6.6, for=_hidden", "", "", "", None),
            ("for=6.6.6.6, for=unknown, for=10.0.0.2", "10.0.0.2:0", "", "", None),
            ("proto=https", "", "", "", Some(true)),
            ("for;=;;==,=", "", "", "", None),
        ] {
            let found = read(ForwardedFields::Forwarded, &format!("Forwarded: {lines}\r\n"));
            let found = (&*found.0, &*found.1, &*found.2, found.3);
            assert_eq!(found, (client, hops, host, is_secure), "{lines}");
        }
        assert_eq!(read(ForwardedFields::Forwarded, "X-Forwarded-For: 6.6.6.6\r\n"), Default::default());
    }

    #[test]
    fn a_list_of_very_many_proxies_is_not_walked_to_its_end() {
        let list = vec!["10.0.0.1"; 100].join(",");
        let (client, hops, ..) = read(ForwardedFields::XForwarded, &format!("X-Forwarded-For: {list}\r\n"));
        assert_eq!((&*client, hops.split(' ').count()), ("10.0.0.1:0", FORWARDED_HOPS_MAX - 1));
    }
}
