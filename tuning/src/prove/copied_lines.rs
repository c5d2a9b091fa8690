//! Two lines of copied lists, tried: `limits.conf` for a service, and `tcp_tw_recycle`.

use std::{fs, io, process::Command};

use super::{Experiment, Measure, Reach, Trial, Trouble};

/// The number that the tried line names; small, so that it can be had below any hard limit.
const NAMED: f64 = 1_234.0;

pub const LIMITS_CONF: Experiment = Experiment {
    id: "limits-conf",
    question: "limits.conf says 1,234 open files; the hard limit of a program started with and without a session of PAM",
    reach: Reach::Namespace,
    run: start_both_ways,
};

pub const TW_RECYCLE: Experiment = Experiment {
    id: "tw-recycle",
    question: "does this kernel take `net.ipv4.tcp_tw_recycle = 1`?",
    reach: Reach::Namespace,
    run: write_recycle,
};

/// Two programs are started: one as systemd starts a service, one through a session of PAM. Both see a file of ours in
/// the place of limits.conf, in a mount namespace of their own that ends with them.
const START: &str = "set -e
file=$(mktemp)
echo 'root - nofile 1234' > \"$file\"
mount --bind \"$file\" /etc/security/limits.conf
rm \"$file\"
sh -c 'ulimit -Hn'
su root -s /bin/sh -c 'ulimit -Hn'";

fn start_both_ways(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let reads_limits = fs::read_to_string("/etc/pam.d/su").is_ok_and(|text| text.contains("pam_limits"));
    if !reads_limits || !fs::exists("/etc/security/limits.conf").unwrap_or(false) {
        return Err(Trouble::NotHere("no session of PAM on this host reads limits.conf".to_owned()));
    }
    let arms = [("through su, a session of PAM", 1), ("started directly, as a service is", 0)];
    let samples = trial.alternate(&arms, limit_printed)?;
    if samples[0].iter().any(|limit| *limit != NAMED) {
        return Err(Trouble::NotHere(
            "su did not take the limit from the file that was put in its place".to_owned(),
        ));
    }
    Ok(vec![Measure::of("open files, hard limit", &arms, &samples, |limit| *limit)])
}

/// The limit in a line of what the two programs print, the direct one first.
fn limit_printed(line: usize) -> io::Result<f64> {
    let output = Command::new("unshare").args(["--mount", "sh", "-c", START]).output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let limit = printed.lines().nth(line).and_then(|limit| limit.trim().parse().ok());
    limit.ok_or_else(|| io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn write_recycle(trial: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let arms = [("tcp_tw_recycle = 1", ())];
    let samples = trial.alternate(&arms, |()| try_recycle())?;
    Ok(vec![Measure::of("accepted by the kernel (1) or refused (0)", &arms, &samples, |accepted| *accepted)])
}

fn try_recycle() -> io::Result<f64> {
    match fs::write("/proc/sys/net/ipv4/tcp_tw_recycle", "1") {
        Ok(()) => Ok(1.0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0.0),
        Err(error) => Err(error),
    }
}
