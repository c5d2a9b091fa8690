//! TLS with the clients of others: OpenSSL, curl, Python, Node.js, as far as they are installed.

use std::{
    io::{BufReader, Read, Write},
    process::{Command, Stdio},
};

use crate::{
    certificate::Certificate,
    server::{Patience, Server},
};

fn start(certificate: &Certificate) -> Server {
    let mut command = Server::command(2, &[], &[]);
    command.args(["--listen", "127.0.0.1:0", "--tls-cert"]).arg(&certificate.chain);
    command.arg("--tls-key").arg(&certificate.key);
    Server::launch(&mut command)
}

/// Runs a program to its end; what it printed, or nothing where there is no such program.
fn output(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{command:?}: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            println!("skipped: {command:?}: {error}");
            None
        }
    }
}

const SUITES_13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
const SUITES_12: [&str; 3] =
    ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"];
const REQUEST: &str = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Talks through `openssl s_client`: what is to be said, and the words to wait for after it.
fn talk(server: &Server, arguments: &[&str], steps: &[(&str, &str)]) {
    if Command::new("openssl").arg("version").output().is_err() {
        return println!("skipped: there is no openssl");
    }
    // What it says of keys goes to its standard error.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec openssl s_client \"$@\" 2>&1",
        "sh",
        "-connect",
        &server.address().to_string(),
    ]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.spawn().expect("there is a shell");
    let mut input = client.stdin.take().expect("a pipe");
    let mut output = BufReader::new(client.stdout.take().expect("a pipe"));
    let patience = Patience::begin();
    for (said, wanted) in steps {
        input.write_all(said.as_bytes()).expect("it listens");
        let mut heard = String::new();
        while !heard.contains(wanted) {
            patience.check(wanted);
            let mut byte = [0];
            let count = output.read(&mut byte).expect("it speaks");
            assert_ne!(count, 0, "{arguments:?}: it ended before {wanted:?}: {heard}");
            heard.push(char::from(byte[0]));
        }
    }
    drop(input);
    client.wait().expect("a child of ours");
}

#[test]
fn openssl_speaks_every_suite_and_changes_keys_both_ways() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate);
    let ask = (REQUEST, "Hello, World!");
    for suite in SUITES_13 {
        // K asks for new keys of this side as well, k does not; OpenSSL says so when it has sent its own.
        let steps = [
            ask,
            ("K\n", "KEYUPDATE"),
            ask,
            ("k\n", "KEYUPDATE"),
            ask,
            ("K\n", "KEYUPDATE"),
            ask,
            ("Q\n", ""),
        ];
        talk(&server, &["-tls1_3", "-ciphersuites", suite], &steps);
    }
    for suite in SUITES_12 {
        talk(&server, &["-tls1_2", "-cipher", suite], &[ask, ask, ("Q\n", "")]);
    }
}

#[test]
fn curl_python_and_node_verify_and_speak() {
    let certificate = Certificate::new("localhost");
    let server = start(&certificate);
    let (port, chain) = (server.address().port(), certificate.chain.display().to_string());
    let url = format!("https://localhost:{port}/hello");
    for version in ["1.2", "1.3"] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--tls-max", version, "--cacert", &chain, "-4", &url]);
        assert!(output(&mut curl).is_none_or(|told| told == "Hello, World!"));
    }
    let python = format!(
        "import socket, ssl\n\
         for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):\n\
         \x20   context = ssl.create_default_context(cafile='{chain}')\n\
         \x20   context.minimum_version = context.maximum_version = version\n\
         \x20   session = None\n\
         \x20   for resumed in (False, True):\n\
         \x20       plain = socket.create_connection(('127.0.0.1', {port}))\n\
         \x20       client = context.wrap_socket(plain, server_hostname='localhost', session=session)\n\
         \x20       client.sendall(b'GET /hello HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n')\n\
         \x20       assert client.recv(4096).endswith(b'World!')\n\
         \x20       assert client.session_reused == resumed, (version, resumed)\n\
         \x20       session = client.session\n\
         \x20       client.unwrap()\n\
         print('good')\n"
    );
    assert!(output(Command::new("python3").args(["-c", &python])).is_none_or(|told| told == "good\n"));
    let node = format!(
        "const agent = {{ca: require('fs').readFileSync('{chain}'), family: 4}};\n\
         require('https').get('{url}', agent, answer => answer.pipe(process.stdout));\n"
    );
    assert!(output(Command::new("node").args(["-e", &node])).is_none_or(|told| told == "Hello, World!"));
}
