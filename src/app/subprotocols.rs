//! Subprotocols of WebSockets (RFC 6455 §1.9): what a client offers, and which of them is chosen.
//!
//! A browser that offers some closes a connection for which none of them was chosen, and one that was not offered may not
//! be. A page cannot set header fields, so some offer what is no protocol but a token, as `bearer.TOKEN`: that is chosen
//! only where nothing else was offered, so that the page can connect at all.

use crate::wire::http1::Request;

/// What an offer begins with that carries a token.
pub const TOKEN_PREFIX: &str = "bearer.";

/// What the client offers, in its order of preference.
pub fn offered_protocols<'a>(request: &Request<'a>) -> Vec<&'a str> {
    // RFC 6455 §11.3.4: one field with a list, or several.
    let values = request.headers("sec-websocket-protocol");
    let names = values.filter_map(|value| std::str::from_utf8(value).ok()).flat_map(|value| value.split(','));
    names.map(str::trim).filter(|name| is_token(name)).collect()
}

/// The first of those offered that is spoken here, where `*` speaks all; of tokens alone the first.
pub fn choose_protocol<'a>(offered: &[&'a str], spoken: &[&str]) -> Option<&'a str> {
    let is_token = |name: &str| name.starts_with(TOKEN_PREFIX);
    let speaks = |name: &str| spoken.iter().any(|one| *one == "*" || *one == name);
    match offered.iter().all(|name| is_token(name)) {
        true => offered.first().copied(),
        false => offered.iter().copied().find(|name| !is_token(name) && speaks(name)),
    }
}

/// Whether a name is a token of HTTP (RFC 9110 §5.6.2), as a protocol's has to be.
fn is_token(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_s_first_that_is_spoken_is_chosen_and_a_token_only_by_itself() {
        let choose = choose_protocol;
        assert_eq!(choose(&["a", "b"], &["b", "a"]), Some("a"));
        assert_eq!(choose(&["x", "b"], &["b", "a"]), Some("b"));
        assert_eq!(choose(&["x"], &["b"]), None);
        assert_eq!(choose(&["x"], &["b", "*"]), Some("x"));
        assert_eq!(choose(&[], &["*"]), None);
        assert_eq!(choose(&["bearer.t", "b"], &["b"]), Some("b"));
        assert_eq!(choose(&["bearer.t", "b"], &["*"]), Some("b"));
        assert_eq!(choose(&["bearer.t", "x"], &["b"]), None);
        assert_eq!(choose(&["bearer.t", "bearer.u"], &["b"]), Some("bearer.t"));
    }

    #[test]
    fn names_are_tokens() {
        assert!(is_token("graphql-ws") && is_token("bearer.abc-_~") && is_token("a*"));
        assert!(!is_token("") && !is_token("a b") && !is_token("a/b") && !is_token("é"));
    }
}
