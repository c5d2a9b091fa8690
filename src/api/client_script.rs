//! The official Socket.IO client, served as the files npm installs. The repository holds no copy of it: it is read
//! once, at start, from where the operator says or from an npm installation found beside the server.
//!
//! Not here: which path names a file (`route.rs`), and the pages that load one (`demo.rs`).

use std::{
    env, fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha1::{Digest, Sha1};

use super::Refusal;
use crate::{
    app::{Body, Request, Response},
    limits::CLIENT_SCRIPT_BYTES_MAX,
};

/// The client's files. Copies share their bytes, which live as long as the program.
#[derive(Clone, Debug, Default)]
pub struct ClientScript {
    files: Vec<File>,
}

/// Why a configured file cannot be served.
#[derive(Debug)]
pub enum ClientScriptError {
    /// It could not be read.
    Unreadable(PathBuf, io::Error),
    /// It is larger than [`CLIENT_SCRIPT_BYTES_MAX`].
    TooLarge(PathBuf),
}

#[derive(Clone, Debug)]
struct File {
    name: &'static str,
    plain: Content,
    /// What a file of the same name ending in `.gz` holds.
    gzip: Option<Content>,
}

#[derive(Clone, Debug)]
struct Content {
    bytes: &'static [u8],
    /// With its quotes.
    entity_tag: String,
}

/// The file without which there is no client.
const MAIN: &str = "socket.io.js";
/// What is served if it lies beside [`MAIN`]. The bundle with another parser is not among them: its packets are not
/// spoken here.
const BESIDE: [&str; 5] = [
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
];
/// Where npm puts the client, by itself or with its server.
const INSTALLED: [&str; 2] = ["node_modules/socket.io-client/dist", "node_modules/socket.io/client-dist"];

impl ClientScript {
    /// Reads the configured file and what lies beside it; without one, looks for an npm installation in the working
    /// directory, its parents, and beside the program.
    pub fn load(configured: &str) -> Result<Self, ClientScriptError> {
        if configured.is_empty() {
            return Ok(Self::find(&starting_points()));
        }
        let path = Path::new(configured);
        let plain = read(path)?;
        let main = File { name: MAIN, plain, gzip: gzip_of(path) };
        Ok(Self::with_beside(main, path.parent().unwrap_or(Path::new("."))))
    }

    /// The first installation below any of these folders.
    fn find(folders: &[PathBuf]) -> Self {
        let installed = folders.iter().flat_map(|folder| INSTALLED.map(|below| folder.join(below)));
        let mut found = installed.filter_map(|folder| Some((File::read(&folder, MAIN)?, folder)));
        found.next().map_or_else(Self::default, |(main, folder)| {
            tracing::info!(folder = %folder.display(), "the Socket.IO client is served from an npm installation");
            Self::with_beside(main, &folder)
        })
    }

    fn with_beside(main: File, folder: &Path) -> Self {
        let beside = BESIDE.into_iter().filter_map(|name| File::read(folder, name));
        Self { files: [main].into_iter().chain(beside).collect() }
    }

    /// Whether a file of this name is the client's, served or not.
    pub(super) fn knows(name: &str) -> bool {
        name == MAIN || BESIDE.contains(&name)
    }

    /// `GET /socket.io/{name}`
    pub(super) fn answer(&self, request: &Request<'_>, name: &str) -> Result<Response, Refusal> {
        let file = self.files.iter().find(|file| file.name == name).ok_or(Refusal::ClientScriptMissing)?;
        let wants_gzip = request.header_lists("accept-encoding", "gzip");
        let gzip = file.gzip.as_ref().filter(|_| wants_gzip);
        let content = gzip.unwrap_or(&file.plain);
        let is_known = names_tag(request, &content.entity_tag);
        let mut response = Response::empty(if is_known { 304 } else { 200 })
            .with_field("ETag", &content.entity_tag)
            .with_field("Cache-Control", "no-cache")
            .with_field("Vary", "Accept-Encoding");
        if is_known {
            return Ok(response);
        }
        response = response.with_field("X-Content-Type-Options", "nosniff");
        if gzip.is_some() {
            response = response.with_field("Content-Encoding", "gzip");
        }
        let is_map = name.ends_with(".map");
        response.content_type =
            if is_map { "application/json" } else { "text/javascript; charset=utf-8" }.into();
        response.body = Body::Static(content.bytes);
        Ok(response)
    }
}

impl File {
    fn read(folder: &Path, name: &'static str) -> Option<Self> {
        let path = folder.join(name);
        let plain = read(&path).ok()?;
        Some(Self { name, plain, gzip: gzip_of(&path) })
    }
}

/// The folders in which npm may have been run.
fn starting_points() -> Vec<PathBuf> {
    let working = env::current_dir().ok();
    let program = env::current_exe().ok();
    let above = working.iter().flat_map(|folder| folder.ancestors());
    let beside = program.iter().filter_map(|program| program.parent());
    above.chain(beside).map(Path::to_owned).collect()
}

fn gzip_of(path: &Path) -> Option<Content> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    read(Path::new(&name)).ok()
}

fn read(path: &Path) -> Result<Content, ClientScriptError> {
    let unreadable = |error| ClientScriptError::Unreadable(path.to_owned(), error);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(CLIENT_SCRIPT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > CLIENT_SCRIPT_BYTES_MAX {
        return Err(ClientScriptError::TooLarge(path.to_owned()));
    }
    let entity_tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha1::digest(&bytes)));
    Ok(Content { bytes: bytes.leak(), entity_tag })
}

