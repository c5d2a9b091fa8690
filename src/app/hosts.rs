//! Under which names the server answers.
//!
//! A page can give its own name the address of any server its visitor can reach, also one on the visitor's machine
//! (DNS rebinding). For the browser both are then one origin, and nothing that looks at `Origin` helps; only `Host` still
//! tells under which name the server was found. So a listener that only this machine can reach answers to names of this
//! machine and to those it is told, and no others. One that everybody can reach has nothing to hide behind its address:
//! it answers to every name, unless it is told which.
//!
//! Requests over a Unix socket, and those of HTTP/1.0 without a host, come from no page.

use std::fmt;

use super::Request;
use crate::wire::http1::{Authority, Host};

/// The rule of one listener.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// `None` is every name.
    names: Option<Vec<String>>,
}

/// The rules of both kinds of listeners.
#[derive(Clone, Debug, Default)]
pub struct ListenerHosts {
    /// Under which names clients find the server.
    pub public: Hosts,
    /// Under which names operators do.
    pub admin: Hosts,
}

/// A request found the server under a name it does not answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRefused;

impl Hosts {
    /// Names of this machine, and these; with `is_local` only those, though none are given. `*` stands for every name,
    /// `*.example.org` for every name below one.
    pub fn new(allowed: &[String], is_local: bool) -> Self {
        let is_any = allowed.iter().any(|name| name == "*") || (allowed.is_empty() && !is_local);
        Self { names: (!is_any).then(|| allowed.to_vec()) }
    }

    /// Whether a request may be answered.
    #[inline]
    pub fn check(&self, request: &Request<'_>) -> Result<(), HostRefused> {
        let Some(names) = &self.names else { return Ok(()) };
        let Some(host) = request.host() else { return Ok(()) };
        let host = std::str::from_utf8(host).ok().and_then(Authority::parse).ok_or(HostRefused)?.host;
        match host.is_loopback() || names.iter().any(|name| is_named(&host, name)) {
            true => Ok(()),
            false => Err(HostRefused),
        }
    }

    /// Whether a name can be listed.
    pub fn is_name(name: &str) -> bool {
        let is_host =
            |authority: Authority<'_>| authority.port.is_none() && authority.host.is_sendable_pattern();
        name == "*" || (!name.ends_with(':') && Authority::parse(name).is_some_and(is_host))
    }
}

fn is_named(host: &Host<'_>, name: &str) -> bool {
    Authority::parse(name).is_some_and(|pattern| host.matches(&pattern.host))
}

impl fmt::Display for HostRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this server does not answer to the name in Host; add it to server.allowed_hosts")
    }
}

impl std::error::Error for HostRefused {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::wire::http1::{Decoder, HeadTable, Step};

    fn answers_to(hosts: &Hosts, field: &str) -> bool {
        let (mut decoder, mut table) = (Decoder::default(), HeadTable::default());
        let version = if field.is_empty() { "1.0" } else { "1.1" };
        let head = format!("GET / HTTP/{version}\r\n{field}\r\n");
        match decoder.decode(head.as_bytes(), &mut table, &Limits::default()) {
            Ok(Step::Request { request, .. }) => hosts.check(&request).is_ok(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn where_only_this_machine_listens_names_of_others_are_not_answered_to() {
        let local = Hosts::new(&[], true);
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "app.localhost:1"] {
            assert!(answers_to(&local, &format!("Host: {host}\r\n")), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8080", "localhost.evil.example", "192.0.2.1", "0.0.0.0:8080"]
        {
            assert!(!answers_to(&local, &format!("Host: {host}\r\n")), "{host}");
        }
        assert!(answers_to(&local, ""), "HTTP/1.0 needs none");
    }

    #[test]
    fn listed_names_are_answered_to_and_a_star_is_all_of_them() {
        let listed = Hosts::new(&["chat.example".into(), "*.example.org".into(), "10.0.0.1".into()], true);
        for (host, may) in [
            ("chat.example:443", true),
            ("CHAT.example", true),
            ("a.example.org", true),
            ("example.org", false),
            ("10.0.0.1:8080", true),
            ("10.0.0.2", false),
            ("localhost", true),
        ] {
            assert_eq!(answers_to(&listed, &format!("Host: {host}\r\n")), may, "{host}");
        }
        for hosts in [Hosts::new(&["*".into()], true), Hosts::new(&[], false)] {
            assert!(answers_to(&hosts, "Host: any.example\r\n"));
        }
        assert!(!answers_to(&Hosts::new(&["chat.example".into()], false), "Host: any.example\r\n"));
    }
}
