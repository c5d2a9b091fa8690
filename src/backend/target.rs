//! The address of a backend: `http://host:port/path`, `https://…`, or `unix:/socket:/path`.

use std::{fmt, path::PathBuf};

use crate::wire::http1::{Authority, Host};

/// Where to call, and what to ask for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub(super) origin: Origin,
    /// What `Host` says.
    pub(super) host: Box<str>,
    /// The path and the query.
    pub(super) path: Box<str>,
}

/// Who answers; connections to the same are shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A host, which may be a name.
    Tcp { host: Box<str>, port: u16, is_tls: bool },
    /// A socket's file.
    Unix(PathBuf),
}

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetError;

impl Target {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !text.bytes().all(is_plain) {
            return Err(TargetError);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let (file, path) = match rest.find(":/") {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, "/"),
            };
            return match file.starts_with('/') {
                true => Ok(Self {
                    origin: Origin::Unix(file.into()),
                    host: "localhost".into(),
                    path: path.into(),
                }),
                false => Err(TargetError),
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError)?;
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(TargetError),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let parsed = Authority::parse(authority).ok_or(TargetError)?;
        let port = parsed.port_of(scheme).filter(|port| *port > 0).ok_or(TargetError)?;
        let host = match parsed.host {
            Host::Name(name) => name.into(),
            Host::Address(address) => address.to_string().into(),
        };
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}").into() };
        Ok(Self { origin: Origin::Tcp { host, port, is_tls }, host: authority.into(), path })
    }
}

impl Origin {
    /// Whether it speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { is_tls: true, .. })
    }
}

impl Target {
    /// Who answers there.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether only that is said, and no path.
    pub(crate) fn is_origin(&self) -> bool {
        *self.path == *"/"
    }

    /// Whether nobody on the way can change what is said there.
    pub fn is_safe(&self) -> bool {
        match &self.origin {
            Origin::Unix(_) | Origin::Tcp { is_tls: true, .. } => true,
            Origin::Tcp { is_tls: false, .. } => {
                Authority::parse(&self.host).is_some_and(|authority| authority.host.is_loopback())
            }
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a backend's address is http://HOST:PORT/PATH, https://HOST/PATH or unix:/SOCKET:/PATH, without user and \
             fragment",
        )
    }
}

impl std::error::Error for TargetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_host_or_a_socket_and_a_path() {
        let tcp = |host: &str, port, is_tls| Origin::Tcp { host: host.into(), port, is_tls };
        for (text, origin, host, path) in [
            ("http://localhost:3000/a?b=c", tcp("localhost", 3000, false), "localhost:3000", "/a?b=c"),
            ("https://app.example.org", tcp("app.example.org", 443, true), "app.example.org", "/"),
            ("http://[::1]:81?x", tcp("::1", 81, false), "[::1]:81", "/?x"),
            ("http://127.0.0.1/", tcp("127.0.0.1", 80, false), "127.0.0.1", "/"),
            ("unix:/run/app.sock", Origin::Unix("/run/app.sock".into()), "localhost", "/"),
            ("unix:/run/app.sock:/hooks", Origin::Unix("/run/app.sock".into()), "localhost", "/hooks"),
        ] {
            let expected = Target { origin, host: host.into(), path: path.into() };
            assert_eq!(Target::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_said_on_this_machine_or_by_tls_is_safe() {
        let is_safe = |text: &str| Target::parse(text).expect("an address").is_safe();
        assert!(
            ["http://127.0.0.1:1/", "http://localhost/", "unix:/a", "https://a.example/"]
                .into_iter()
                .all(is_safe)
        );
        assert!(!is_safe("http://a.example/") && !is_safe("http://localhost.a.example/"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost:3000",
            "ftp://a/",
            "http://",
            "http:///a",
            "http://user@a/",
            "http://a:0/",
            "http://a:x/",
            "http://a/b c",
            "http://a/\r\nX: y",
            "http://a/#b",
            "http://ä/",
            "unix:",
            "unix:run/app.sock",
        ] {
            assert_eq!(Target::parse(text), Err(TargetError), "{text}");
        }
    }
}