/// Whether the client has this very content already (RFC 9110 §13.1.2; a proxy may have weakened the tag).
fn names_tag(request: &Request<'_>, tag: &str) -> bool {
    let listed = request.headers("if-none-match").flat_map(|value| value.split(|byte| *byte == b','));
    listed.map(<[u8]>::trim_ascii).any(|item| {
        let item = item.strip_prefix(b"W/").unwrap_or(item);
        item == tag.as_bytes() || item == b"*"
    })
}

impl fmt::Display for ClientScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(f, "socketio.client_script: {} cannot be read: {error}", path.display())
            }
            Self::TooLarge(path) => write!(
                f,
                "socketio.client_script: {} has more than {CLIENT_SCRIPT_BYTES_MAX} bytes; name the bundle, \
                 dist/socket.io.js of npm's socket.io-client",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ClientScriptError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        Settings, SocketIoSettings,
        testing::{Rig, body, code, open_settings},
    };

    /// A folder of this test's own, removed with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = env::temp_dir().join(format!("roadstead-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder can be made");
            Self(folder)
        }

        fn write(&self, name: &str, text: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
            fs::write(&path, text).expect("a file can be written");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("the folder is ours");
        }
    }

    fn names(script: &ClientScript) -> Vec<&str> {
        script.files.iter().map(|file| file.name).collect()
    }

    #[test]
    fn an_installation_is_found_in_the_nearest_folder_that_has_one() {
        let folder = Folder::new("find");
        let deep = folder.0.join("a/b");
        let from = || -> Vec<_> { deep.ancestors().take(3).map(Path::to_owned).collect() };
        assert!(ClientScript::find(&from()).files.is_empty());
        folder.write("node_modules/socket.io/client-dist/socket.io.js", b"far");
        assert_eq!(ClientScript::find(&from()).files[0].plain.bytes, b"far");
        folder.write("a/node_modules/socket.io-client/dist/socket.io.js", b"near");
        folder.write("a/node_modules/socket.io-client/dist/socket.io.min.js", b"small");
        folder.write("a/node_modules/socket.io-client/dist/socket.io.msgpack.min.js", b"other");
        let near = ClientScript::find(&from());
        assert_eq!(near.files[0].plain.bytes, b"near");
        assert_eq!(names(&near), ["socket.io.js", "socket.io.min.js"]);
    }

    #[test]
    fn a_configured_file_of_any_name_is_the_client_and_one_that_is_missing_is_told() {
        let folder = Folder::new("configured");
        let path = folder.write("client-4.js", b"text");
        folder.write("client-4.js.gz", b"zip");
        folder.write("socket.io.js.map", b"{}");
        let script = ClientScript::load(path.to_str().expect("text")).expect("readable");
        assert_eq!(names(&script), ["socket.io.js", "socket.io.js.map"]);
        assert_eq!(script.files[0].gzip.as_ref().map(|content| content.bytes), Some(&b"zip"[..]));
        let error = ClientScript::load("/nonexistent/socket.io.js").expect_err("refused").to_string();
        assert!(
            error.starts_with("socketio.client_script: /nonexistent/socket.io.js cannot be read"),
            "{error}"
        );
        let large = folder.write("large.js", &vec![b' '; CLIENT_SCRIPT_BYTES_MAX as usize + 1]);
        let error = ClientScript::load(large.to_str().expect("text")).expect_err("refused");
        assert!(matches!(error, ClientScriptError::TooLarge(_)));
    }

    #[test]
    fn a_file_is_answered_whole_compressed_or_not_at_all_when_the_browser_has_it() {
        let folder = Folder::new("answered");
        let path = folder.write("socket.io.js", b"text");
        folder.write("socket.io.js.gz", b"zip");
        folder.write("socket.io.min.js.map", b"{}");
        let client_script = ClientScript::load(path.to_str().expect("text")).expect("readable");
        let socketio =
            SocketIoSettings { path: "/live/".into(), client_script, ..SocketIoSettings::default() };
        let mut rig = Rig::new(Settings { socketio: Some(socketio), ..open_settings() });
        let mut get =
            |name: &str, fields: &[(&str, &str)]| rig.respond(&format!("GET /live/{name}"), fields, b"");
        let plain = get("socket.io.js", &[]);
        assert_eq!(
            (plain.status, body(&plain), &*plain.content_type),
            (200, "text", "text/javascript; charset=utf-8")
        );
        assert!(!plain.fields.contains("Content-Encoding"));
        let compressed = get("socket.io.js", &[("Accept-Encoding", "br, gzip")]);
        assert_eq!(body(&compressed), "zip");
        assert!(compressed.fields.contains("Content-Encoding: gzip\r\n"));
        assert_eq!(&*get("socket.io.min.js.map", &[]).content_type, "application/json");
        let tag = |response: &Response| {
            let field = response.fields.lines().find_map(|line| line.strip_prefix("ETag: "));
            field.expect("a tag").to_owned()
        };
        assert_ne!(tag(&plain), tag(&compressed), "a tag names bytes, not a resource");
        let listed = format!("\"other\", W/{}", tag(&plain));
        for (known, status) in [(tag(&plain), 304), (listed, 304), (tag(&compressed), 200), ("*".into(), 304)]
        {
            let response = get("socket.io.js", &[("If-None-Match", &known)]);
            assert_eq!(response.status, status, "{known}");
            assert_eq!(body(&response).is_empty(), status == 304);
        }
        let missing = get("socket.io.min.js", &[]);
        assert_eq!((missing.status, code(&missing)), (404, "client_script_missing".into()));
        assert!(body(&missing).contains("npm install socket.io-client"));
    }
}
