//! Which web pages may talk to the server, and the header fields that tell their browsers (Fetch Standard §3.3).
//!
//! Browsers let every page open WebSockets to, and post text to, every server they can reach, also one on the
//! visitor's own machine; they only tell the page's origin. So the rule is enforced here, not left to CORS: a request
//! from a page that is not allowed is refused, before anything is published or followed. Requests without `Origin`
//! do not come from a page's script and pass.
//!
//! Allowed is: an origin in `allowed_origins`; every origin, with `*`; the server's own; and, so that a developer's
//! page on another port works at once, a page served from this machine to a server addressed as this machine.

use std::fmt;

use super::{Method, Request};
use crate::wire::http1::Authority;

/// The rule, made once from the settings.
#[derive(Clone, Debug)]
pub struct Origins {
    allowed: Vec<String>,
    allow_any: bool,
    credentials: bool,
}

/// A request came from a page that may not talk to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginRefused;

/// An origin that is one (RFC 6454 §6.2): a scheme and an authority, and nothing behind it.
#[derive(Clone, Copy)]
struct Origin<'a> {
    scheme: &'a str,
    authority: Authority<'a>,
}

impl Origins {
    /// The rule for pages of these origins; with `credentials` they may send cookies, which browsers refuse to do
    /// where every page may talk (Fetch Standard §3.3.5).
    pub fn new(allowed: &[String], credentials: bool) -> Self {
        Self { allowed: allowed.to_vec(), allow_any: allowed.iter().any(|origin| origin == "*"), credentials }
    }

    /// The fields to add to whatever is answered, or a refusal for a page that is not allowed.
    pub fn check(&self, request: &Request<'_>) -> Result<String, OriginRefused> {
        self.fields(request.header("origin"), request.host())
    }

    /// As [`Self::check`], for what the fields `Origin` and `Host` say.
    pub fn fields(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> Result<String, OriginRefused> {
        if self.allow_any {
            return Ok(ANY_PAGE.into());
        }
        let Some(origin) = origin else { return Ok("Vary: Origin\r\n".into()) };
        let origin = std::str::from_utf8(origin).map_err(|_| OriginRefused)?;
        let host = host.and_then(|host| std::str::from_utf8(host).ok());
        let credentials = if self.credentials { "Access-Control-Allow-Credentials: true\r\n" } else { "" };
        match self.allows(origin, host) {
            true => {
                Ok(format!("Access-Control-Allow-Origin: {origin}\r\n{credentials}{EXPOSE}Vary: Origin\r\n"))
            }
            false => Err(OriginRefused),
        }
    }

    /// Whether a cookie may speak for who sends a request. A page that is let in as any page is may not use it, and what
    /// has no origin is no page's script; it may be a picture in a page of another site, for which it may only read, and
    /// which browsers tell of (Fetch Metadata).
    pub fn trusts_cookies(&self, request: &Request<'_>) -> bool {
        let host = request.host().and_then(|host| std::str::from_utf8(host).ok());
        match request.header("origin").map(std::str::from_utf8) {
            Some(Ok(origin)) => origin != "null" && self.allows(origin, host),
            Some(Err(_)) => false,
            None => {
                let is_reading = matches!(request.method, Method::Get | Method::Head);
                let site = request.header("sec-fetch-site");
                is_reading && matches!(site, None | Some(b"same-origin" | b"none"))
            }
        }
    }

    /// Whether an origin can be listed: whether a browser could ever send it, or one of those it stands for.
    pub fn is_origin(listed: &str) -> bool {
        let is_sendable = |origin: Origin<'_>| origin.authority.host.is_sendable_pattern();
        matches!(listed, "*" | "null") || Origin::parse(listed).is_some_and(is_sendable)
    }

    fn allows(&self, text: &str, host: Option<&str>) -> bool {
        // Pages without an origin of their own, such as files and frames in a sandbox, all say the same.
        if text == "null" {
            return self.allowed.iter().any(|allowed| allowed == "null");
        }
        let Some(origin) = Origin::parse(text) else { return false };
        if self
            .allowed
            .iter()
            .filter_map(|allowed| Origin::parse(allowed))
            .any(|allowed| origin.matches(allowed))
        {
            return true;
        }
        let Some(host) = host.and_then(Authority::parse) else { return false };
        // Behind a proxy that ends TLS the page's scheme is https and ours http; the authority tells enough.
        let is_own = origin.authority.host.is(&host.host) && origin.port() == host.port_of(origin.scheme);
        is_own || (origin.authority.host.is_loopback() && host.host.is_loopback())
    }
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(is_scheme_byte);
        let authority = Authority::parse(authority).filter(|_| is_scheme && !text.ends_with(':'))?;
        Some(Self { scheme, authority })
    }

    /// The port, also where the scheme says it.
    fn port(&self) -> Option<u16> {
        self.authority.port_of(self.scheme)
    }

