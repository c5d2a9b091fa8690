//! Two lines of copied lists, tried: `limits.conf` for a service, and `tcp_tw_recycle`.

use std::{fs, io};

use super::{Arm, Experiment, Measure, Trial, Trouble};
use crate::host::{Host, Reading, limits};

pub const LIMITS_CONF: Experiment = Experiment {
    id: "limits-conf",
    question: "do services on this host have the number of open files that limits.conf names?",
    needs_root: false,
    run: compare_services,
};

pub const TW_RECYCLE: Experiment = Experiment {
    id: "tw-recycle",
    question: "does this kernel take `net.ipv4.tcp_tw_recycle = 1`?",
    needs_root: true,
    run: write_recycle,
};

/// Compares what every service has with what the files of PAM say; nothing is changed.
fn compare_services(_: &mut Trial<'_>) -> Result<Vec<Measure>, Trouble> {
    let host = Host::at("/");
    let named = named_in_limits_conf(&host);
    let services = service_limits(&host);
    if services.is_empty() {
        return Err(Trouble::NotHere("no service of systemd runs here, and only those show it".to_owned()));
    }
    if named.is_empty() {
        return Err(Trouble::NotHere("limits.conf of this host names no number of open files".to_owned()));
    }
    let arm = |name, values: Vec<u64>| Arm {
        name,
        samples: values.into_iter().map(|value| value as f64).collect(),
    };
    let arms = vec![arm("what limits.conf names", named), arm("what services have", services)];
    Ok(vec![Measure { name: "open files, hard limit", arms }])
}

fn named_in_limits_conf(host: &Host) -> Vec<u64> {
    let mut paths = vec!["/etc/security/limits.conf".to_owned()];
    paths.extend(host.expand("/etc/security/limits.d/*.conf"));
    let texts = paths.iter().filter_map(|path| host.read_raw(path).value().cloned());
    let mut named = Vec::new();
    for line in texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [who, _, "nofile", value] = fields[..]
            && !who.starts_with('#')
        {
            named.extend(value.parse::<u64>().ok());
        }
    }
    named
}

fn service_limits(host: &Host) -> Vec<u64> {
    let mut found = Vec::new();
    for process in
        host.names("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let folder = format!("/proc/{process}");
        let is_service =
            host.read_raw(&format!("{folder}/cgroup")).value().is_some_and(|text| text.contains(".service"));
        if let (true, Reading::Value(limit)) = (is_service, limits::limit(host, &folder, "Max open files")) {
            found.push(limit.hard);
        }
    }
    found
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
