//! Where the broker is: `redis://…`, `rediss://…` or `unix:/…`.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::{
    backend::Origin,
    wire::http1::{Authority, Host},
};

/// Where a broker is, and who asks there.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Where.
    pub(super) origin: Origin,
    /// Who asks; empty for `default`.
    pub(super) user: Box<str>,
    /// With which password; empty for none.
    pub(super) password: Box<str>,
}

/// Why a text is no address of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError;

/// Where Redis listens when nothing is said about that.
const PORT: u16 = 6379;

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AddressError);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let (who, path) = match path.strip_prefix("//") {
                Some(rest) => rest.rsplit_once('@').unwrap_or(("", rest)),
                None => ("", path),
            };
            let (user, password) = who_asks(who)?;
            return match path.starts_with('/') && path.len() > 1 {
                true => Ok(Self { origin: Origin::Unix(path.into()), user, password }),
                false => Err(AddressError),
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or(AddressError)?;
        let is_tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(AddressError),
        };
        let (who, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = who_asks(who)?;
        let authority = rest.strip_suffix("/0").or(rest.strip_suffix('/')).unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(AddressError);
        }
        let Authority { host, port } = Authority::parse(authority).ok_or(AddressError)?;
        let host = match host {
            Host::Name(name) => name.into(),
            Host::Address(address) => address.to_string().into(),
        };
        let port = port.unwrap_or(PORT);
        match port {
            0 => Err(AddressError),
            port => Ok(Self { origin: Origin::Tcp { host, port, is_tls }, user, password }),
        }
    }

    /// How somebody of this name says who asks: the first command of a connection.
    pub(super) fn hello<'a>(&'a self, name: &'a str) -> Vec<&'a [u8]> {
        let user = if self.user.is_empty() { "default" } else { &self.user };
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if !self.password.is_empty() {
            hello.extend([b"AUTH", user.as_bytes(), self.password.as_bytes()]);
        }
        hello.extend([b"SETNAME", name.as_bytes()]);
        hello
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.origin.is_tls()
    }

    /// Whether nobody on the way can read or change what is said there.
    pub fn is_safe(&self) -> bool {
        match &self.origin {
            Origin::Unix(_) | Origin::Tcp { is_tls: true, .. } => true,
            Origin::Tcp { host, .. } => {
                &**host == "localhost"
                    || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
            }
        }
    }
}

/// User and password before the `@`; without a colon it is the password alone that matters to nobody, and refused.
fn who_asks(text: &str) -> Result<(Box<str>, Box<str>), AddressError> {
    if text.is_empty() {
        return Ok(Default::default());
    }
    let (user, password) = text.split_once(':').ok_or(AddressError)?;
    let decode = |text| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(Box::from(text)),
        Err(_) => Err(AddressError),
    };
    match password {
        "" => Err(AddressError),
        password => Ok((decode(user)?, decode(password)?)),
    }
}

/// As people may see it, without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Tcp { host, port, is_tls } => {
                let (scheme, host) = (if *is_tls { "rediss" } else { "redis" }, Bracketed(host));
                write!(f, "{scheme}://{host}:{port}")
            }
            Origin::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host as it stands before a port.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]", self.0),
            false => f.write_str(self.0),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a broker's address is redis://HOST:PORT, rediss://HOST:PORT or unix:/SOCKET, with USER:PASSWORD@ before the \
             host where Redis asks for one, and without the number of a database; broker.prefix keeps what is ours apart",
        )
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_host_or_a_socket_and_who_asks() {
        let tcp = |host: &str, port, is_tls| Origin::Tcp { host: host.into(), port, is_tls };
        let unix = || Origin::Unix("/run/redis.sock".into());
        for (text, origin, user, password, shown) in [
            ("redis://localhost", tcp("localhost", 6379, false), "", "", "redis://localhost:6379"),
            ("redis://127.0.0.1:7000/0", tcp("127.0.0.1", 7000, false), "", "", "redis://127.0.0.1:7000"),
            ("rediss://r.example/", tcp("r.example", 6379, true), "", "", "rediss://r.example:6379"),
            ("redis://[::1]:1", tcp("::1", 1, false), "", "", "redis://[::1]:1"),
            ("redis://:s3cret@a", tcp("a", 6379, false), "", "s3cret", "redis://a:6379"),
            ("redis://anna:p%40s%3A@a:1", tcp("a", 1, false), "anna", "p@s:", "redis://a:1"),
            ("unix:/run/redis.sock", unix(), "", "", "unix:/run/redis.sock"),
            ("unix:///run/redis.sock", unix(), "", "", "unix:/run/redis.sock"),
            ("unix://anna:x@/run/redis.sock", unix(), "anna", "x", "unix:/run/redis.sock"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(
                (&address.origin, &*address.user, &*address.password),
                (&origin, user, password),
                "{text}"
            );
            assert_eq!((address.to_string(), format!("{address:?}")), (shown.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost:6379",
            "http://a",
            "redis://",
            "redis://a:0",
            "redis://a:x",
            "redis://a/1",
            "redis://a?db=1",
            "redis://user@a",
            "redis://user:@a",
            "redis://a b",
            "unix:",
            "unix:redis.sock",
            "unix:/",
        ] {
            assert_eq!(Address::parse(text), Err(AddressError), "{text}");
        }
    }

    #[test]
    fn what_is_said_on_this_machine_or_by_tls_is_safe() {
        let is_safe = |text: &str| Address::parse(text).expect("an address").is_safe();
        assert!(
            ["redis://127.0.0.1", "redis://localhost", "redis://[::1]", "unix:/a", "rediss://a"]
                .into_iter()
                .all(is_safe)
        );
        assert!(!is_safe("redis://a.example") && !is_safe("redis://10.0.0.1"));
    }
}
