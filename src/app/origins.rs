//! Which web pages may talk to the server, and the header fields that tell their browsers (Fetch Standard §3.3).
//!
//! Browsers let every page open WebSockets to, and post text to, every server they can reach, also one on the
//! visitor's own machine; they only tell the page's origin. So the rule is enforced here, not left to CORS: a request
//! from a page that is not allowed is refused, before anything is published or followed. Requests without `Origin`
//! do not come from a page's script and pass.
//!
//! Allowed is: an origin in `allowed_origins`; every origin, with `*`; the server's own; and, so that a developer's
//! page on another port works at once, a page served from this machine to a server addressed as this machine.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::Request;

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

impl Origins {
    /// The rule for pages of these origins; with `credentials` they may send cookies, which browsers refuse to do
    /// where every page may talk (Fetch Standard §3.3.5).
    pub fn new(allowed: &[String], credentials: bool) -> Self {
        Self { allowed: allowed.to_vec(), allow_any: allowed.iter().any(|origin| origin == "*"), credentials }
    }

    /// The fields to add to whatever is answered, or a refusal for a page that is not allowed.
    pub fn check(&self, request: &Request<'_>) -> Result<String, OriginRefused> {
        if self.allow_any {
            return Ok(format!("Access-Control-Allow-Origin: *\r\n{EXPOSE}"));
        }
        let Some(origin) = request.header("origin") else { return Ok("Vary: Origin\r\n".into()) };
        let origin = std::str::from_utf8(origin).map_err(|_| OriginRefused)?;
        let host = request.header("host").and_then(|host| std::str::from_utf8(host).ok());
        let credentials = if self.credentials { "Access-Control-Allow-Credentials: true\r\n" } else { "" };
        match self.allows(origin, host) {
            true => {
                Ok(format!("Access-Control-Allow-Origin: {origin}\r\n{credentials}{EXPOSE}Vary: Origin\r\n"))
            }
            false => Err(OriginRefused),
        }
    }

    fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        if self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        // Behind a proxy that ends TLS the page's scheme is https and ours http; the authority tells enough.
        let (Some((_, authority)), Some(host)) = (origin.split_once("://"), host) else { return false };
        authority.eq_ignore_ascii_case(host) || (is_this_machine(authority) && is_this_machine(host))
    }
}

/// Fields of ours that a page may read besides the few it always may.
const EXPOSE: &str = "Access-Control-Expose-Headers: Retry-After, WWW-Authenticate\r\n";

/// The fields that answer a preflight, besides those of [`Origins::check`]. A page that may talk to the server may
/// send it whatever fields it asks for, such as Socket.IO's `extraHeaders`.
pub fn preflight_fields(request: &Request<'_>, methods: &str) -> String {
    let asked =
        request.header("access-control-request-headers").and_then(|list| std::str::from_utf8(list).ok());
    let allowed = asked.unwrap_or("Authorization, Content-Type, Last-Event-ID, Cache-Control");
    format!(
        "Access-Control-Allow-Methods: {methods}\r\n\
         Access-Control-Allow-Headers: {allowed}\r\n\
         Access-Control-Max-Age: 7200\r\n"
    )
}

/// Whether `host` or `host:port` names the machine it is resolved on, whatever its resolver says.
fn is_this_machine(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let address = rest.split(']').next().and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.is_some_and(|address| address.is_loopback());
    }
    let host = authority.split(':').next().unwrap_or(authority);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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
        ];
        for (origin, host, allowed) in cases {
            assert_eq!(origins.allows(origin, Some(host)), allowed, "{origin} to {host}");
        }
        assert!(!origins.allows("https://api.example", None));
    }
}
