//! Machines on which the server cannot run: it says why, and what would help.

use std::{fs, process::Command};

use crate::server::Server;

/// Runs the server where the io_uring calls fail with `errno`; what it said. The filter (seccomp(2)) is set by a
/// few lines of Python, for a test may not contain unsafe code, and binds only that process.
#[track_caller]
fn told_without_io_uring(errno: i32) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/without_io_uring.py");
    let server = Server::command(1, &["127.0.0.1:0"], &[]);
    let mut command = Command::new("python3");
    command
        .env_remove("ROADSTEAD_TEST_TLS")
        .arg(script)
        .arg(errno.to_string())
        .arg(server.get_program())
        .args(server.get_args());
    let output = command.output().expect("python3 is installed");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty(), "nothing says that it listens");
    told
}

#[test]
fn a_seccomp_filter_is_named_as_the_cause() {
    let told = told_without_io_uring(libc::EPERM);
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    // Where the sysctl forbids io_uring as well, that is the cause to name first.
    let cure = if sysctl.trim() == "0" { "seccomp=unconfined" } else { "io_uring_disabled" };
    assert!(told.contains("io_uring") && told.contains(cure), "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn a_kernel_without_io_uring_is_named_as_the_cause() {
    let told = told_without_io_uring(libc::ENOSYS);
    assert!(told.contains("io_uring") && told.contains("kernel"), "{told}");
    assert!(told.contains("boot"), "{told}");
}

#[test]
fn more_connections_than_the_open_files_limit_holds_are_refused_with_three_cures() {
    let inner = Server::command(1, &["127.0.0.1:0"], &["limits.connections_max=5000"]);
    let mut command = Command::new("prlimit");
    command
        .env_remove("ROADSTEAD_TEST_TLS")
        .arg("--nofile=1000:1000")
        .arg(inner.get_program())
        .args(inner.get_args());
    let output = command.output().expect("prlimit is installed");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    for word in ["5000", "1000", "limits.connections_max"] {
        assert!(told.contains(word), "{word} is not in: {told}");
    }
}
