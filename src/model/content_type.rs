//! What a content type says of the bytes it names (RFC 9110 §8.3.1).

/// Whether they are text; `None` when it does not say.
pub fn says_text(content_type: &str) -> Option<bool> {
    let essence = essence(content_type);
    let (kind, subtype) = essence.split_once('/')?;
    let is_text = kind == "text"
        || says_json(content_type)
        || subtype.ends_with("+xml")
        || subtype.ends_with("+yaml")
        || (kind == "application" && TEXTS.contains(&subtype))
        || content_type.to_ascii_lowercase().contains("charset=");
    let is_binary = ["image", "audio", "video", "font", "model"].contains(&kind)
        || (kind == "application" && BINARIES.contains(&subtype));
    match (is_text, is_binary) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// Whether they are JSON.
pub fn says_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Types below `application` that are text.
const TEXTS: [&str; 9] =
    ["xml", "javascript", "ecmascript", "x-ndjson", "ndjson", "jsonl", "yaml", "toml", "graphql"];
/// Types below `application` that are not.
const BINARIES: [&str; 9] =
    ["octet-stream", "cbor", "msgpack", "x-msgpack", "protobuf", "x-protobuf", "pdf", "zip", "gzip"];

/// A content type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_text_or_binary_or_nothing() {
        for text in [
            "text/plain",
            "Text/HTML; charset=latin1",
            "application/json",
            "application/vnd.a+json ;x=1",
            "image/svg+xml",
            "application/x-ndjson",
            "application/sql; Charset=utf-8",
        ] {
            assert_eq!(says_text(text), Some(true), "{text}");
        }
        for binary in ["application/octet-stream", "image/png", "AUDIO/ogg", "application/cbor; x=1"] {
            assert_eq!(says_text(binary), Some(false), "{binary}");
        }
        for neither in ["", "x", "application/x-own", "chemical/x-pdb"] {
            assert_eq!(says_text(neither), None, "{neither}");
        }
        assert!(says_json("application/geo+JSON; a=b") && !says_json("text/json") && !says_json(""));
    }
}
