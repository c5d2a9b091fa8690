//! What clients add to their handshakes and requests, and say first.

use std::fs;

use clap::Args;

use crate::{
    error::{Doing, Error, Result},
    protocol::{
        deflate::{self, Offered},
        manners::{LINES_MAX, Line, Manners},
        subscriber::Transport,
    },
    target::Target,
};

/// What clients add.
#[derive(Args)]
pub struct MannersArgs {
    /// A header of every request and handshake, 'Name: value'; may be given several times. It replaces one of its name.
    /// ⟨n⟩ becomes the client's number.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// A WebSocket subprotocol to offer, or several with commas between.
    #[arg(long, value_name = "NAMES")]
    subprotocol: Option<String>,
    /// Offer permessage-deflate as browsers do, or with the parameters given here; what was agreed is kept to. Echoes and the
    /// messages of `mixed` are sent compressed then; first messages and publications are sent plain.
    #[arg(long, value_name = "PARAMETERS", num_args = 0..=1, require_equals = true,
          default_missing_value = deflate::USUAL_PARAMETERS)]
    compression: Option<String>,
    /// A message to send when the WebSocket stands, @FILE for a file's; may be given several times. ⟨n⟩ becomes the
    /// client's number; \n, \0, \x1e and \\ are what they are elsewhere.
    #[arg(long = "first-message", value_name = "TEXT")]
    first_messages: Vec<String>,
    /// A part of the message that answers the first message: the client counts as served when it has come. The second
    /// --ready is for the second --first-message, which waits for the first, and so on.
    #[arg(long = "ready", value_name = "TEXT", requires = "first_messages")]
    readies: Vec<String>,
}

impl MannersArgs {
    /// Checks them.
    pub fn manners(&self) -> Result<Manners> {
        let mut headers =
            self.headers.iter().map(|header| parse_header(header)).collect::<Result<Vec<_>>>()?;
        headers.extend(self.subprotocol.clone().map(|names| ("Sec-WebSocket-Protocol".to_owned(), names)));
        if self.first_messages.len() > LINES_MAX || self.readies.len() > self.first_messages.len() {
            return Err(Error::Argument {
                flag: "--ready",
                value: format!(
                    "× {} with --first-message × {}",
                    self.readies.len(),
                    self.first_messages.len()
                ),
                accepted: format!("at most one for each first message, of which there may be {LINES_MAX}"),
            });
        }
        let mut readies = self.readies.iter().map(|ready| unescape(ready));
        let line = |message: &String| {
            let say = match message.strip_prefix('@') {
                Some(path) => fs::read_to_string(path).doing("read the file of --first-message")?,
                None => unescape(message),
            };
            Ok(Line { say, hear: readies.next() })
        };
        let compression = match &self.compression {
            None => Offered::Nothing,
            Some(parameters) => {
                let offered = Offered::parse(parameters).ok_or_else(|| Error::Argument {
                    flag: "--compression",
                    value: parameters.clone(),
                    accepted:
                        "parameters of RFC 7692, such as 'server_no_context_takeover; client_max_window_bits'"
                            .to_owned(),
                })?;
                headers.push((OFFER.to_owned(), offer(parameters)));
                offered
            }
        };
        Ok(Manners {
            headers,
            compression,
            lines: self.first_messages.iter().map(line).collect::<Result<Vec<_>>>()?,
        })
    }

    /// Refuses compression where what is loaded is no WebSocket.
    pub fn refuse_compression_of(&self, url: &Target, transport: Transport) -> Result<()> {
        if self.compression.is_none() || transport == Transport::Ws {
            return Ok(());
        }
        Err(Error::Argument {
            flag: "--compression",
            value: url.to_string(),
            accepted: "a WebSocket, ws:// or wss://: other transports have no extensions".to_owned(),
        })
    }
}

/// The field in which extensions are offered.
pub const OFFER: &str = "Sec-WebSocket-Extensions";

fn offer(parameters: &str) -> String {
    if parameters.trim().is_empty() {
        return deflate::NAME.to_owned();
    }
    format!("{}; {parameters}", deflate::NAME)
}

fn parse_header(header: &str) -> Result<(String, String)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match header.split_once(':') {
        Some((name, value))
            if !name.is_empty() && name.bytes().all(is_token) && !value.contains(['\r', '\n', '\0']) =>
        {
            Ok((name.to_owned(), value.trim().to_owned()))
        }
        _ => Err(Error::Argument {
            flag: "--header",
            value: header.split(':').next().unwrap_or_default().to_owned(),
            accepted: "'Name: value' on one line".to_owned(),
        }),
    }
}

/// `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH`; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('\\') {
        plain += &rest[..at];
        rest = &rest[at + 1..];
        let hexadecimal = rest.strip_prefix('x').and_then(|digits| digits.get(..2));
        let code = hexadecimal.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii);
        let (character, length) = match (rest.as_bytes().first(), code) {
            (_, Some(code)) => (char::from(code), 3),
            (Some(b'n'), _) => ('\n', 1),
            (Some(b'r'), _) => ('\r', 1),
            (Some(b't'), _) => ('\t', 1),
            (Some(b'0'), _) => ('\0', 1),
            (Some(b'\\'), _) => ('\\', 1),
            _ => ('\\', 0),
        };
        plain.push(character);
        rest = &rest[length..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_what_they_are_elsewhere() {
        assert_eq!(unescape(r#"{"a":1}\x1e\n\0\\n\q\x"#), "{\"a\":1}\x1e\n\0\\n\\q\\x");
        assert_eq!(unescape("é\\"), "é\\");
    }

    #[test]
    fn a_header_is_a_name_and_a_value_on_one_line() {
        assert_eq!(parse_header("X-Key:  a: b ").unwrap(), ("X-Key".to_owned(), "a: b".to_owned()));
        for wrong in ["none", ": x", "a b: c", "a: b\r\nc: d"] {
            assert!(parse_header(wrong).is_err(), "{wrong:?}");
        }
    }
}
