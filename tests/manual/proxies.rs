//! The configurations of the page about proxies, with the proxies themselves where they are installed: paths come as
//! they were sent, WebSockets open, events are not held back.
//!
//! Proxies listen on Unix sockets here, so that no port has to be free.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    blocks::page,
    server::{PATIENCE, Server},
};

/// The channel whose name a proxy that decodes paths loses.
const LOBBY: &str = "/channels/%2Fgame%23lobby";
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

struct Proxy {
    process: Child,
    folder: PathBuf,
}

/// A program, if it is installed; Debian keeps servers where a user's PATH does not lead.
fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|program| program.exists());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found
}

fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("roadstead-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary directory takes a folder");
    folder
}

/// The page's blocks of this language, one behind the other.
fn configuration(language: &str) -> String {
    let blocks = page("proxy").blocks();
    let texts: Vec<_> =
        blocks.iter().filter(|block| block.language == language).map(|block| block.text.as_str()).collect();
    assert!(!texts.is_empty(), "no {language}");
    texts.join("\n")
}

fn server() -> Server {
    Server::start(&["server.allowed_hosts=chat.example.org", "publish.open=true"])
}

impl Proxy {
    fn start(program: &Path, arguments: &[&str], folder: PathBuf) -> Self {
        Self::begin(Command::new(program).args(arguments), folder)
    }

