//! Every `sh` and `console` block of a document, run in one shell against a server of the document's own.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use crate::{
    blocks::{Block, Document, documents, shows},
    server::{PATIENCE, Server},
};

/// What the shell prints behind the output of a command, before its status.
const END: &str = "~~ the command has ended:";
/// In a block of `sh` a request that is refused is a mistake of the document.
const STRICT: &str = "curl() { command curl -sS --fail-with-body --max-time 20 \"$@\"; }";

/// A shell that runs one command after the other.
struct Shell {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    folder: PathBuf,
    followers: Vec<Follower>,
}

/// A command in the background, and what it has to print some time.
struct Follower {
    shown: String,
    expected: String,
    output: PathBuf,
}

impl Shell {
    fn start() -> Self {
        let number = format!("{:?}", thread::current().id()).replace(['(', ')'], "");
        let folder = env::temp_dir().join(format!("roadstead-manual-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary directory takes a folder");
        let program = Path::new(env!("CARGO_BIN_EXE_roadstead")).parent().expect("a folder").to_owned();
        let stand_ins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manual/bin");
        let path = env::var("PATH").expect("there is a PATH");
        let mut process = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(&folder)
            .env_clear()
            .env("PATH", format!("{}:{path}:{}", program.display(), stand_ins.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is bash");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let input = process.stdin.take().expect("piped");
        Self { process, input, lines, folder, followers: Vec::new() }
    }

    /// Runs a command to its end: its status and everything it printed.
    fn run(&mut self, command: &str) -> (i32, String) {
        // A command may end without a line break, and may have a comment at its end.
        let text = format!("{{ {command}\n}} 2>&1 </dev/null; echo; echo '{END}' $?\n");
        self.input.write_all(text.as_bytes()).expect("the shell reads");
        let mut output = String::new();
        loop {
            let line = self.lines.recv_timeout(3 * PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("this goes on and on:\n{command}\n{output}"));
            if let Some(status) = line.strip_prefix(END) {
                let output = output.trim_end_matches('\n').to_owned();
                return (status.trim().parse().expect("a number"), output);
            }
            output += &line;
            output.push('\n');
        }
    }

    /// Leaves a command running that follows a channel, once it does.
    fn follow(&mut self, server: &Server, shown: &str, command: &str, expected: &str) {
        let channel = channel_of(command);
        let before = server.subscribers(&channel);
        let output = self.folder.join(format!("follower-{}", self.followers.len()));
        self.run(&format!("{command} >{} &", output.display()));
        await_that(shown, || server.subscribers(&channel) > before);
        self.followers.push(Follower { shown: shown.to_owned(), expected: expected.to_owned(), output });
    }

    /// What was left running has to have printed what was expected, or to print it now.
    fn finish(mut self, server: &Server, place: &str) {
        for follower in std::mem::take(&mut self.followers) {
            let mut output = String::new();
            let began = Instant::now();
            // A stream goes on behind what is shown of it.
            let open_ended = format!("{}…", follower.expected);
            while !shows(&open_ended, &output) {
                assert!(
                    began.elapsed() < PATIENCE,
                    "{place}: $ {}\nhas printed\n{output}\ninstead of\n{}",
                    follower.shown,
                    follower.expected
                );
                thread::sleep(Duration::from_millis(5));
                output = server.restore(&fs::read_to_string(&follower.output).unwrap_or_default());
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Those in the background as well: without job control they are the shell's own children.
        self.input.write_all(b"kill $(jobs -p) 2>/dev/null; exit\n").ok();
        self.process.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Whether a command goes on until somebody ends it, or waits for a publication.
fn follows(command: &str) -> bool {
    let waits = command.contains("timeout=") && !command.contains("timeout=0'");
    let streams = command.contains("text/event-stream");
    !command.contains("$(") && (waits || streams || command.starts_with("websocat"))
}

/// The channel in the address of a command, or the last of several.
fn channel_of(command: &str) -> String {
    let named = command.split_once("/channels/").or_else(|| command.rsplit_once("channel="));
    let (_, rest) = named.unwrap_or_else(|| panic!("no channel: {command}"));
    rest.split([' ', '\'', '"', '?', '&']).next().unwrap_or_default().to_owned()
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Each `$ ` line with what stands below it.
fn commands(block: &Block) -> Vec<(String, String)> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            // A backslash at its end goes on in the next line.
            (None, Some((command, expected))) if expected.is_empty() && command.ends_with('\\') => {
                command.push('\n');
                *command += line;
            }
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => panic!("a console begins with a command: {line}"),
        }
    }
    commands.into_iter().map(|(command, expected)| (command, expected.join("\n"))).collect()
}

fn run_console(shell: &mut Shell, server: &Server, block: &Block, place: &str) {
    for (shown, expected) in commands(block) {
        let command = server.substitute(&shown);
        if follows(&command) {
            shell.follow(server, &shown, &command, &expected);
            continue;
        }
        let (_, output) = shell.run(&command);
        let output = server.restore(&output);
        assert!(shows(&expected, &output), "{place}: $ {shown}\nprinted\n{output}\ninstead of\n{expected}");
    }
}

fn run_script(shell: &mut Shell, server: &Server, block: &Block, place: &str) {
    let script = server.substitute(&block.text);
    let (status, output) = shell.run(&format!("( set -eo pipefail; {STRICT}\n{script}\n)"));
    assert_eq!(status, 0, "{place} printed\n{output}");
}

fn run_document(document: &Document) {
    let blocks = document.blocks();
    let is_run = |block: &Block| block.is_run_here() && ["sh", "console"].contains(&&*block.language);
    if !blocks.iter().any(is_run) {
        return;
    }
    let server = Server::start(&[]);
    let mut shell = Shell::start();
    for block in blocks.iter().filter(|block| is_run(block)) {
        let place = format!("{}:{}", document.path, block.line);
        match &*block.language {
            "sh" => run_script(&mut shell, &server, block, &place),
            _ => run_console(&mut shell, &server, block, &place),
        }
    }
    shell.finish(&server, &document.path);
}

#[test]
fn every_command_does_what_the_document_says() {
    // Side by side, for most of the time is waiting for processes.
    thread::scope(|scope| {
        let runs: Vec<_> = documents()
            .into_iter()
            .map(|document| (document.path.clone(), scope.spawn(move || run_document(&document))))
            .collect();
        let failed: Vec<_> =
            runs.into_iter().filter_map(|(path, run)| run.join().is_err().then_some(path)).collect();
        assert!(failed.is_empty(), "commands of {} fail; the output above says how", failed.join(", "));
    });
}

#[test]
fn every_block_says_in_what_language_it_is_and_commands_stand_in_no_other() {
    let known = [
        "sh",
        "console",
        "ws",
        "js",
        "json",
        "toml",
        "rust",
        "rust,no_run",
        "ini",
        "nginx",
        "nginx,stream",
        "haproxy",
        "caddy",
        "text",
        "yaml",
        "python",
    ];
    for document in documents() {
        for block in document.blocks() {
            let place = format!("{}:{}", document.path, block.line);
            assert!(known.contains(&&*block.language), "{place}: say what this is: {known:?}");
            let is_command = |line: &str| {
                ["curl ", "roadstead ", "$ ", "websocat "].iter().any(|word| line.trim().starts_with(word))
            };
            // A table of dependencies names the program, too.
            let is_run = ["sh", "console", "toml"].contains(&&*block.language);
            assert!(is_run || !block.text.lines().any(is_command), "{place}: a command is not run");
            assert!(block.not_run.as_ref().is_none_or(|why| why.len() > 8), "{place}: say why it is not run");
            // A test that is run, and that takes its commands from here.
            let page = document.path.rsplit(['/', '.']).nth(1).unwrap_or_default();
            let is_test = |path: &String| {
                let text = |path: &str| {
                    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
                    fs::read_to_string(path).unwrap_or_default()
                };
                text("tests/run").contains(path.as_str()) && text(path).contains(&format!("'{page}'"))
            };
            assert!(block.run_by.as_ref().is_none_or(is_test), "{place}: there is no such test");
        }
        for (number, line) in document.text.lines().enumerate() {
            let is_indented = line.starts_with("    curl ") || line.starts_with("    roadstead");
            let in_block = document.blocks().iter().any(|block| {
                (block.line..block.line + block.text.lines().count() + 1).contains(&(number + 1))
            });
            assert!(
                in_block || !is_indented,
                "{}:{}: fence it, so that it is run",
                document.path,
                number + 1
            );
        }
    }
}