    fn matches(&self, allowed: Origin<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(allowed.scheme)
            && self.port() == allowed.port()
            && self.authority.host.matches(&allowed.authority.host)
    }
}

/// Fields of ours that a page may read besides the few it always may.
const EXPOSE: &str = "Access-Control-Expose-Headers: ETag, Retry-After, WWW-Authenticate\r\n";

/// The fields of an answer that every page may read.
pub const ANY_PAGE: &str = "Access-Control-Allow-Origin: *\r\n\
                            Access-Control-Expose-Headers: ETag, Retry-After, WWW-Authenticate\r\n";

/// The fields that answer a preflight, besides those of [`Origins::check`]. A page that may talk to the server may
/// send it whatever fields it asks for, such as Socket.IO's `extraHeaders`.
pub fn preflight_fields(request: &Request<'_>, methods: &str) -> String {
    let asked =
        request.header("access-control-request-headers").and_then(|list| std::str::from_utf8(list).ok());
    let allowed =
        asked.unwrap_or("Authorization, Content-Type, Last-Event-ID, Cache-Control, If-Match, If-None-Match");
    // Private Network Access: a page from the public network asks before it talks to a machine near its visitor.
    let network = match request.header("access-control-request-private-network") {
        Some(b"true") => "Access-Control-Allow-Private-Network: true\r\n",
        _ => "",
    };
    format!(
        "Access-Control-Allow-Methods: {methods}\r\n\
         Access-Control-Allow-Headers: {allowed}\r\n\
         {network}\
         Access-Control-Max-Age: 7200\r\n"
    )
}

impl fmt::Display for OriginRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pages of this origin may not talk to this server; add it to cors.allowed_origins")
    }
}

impl std::error::Error for OriginRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages_listed_pages_and_pages_of_this_machine_are_allowed() {
        let origins = Origins::new(&["https://app.example".into()], false);
        let cases = [
            ("https://app.example", "api.example", true),
            ("https://APP.example", "api.example", true),
            ("http://app.example", "api.example", false),
            ("https://app.example.evil", "api.example", false),
            ("https://api.example", "api.example", true),
            ("http://api.example:8080", "api.example:8080", true),
            ("http://api.example:8081", "api.example:8080", false),
            ("http://localhost:3000", "127.0.0.1:8080", true),
            ("http://127.0.0.9", "[::1]:8080", true),
            ("http://localhost:3000", "api.example", false),
            ("http://evil.example", "localhost:8080", false),
            ("http://localhost.evil.example", "localhost:8080", false),
            ("http://127.0.0.1.evil.example", "127.0.0.1:8080", false),
            ("null", "localhost:8080", false),
            ("http://localhost:80@evil.example", "localhost:8080", false),
            ("http://localhost@evil.example", "127.0.0.1:8080", false),
            ("http://localhost:80/", "localhost:8080", false),
            ("http://localhost:x", "localhost:8080", false),
            ("http://", "localhost:8080", false),
            ("http://app.localhost:1", "localhost:8080", true),
            ("https://app.example:443", "api.example", true),
            ("https://app.example:444", "api.example", false),
            ("http://api.example", "api.example:80", true),
            ("http://api.example:80", "api.example", true),
            ("https://api.example", "api.example:443", true),
            ("https://api.example", "api.example:80", false),
        ];
        for (origin, host, allowed) in cases {
            assert_eq!(origins.allows(origin, Some(host)), allowed, "{origin} to {host}");
        }
        assert!(!origins.allows("https://api.example", None));
    }

    #[test]
    fn a_listed_origin_may_stand_for_names_below_for_none_and_must_be_sendable() {
        let listed = ["https://*.example.org".into(), "null".into(), "HTTP://a.example:80".into()];
        let origins = Origins::new(&listed, false);
        for (origin, may) in [
            ("https://a.example.org", true),
            ("https://a.b.EXAMPLE.org:443", true),
            ("https://example.org", false),
            ("http://a.example.org", false),
            ("https://a.example.org:8443", false),
            ("https://a.example.org@evil.example", false),
            ("null", true),
            ("http://a.example", true),
        ] {
            assert_eq!(origins.allows(origin, Some("api.example")), may, "{origin}");
        }
        for listed in [
            "*",
            "null",
            "https://a.example",
            "https://*.a.example:8443",
            "capacitor://localhost",
            "http://[::1]:1",
        ] {
            assert!(Origins::is_origin(listed), "{listed}");
        }
        for listed in [
            "",
            "a.example",
            "https://",
            "https://a.example/",
            "https://a.example/x",
            "https://u@a.example",
            "https://a.*",
            "https://*",
            "https://\u{e4}.example",
            "https://a.example:",
            "https://a.example:70000",
            "http://127.1",
            "https://a b",
            "://a",
        ] {
            assert!(!Origins::is_origin(listed), "{listed}");
        }
    }
}