    fn begin(command: &mut Command, folder: PathBuf) -> Self {
        let process = command
            .current_dir(&folder)
            .env("HOME", &folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("the proxy runs");
        let mut proxy = Self { process, folder };
        let began = Instant::now();
        while UnixStream::connect(proxy.folder.join("80")).is_err() {
            assert!(began.elapsed() < PATIENCE, "it does not listen");
            assert!(proxy.process.try_wait().expect("a child of ours").is_none(), "it ended early");
            thread::sleep(Duration::from_millis(5));
        }
        proxy
    }

    /// Sends a request to one of its sockets, and reads until the answer contains a text.
    fn ask(&self, socket: &str, request: &str, until: &str) -> (UnixStream, String) {
        let mut stream = UnixStream::connect(self.folder.join(socket)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let request = format!("{request}\r\n").replacen("\r\n", " HTTP/1.1\r\nHost: chat.example.org\r\n", 1);
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        read_until(&mut stream, &mut answer, until);
        (stream, answer)
    }

    /// Follows a channel for a client at an address, which it is told as a proxy before it would tell; the answer's status.
    fn follow_from(&self, socket: &str, client: &str, fields: &str) -> (UnixStream, String) {
        let mut stream = UnixStream::connect(self.folder.join(socket)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let head = "GET /channels/a HTTP/1.1\r\nHost: chat.example.org\r\n";
        let request = format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n{head}{fields}{UPGRADE}\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        read_until(&mut stream, &mut answer, "\r\n\r\n");
        (stream, answer[9..12].to_owned())
    }

    /// Tells the server who asks, whatever clients say of themselves.
    fn tells_who_asks(&self, socket: &str) {
        let forged = "X-Forwarded-For: 198.51.100.9\r\nForwarded: for=198.51.100.9\r\n";
        let follow = |client, fields| self.follow_from(socket, client, fields);
        let (first, status) = follow("203.0.113.1", "");
        assert_eq!(status, "101");
        let (second, status) = follow("203.0.113.2", forged);
        assert_eq!(status, "101", "another client");
        for client in ["203.0.113.1", "203.0.113.2"] {
            assert_eq!(
                follow(client, "X-Forwarded-For: 198.51.100.8\r\n").1,
                "429",
                "{client} is there already"
            );
        }
        let (third, status) = follow("198.51.100.9", "");
        assert_eq!(status, "101", "nobody was here from there");
        drop((first, second, third));
    }

    fn carries_everything(&self, socket: &str, prefix: &str) {
        let path = format!("{prefix}{LOBBY}");
        let (_, info) = self.ask(socket, &format!("GET {path}/info\r\n"), "history_bytes");
        assert!(info.contains("\"channel\":\"/game#lobby\""), "{info}");
        let (_, opened) = self.ask(socket, &format!("GET {path}\r\n{UPGRADE}"), "\r\n\r\n");
        assert!(opened.starts_with("HTTP/1.1 101 "), "{opened}");
        let (mut stream, mut events) =
            self.ask(socket, &format!("GET {path}\r\nAccept: text/event-stream\r\n"), "id: ");
        let publish = format!("POST {path}\r\nContent-Length: 5\r\n\r\nhello");
        let (_, published) = self.ask(socket, &publish, "offset");
        assert!(published.contains("\"offset\":"), "{published}");
        read_until(&mut stream, &mut events, "data: hello");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx takes its workers with it when it is asked; others would wait for clients that are open.
        match self.folder.join("nginx.conf").exists() {
            true => assert!(
                Command::new("kill").arg(self.process.id().to_string()).status().is_ok_and(|s| s.success())
            ),
            false => self.process.kill().expect("it runs"),
        }
        self.process.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn read_until(stream: &mut UnixStream, answer: &mut String, until: &str) {
    let mut bytes = [0; 4096];
    while !answer.contains(until) {
        let read = stream.read(&mut bytes).unwrap_or_else(|error| panic!("{error}: no {until} in\n{answer}"));
        assert!(read > 0, "no {until} in\n{answer}");
        *answer += &String::from_utf8_lossy(&bytes[..read]);
    }
}

/// A server that takes one connection from each address, and believes whoever is on this machine.
fn counting_server(more: &[&str]) -> Server {
    let settings =
        ["server.allowed_hosts=*", "limits.connections_per_address_max=1", "proxy.trusted=127.0.0.0/8"];
    Server::start(&[&settings, more].concat())
}

/// nginx with these sites, one of which listens at the socket `80`.
fn nginx(program: &Path, folder: PathBuf, sites: &str) -> Proxy {
    nginx_with(program, folder, "", sites, None)
}

/// The same with what stands before its sites, and a socket at one of its addresses that listens already.
fn nginx_with(
    program: &Path,
    folder: PathBuf,
    before: &str,
    sites: &str,
    listener: Option<TcpListener>,
) -> Proxy {
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {at}/{name};\n"))
        .concat();
    let text = format!(
        "{before}\ndaemon off;\npid {at}/pid;\nerror_log stderr crit;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{sites}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), text).expect("the folder takes a file");
    let configuration = format!("{at}/nginx.conf");
    let mut command = Command::new(program);
    if let Some(listener) = listener {
        // As one nginx leaves its sockets to the next.
        command.env("NGINX", "0;").stdin(OwnedFd::from(listener));
    }
    Proxy::begin(command.args(["-e", "stderr", "-c", &configuration]), folder)
}

/// HAProxy as the page configures it, its clients known by the PROXY protocol; its server's line ends with this.
fn counting_haproxy(program: &Path, server: &Server, name: &str, ending: &str) -> Proxy {
    let folder = folder(name);
    let text = server
        .substitute(&configuration("haproxy"))
        .replace("bind :80", &format!("bind unix@{}/80 accept-proxy", folder.display()))
        .replace("check port 8081", ending);
    fs::write(folder.join("haproxy.cfg"), format!("global\n    maxconn 100\n{text}")).expect("a file");
    Proxy::start(program, &["-f", "haproxy.cfg"], folder)
}

#[test]
fn nginx_tells_who_asks_as_the_page_configures_it() {
    let Some(program) = installed("nginx") else { return };
    let (server, folder) = (counting_server(&[]), folder("nginx-who"));
    let own = format!(
        "listen unix:{}/80 proxy_protocol; set_real_ip_from unix:; real_ip_header proxy_protocol;",
        folder.display()
    );
    let page = server.substitute(&configuration("nginx"));
    let sites = page
        .replace("listen 80;", &own)
        .replace("listen 81;", &format!("listen unix:{}/81;", folder.display()));
    nginx(&program, folder, &sites).tells_who_asks("80");
}

#[test]
fn nginx_tells_who_asks_in_headers_where_it_passes_tcp_on() {
    let Some(program) = installed("nginx") else { return };
    let modules = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
    let modules = modules.map(|folder| Path::new(folder).join("ngx_stream_module.so"));
    let Some(module) = modules.iter().find(|module| module.exists()) else {
        println!("skipped: nginx has no module for TCP (libnginx-mod-stream)");
        return;
    };
    let (server, folder) = (counting_server(&["proxy.protocol=v1"]), folder("nginx-stream"));
    // It tells the address at which it was reached as well, so that has to be one: a port that it finds open already.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let own = format!("listen 127.0.0.1:{port} proxy_protocol; set_real_ip_from 127.0.0.1;");
    let page = server.substitute(&configuration("nginx,stream")).replace("listen 443;", &own);
    let at = folder.display();
    let on = format!("stream {{ server {{ listen unix:{at}/80; proxy_pass 127.0.0.1:{port}; }} }}");
    // Both in one block.
    let page = page.replacen("stream {", &on[..on.len() - 1], 1);
    let before = format!("load_module {};\n{page}", module.display());
    nginx_with(&program, folder, &before, "", Some(listener)).tells_who_asks("80");
}

#[test]
fn haproxy_tells_who_asks_in_fields_and_in_headers_of_both_versions() {
    let Some(program) = installed("haproxy") else { return };
    let by_fields = counting_server(&[]);
    counting_haproxy(&program, &by_fields, "haproxy-fields", "").tells_who_asks("80");
    for (version, ending) in [("v1", "send-proxy"), ("v2", "send-proxy-v2"), ("either", "send-proxy-v2-ssl")]
    {
        let server = counting_server(&[&format!("proxy.protocol={version}")]);
        let name = format!("haproxy-{version}");
        counting_haproxy(&program, &server, &name, ending).tells_who_asks("80");
    }
}

#[test]
fn nginx_works_as_the_page_configures_it_and_a_path_behind_proxy_pass_is_a_trap() {
    let Some(program) = installed("nginx") else { return };
    let (server, folder) = (server(), folder("nginx"));
    let page = server.substitute(&configuration("nginx"));
    let at = folder.display();
    let sites = page
        .replace("listen 80;", &format!("listen unix:{at}/80;"))
        .replace("listen 81;", &format!("listen unix:{at}/81;"));
    // What the page warns of.
    let trap = format!(
        "server {{ listen unix:{at}/82; location / {{ proxy_pass http://roadstead/; \
         proxy_set_header Host chat.example.org; }} }}"
    );
    let proxy = nginx(&program, folder.clone(), &format!("{sites}\n{trap}"));
    proxy.carries_everything("80", "");
    proxy.carries_everything("81", "/live");
    let (_, lost) = proxy.ask("82", &format!("GET {LOBBY}/info\r\n"), "}");
    assert!(lost.contains("\"channel\":\"game#lobby\""), "{lost}");
}

#[test]
fn haproxy_works_as_the_page_configures_it() {
    let Some(program) = installed("haproxy") else { return };
    let (server, folder) = (server(), folder("haproxy"));
    let text = server
        .substitute(&configuration("haproxy"))
        .replace("bind :80", &format!("bind unix@{}/80", folder.display()))
        .replace("check port 8081", &format!("check port {}", server.admin.port()));
    fs::write(folder.join("haproxy.cfg"), format!("global\n    maxconn 100\n{text}")).expect("a file");
    Proxy::start(&program, &["-f", "haproxy.cfg"], folder).carries_everything("80", "");
}

#[test]
fn caddy_works_as_the_page_configures_it() {
    let Some(program) = installed("caddy") else { return };
    let (server, folder) = (server(), folder("caddy"));
    let site = format!("http://chat.example.org {{\n    bind unix/{}/80", folder.display());
    let text = server.substitute(&configuration("caddy")).replace("chat.example.org {", &site);
    fs::write(
        folder.join("Caddyfile"),
        format!("{{\n    admin off\n    log {{\n        level ERROR\n    }}\n}}\n{text}"),
    )
    .expect("a file");
    Proxy::start(&program, &["run", "--config", "Caddyfile", "--adapter", "caddyfile"], folder)
        .carries_everything("80", "");
}
