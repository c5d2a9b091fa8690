//! The opening handshake of a WebSocket (RFC 6455 §4.2), as far as it does not concern the application.

use crate::wire::{
    http1::{Method, Request, Response, Version},
    websocket,
};

/// Whether the request asks for a WebSocket at all.
pub fn is_upgrade(request: &Request<'_>) -> bool {
    request.header_lists("upgrade", "websocket")
}

/// Checks the handshake; gives the value of `Sec-WebSocket-Accept`, or the refusal.
pub fn check(request: &Request<'_>) -> Result<[u8; 28], Response> {
    if request.method != Method::Get || request.version != Version::Http11 {
        return Err(Response::refused(
            400,
            "handshake_invalid",
            "a WebSocket handshake is a GET in HTTP/1.1 (RFC 6455 section 4.1)",
        ));
    }
    if !request.header_lists("connection", "upgrade") {
        return Err(Response::refused(
            400,
            "handshake_invalid",
            "a WebSocket handshake needs `Connection: Upgrade`",
        ));
    }
    let mut versions = request.headers("sec-websocket-version");
    let version = versions.next();
    if versions.next().is_some() {
        return Err(Response::refused(
            400,
            "handshake_invalid",
            "Sec-WebSocket-Version must be sent once (RFC 6455 section 11.3.5)",
        ));
    }
    if version != Some(b"13") {
        return Err(Response::refused(426, "handshake_invalid", "only WebSocket version 13 is spoken here")
            .with_field("Sec-WebSocket-Version", "13")
            .with_field("Upgrade", "websocket"));
    }
    let mut keys = request.headers("sec-websocket-key");
    match (keys.next().and_then(websocket::accept_key), keys.next()) {
        (Some(accept), None) => Ok(accept),
        _ => Err(Response::refused(
            400,
            "handshake_invalid",
            "Sec-WebSocket-Key must be sent once and be 16 bytes in base64",
        )),
    }
}
