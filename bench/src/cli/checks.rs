//! Checks that arguments share: each refusal names the flag, the value and what is accepted.

use std::{fs, time::Duration};

use crate::{
    error::{Doing, Error, Result},
    protocol::subscriber::Transport,
    target::{Scheme, Target},
};

/// The transport asked for, if the URL can carry it, or the scheme's usual one.
pub fn transport(target: &Target, asked: Option<Transport>) -> Result<Transport> {
    let (usual, possible, sentence): (_, &[Transport], _) = match target.scheme {
        Scheme::Tcp => (Transport::Tcp, &[Transport::Tcp], "tcp for a tcp:// URL"),
        Scheme::WebSocket => (Transport::Ws, &[Transport::Ws], "ws for a ws:// URL"),
        Scheme::Http => (
            Transport::Sse,
            &[Transport::Sse, Transport::Poll, Transport::SocketIo, Transport::SocketIoPolling],
            "sse, poll, socketio or socketio-polling for an http:// URL",
        ),
    };
    match asked {
        None => Ok(usual),
        Some(asked) if possible.contains(&asked) => Ok(asked),
        Some(asked) => {
            Err(Error::Argument { flag: "--transport", value: name_of(asked), accepted: sentence.to_owned() })
        }
    }
}

/// What a transport is called on the command line.
pub fn name_of(transport: Transport) -> String {
    let value = clap::ValueEnum::to_possible_value(&transport).expect("no transport is skipped");
    value.get_name().to_owned()
}

pub fn scheme_refused(flag: &'static str, target: &Target, accepted: &str) -> Error {
    Error::Argument {
        flag,
        value: target.to_string(),
        accepted: format!("a URL that starts with {accepted}"),
    }
}

/// A message of so many bytes, made of this text, or of a file's where it begins with `@`, or of the usual.
pub fn content(asked: Option<&str>, usual: &str, bytes: usize) -> Result<String> {
    let text = match asked.map(|asked| asked.strip_prefix('@').ok_or(asked)) {
        None => usual.to_owned(),
        Some(Ok(path)) => fs::read_to_string(path).doing("read the file of --content")?,
        Some(Err(text)) => text.to_owned(),
    };
    if text.is_empty() {
        let accepted = "some text".to_owned();
        return Err(Error::Argument {
            flag: "--content",
            value: asked.unwrap_or_default().to_owned(),
            accepted,
        });
    }
    let mut message = String::with_capacity(bytes + text.len());
    while message.len() < bytes {
        message += &text;
    }
    // A character that would be cut is left out.
    let end = (0..=bytes).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    message.truncate(end);
    message += &"x".repeat(bytes - end);
    Ok(message)
}

/// Every run ends by itself: at most a day.
pub fn seconds(flag: &'static str, value: f64) -> Result<Duration> {
    if (0.0..=86_400.0).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(Error::Argument { flag, value: value.to_string(), accepted: "0 to 86400 seconds".to_owned() })
}

pub fn positive(flag: &'static str, value: f64) -> Result<f64> {
    if value > 0.0 && value <= 1e9 {
        return Ok(value);
    }
    Err(Error::Argument { flag, value: value.to_string(), accepted: "more than 0, at most 1e9".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag_refused<T>(result: Result<T>) -> Option<&'static str> {
        match result {
            Err(Error::Argument { flag, .. }) => Some(flag),
            _ => None,
        }
    }

    #[test]
    fn a_transport_must_suit_its_url() {
        let ask = |url: &str, asked| transport(&url.parse().unwrap(), asked);
        assert_eq!(ask("http://h/x", None).unwrap(), Transport::Sse);
        assert_eq!(ask("http://h/x", Some(Transport::Poll)).unwrap(), Transport::Poll);
        assert_eq!(ask("ws://h/x", None).unwrap(), Transport::Ws);
        assert_eq!(flag_refused(ask("ws://h/x", Some(Transport::Sse))), Some("--transport"));
    }

    #[test]
    fn content_is_repeated_and_cut_between_characters() {
        let text = |asked, bytes| content(asked, "ab", bytes).unwrap();
        assert_eq!((text(None, 5).as_str(), text(Some("xyz"), 2).as_str()), ("ababa", "xy"));
        assert_eq!(text(Some("aé"), 5), "aéax");
        assert_eq!(flag_refused(content(Some(""), "ab", 5)), Some("--content"));
    }

    #[test]
    fn times_and_rates_are_bounded() {
        assert_eq!(seconds("--hold", 86_400.0).unwrap(), Duration::from_secs(86_400));
        assert_eq!(flag_refused(seconds("--hold", 86_400.1)), Some("--hold"));
        assert_eq!(flag_refused(seconds("--hold", -0.1)), Some("--hold"));
        assert_eq!(flag_refused(seconds("--hold", f64::NAN)), Some("--hold"));
        assert_eq!(flag_refused(positive("--rate", 0.0)), Some("--rate"));
        assert_eq!(flag_refused(positive("--rate", f64::INFINITY)), Some("--rate"));
    }
}
