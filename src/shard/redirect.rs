//! A listener without TLS that serves nothing: it sends clients to one with TLS, and answers whoever proves to a
//! certificate authority that the name is this machine's (RFC 8555 §8.3).

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    limits::ACME_CHALLENGE_BYTES_MAX,
    wire::http1::{Method, Request, Response},
};

/// Where clients are sent.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    /// The port on which TLS is spoken.
    pub port: u16,
    /// The folder of the answers to an authority's questions.
    pub challenges: Option<PathBuf>,
}

const HTTPS_PORT: u16 = 443;
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

impl Redirect {
    /// The answer to a request.
    pub(super) fn answer(&self, request: &Request<'_>) -> Response {
        let is_read = matches!(request.method, Method::Get | Method::Head);
        if let (true, Some(folder), Some(token)) =
            (is_read, &self.challenges, request.target.strip_prefix(CHALLENGE_PATH))
        {
            return challenge(folder, token);
        }
        if request.is_secure {
            let text =
                "this request came over TLS already: let the proxy pass it to an address that serves\n";
            return Response::text(400, text);
        }
        let host = request.host().and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default();
        let name = without_port(host);
        if name.is_empty() || !request.target.starts_with('/') {
            return Response::text(
                400,
                "this address speaks no TLS and serves nothing: write https://, and a Host\n",
            );
        }
        let port = match self.port {
            HTTPS_PORT => String::new(),
            port => format!(":{port}"),
        };
        let location = format!("https://{name}{port}{}", request.target);
        Response::text(308, format!("{location}\n")).with_field("Location", &location)
    }
}

/// A host as `Host` names it, without the port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// The answer to one question. Its token has the letters of base64url alone, so it names a file of this folder and no
/// other.
fn challenge(folder: &Path, token: &str) -> Response {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_letter) {
        return Response::text(404, "there is no such challenge\n");
    }
    match read(&folder.join(token)) {
        Ok(text) => Response { content_type: "application/octet-stream".into(), ..Response::text(200, text) },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Response::text(404, "there is no such challenge\n")
        }
        Err(error) => {
            tracing::warn!("the challenge {token} cannot be read: {error}");
            Response::text(500, "the challenge cannot be read\n")
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(ACME_CHALLENGE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_and_keeps_its_brackets() {
        for (host, name) in
            [("a.org", "a.org"), ("a.org:80", "a.org"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]")]
        {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn a_challenge_is_a_file_of_its_folder_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("roadstead-acme-{}", std::process::id()));
        fs::create_dir_all(folder.join("below")).expect("made");
        fs::write(folder.join("to-ken_1"), "to-ken_1.thumbprint").expect("written");
        assert_eq!(challenge(&folder, "to-ken_1").body.as_bytes(), b"to-ken_1.thumbprint");
        for token in ["", "none", "../to-ken_1", "below/x", "%2e%2e", "to-ken_1?x", ".."] {
            assert_eq!(challenge(&folder, token).status, 404, "{token}");
        }
        assert_eq!(challenge(&folder, "below").status, 500);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
