//! What is rendered: complete, and nothing that a parser would read as nothing. `tests/parsers` has them read by parsers of
//! their kind; `tests/rendered.rs` of the server starts it by them.

use std::{
    fs,
    process::{Command, Output},
};

use crate::fake::FakeRoot;

const ARTEFACTS: [&str; 6] = ["sysctl", "systemd", "cloud-init", "ethtool", "docker", "kubernetes"];

fn render(root: &FakeRoot, artefact: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead-tune"));
    command.args(["render", artefact]).args(more).arg("--root").arg(root.folder()).output().unwrap()
}

/// Where an artefact gets the program from, if it does not make or take it.
fn origin(artefact: &str) -> &'static [&'static str] {
    match artefact {
        "kubernetes" => &["--image", "registry.example/roadstead:1"],
        "cloud-init" => &["--binary", "https://files.example/roadstead"],
        _ => &[],
    }
}

fn rendered(root: &FakeRoot, artefact: &str, more: &[&str]) -> String {
    let output = render(root, artefact, &[origin(artefact), more].concat());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{artefact}: {printed} {}", String::from_utf8_lossy(&output.stderr));
    printed
}

/// A host that needs a value of each kind.
fn short_host() -> FakeRoot {
    let root = FakeRoot::stock();
    root.put("/proc/sys/net/core/somaxconn", "128\n");
    root.put("/proc/sys/net/ipv4/tcp_mem", "9000\t12000\t18000\n");
    root.put("/proc/sys/net/netfilter/nf_conntrack_max", "65536\n");
    root
}

#[test]
fn every_artefact_is_rendered_with_the_targets_numbers() {
    let root = short_host();
    let shows: [(&str, &[&str]); 6] = [
        ("sysctl", &["net.core.somaxconn = 4096", "echo nf_conntrack > /etc/modules-load.d/"]),
        ("systemd", &["LimitNOFILE=127500"]),
        ("cloud-init", &["      net.core.somaxconn = 4096", "/etc/modules-load.d/90-roadstead.conf"]),
        ("ethtool", &["smp_affinity_list"]),
        (
            "docker",
            &["      net.core.somaxconn: \"4096\"", "sysctl -w net.ipv4.tcp_mem=\"11250 15000 22500\""],
        ),
        (
            "kubernetes",
            &["{name: net.core.somaxconn, value: \"4096\"}", "raise net.ipv4.tcp_mem \"11250 15000 22500\""],
        ),
    ];
    for (artefact, lines) in shows {
        let text = rendered(&root, artefact, &[]);
        for line in lines {
            assert!(text.contains(line), "{artefact} lacks {line}: {text}");
        }
    }
}

#[test]
fn what_a_container_cannot_write_is_the_hosts_to_set() {
    let root = short_host();
    // Docker does not start a container whose --sysctl is refused.
    let text = rendered(&root, "docker", &[]);
    assert!(!text.contains("      net.netfilter"), "{text}");
    assert!(text.contains("#   sysctl -w net.netfilter.nf_conntrack_max=\"240000\""), "{text}");
    assert!(rendered(&root, "kubernetes", &[]).contains("raise net.netfilter.nf_conntrack_max \"240000\""));
}

#[test]
fn no_artefact_pins_a_value_that_is_the_default() {
    let root = FakeRoot::stock();
    for artefact in ["sysctl", "docker", "kubernetes"] {
        let text = rendered(&root, artefact, &[]);
        for default in ["syncookies", "abort_on_overflow", "somaxconn", "file-max", "tcp_timestamps"] {
            assert!(!text.contains(default), "{artefact} sets {default}: {text}");
        }
    }
}

#[test]
fn where_nothing_has_to_be_set_no_empty_list_is_left() {
    let root = FakeRoot::stock();
    // Values that an apply has set here are rendered too; this host has none.
    for (path, default) in [
        ("/proc/sys/net/ipv4/tcp_migrate_req", "0"),
        ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "5000"),
        ("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999"),
        ("/proc/sys/net/netfilter/nf_conntrack_max", "262144"),
    ] {
        root.put(path, default);
    }
    for artefact in ["docker", "kubernetes", "cloud-init"] {
        let text = rendered(&root, artefact, &[]);
        let lines: Vec<&str> = text.lines().collect();
        for pair in
            lines.windows(2).filter(|pair| pair[0].ends_with("sysctls:") || pair[0].ends_with("content: |"))
        {
            let indent = |line: &str| line.len() - line.trim_start().len();
            assert!(
                indent(pair[1]) > indent(pair[0]),
                "{artefact}: `{}` is followed by `{}`",
                pair[0],
                pair[1]
            );
        }
        assert!(!text.contains("/etc/sysctl.d/90-roadstead.conf\n    content"), "{artefact}: {text}");
    }
    assert!(rendered(&root, "sysctl", &[]).contains("no value needs to be set"));
}

#[test]
fn what_nobody_publishes_is_asked_for_and_not_made_up() {
    let root = FakeRoot::stock();
    for (artefact, asked) in [("cloud-init", "--binary https://"), ("kubernetes", "--image REGISTRY/")] {
        let refused = render(&root, artefact, &[]);
        assert_eq!(refused.status.code(), Some(2), "{artefact}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(asked), "{artefact}: {refused:?}");
    }
    let refused = render(&root, "cloud-init", &["--binary", "https://a.example/'; reboot; '"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(rendered(&root, "kubernetes", &[]).contains("image: registry.example/roadstead:1\n"));
    assert!(rendered(&root, "docker", &[]).contains("build: {context: ., dockerfile: Dockerfile}"));
}

#[test]
fn an_image_that_is_named_is_run_and_none_is_built() {
    let root = FakeRoot::stock();
    let text = rendered(&root, "docker", &["--image", "registry.example/roadstead:1"]);
    assert!(text.contains("    image: registry.example/roadstead:1\n"), "{text}");
    for word in ["build:", "--build", "Dockerfile", "FROM "] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    for name in ["", "-a", "a b", "a:", "\"a\"", "a\nprivileged: true"] {
        let refused = render(&root, "docker", &["--image", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
    }
}

#[test]
fn what_an_artefact_has_no_use_for_is_refused_and_not_ignored() {
    let root = FakeRoot::stock();
    let (image, binary) = (["--image", "any:1"], ["--binary", "https://files.example/roadstead"]);
    for artefact in ARTEFACTS {
        let takes = |option: &[&str]| match artefact {
            "docker" | "kubernetes" => option == image,
            "cloud-init" => option == binary,
            _ => false,
        };
        for option in [&image, &binary].into_iter().filter(|option| !takes(&option[..])) {
            let refused = render(&root, artefact, &[origin(artefact), &option[..]].concat());
            assert_eq!(refused.status.code(), Some(2), "{artefact} {option:?}");
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(said.starts_with(option[0]), "{artefact}: {said}");
        }
    }
}

#[test]
fn a_server_that_is_started_by_an_artefact_is_reached_asked_and_allowed_its_rings() {
    let root = FakeRoot::stock();
    let holds: [(&str, &[&str]); 4] = [
        (
            "systemd",
            &[
                "ROADSTEAD_SERVER__LISTEN=0.0.0.0:8080",
                "ROADSTEAD_READ__OPEN=true",
                "EnvironmentFile=/etc/roadstead/roadstead.env",
            ],
        ),
        (
            "cloud-init",
            &[
                "ROADSTEAD_SERVER__LISTEN=0.0.0.0:8080",
                "https://files.example/roadstead",
                "ROADSTEAD_PUBLISH__KEYS",
            ],
        ),
        (
            "docker",
            &[
                "0.0.0.0:8080",
                "ROADSTEAD_READ__OPEN",
                "ROADSTEAD_PUBLISH__KEYS",
                "healthcheck:",
                "/readyz",
                "seccomp:./seccomp.json",
                "io_uring_setup",
                "ENTRYPOINT",
            ],
        ),
        (
            "kubernetes",
            &[
                "0.0.0.0:8080",
                "0.0.0.0:8081",
                "ROADSTEAD_READ__OPEN",
                "secretKeyRef",
                "readinessProbe",
                "livenessProbe",
                "localhostProfile: roadstead.json",
                "/seccomp/roadstead.json",
                "io_uring_setup",
                "kind: Service",
            ],
        ),
    ];
    for (artefact, words) in holds {
        let text = rendered(&root, artefact, &[]);
        for word in words {
            assert!(text.contains(word), "{artefact} lacks {word}: {text}");
        }
    }
}

#[test]
fn files_are_written_where_asked_and_none_is_written_over() {
    let root = FakeRoot::stock();
    let folder = root.path("/out/any").with_file_name("not/there/yet");
    let out = ["--out", folder.to_str().unwrap()];
    rendered(&root, "docker", &out);
    for name in ["compose.yaml", "Dockerfile", "seccomp.json"] {
        assert!(folder.join(name).exists(), "{name}");
    }
    let profile: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("seccomp.json")).unwrap()).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    fs::write(folder.join("compose.yaml"), "mine").unwrap();
    let refused = render(&root, "docker", &out);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(fs::read_to_string(folder.join("compose.yaml")).unwrap(), "mine");
}

#[test]
fn the_unit_lets_the_server_have_its_ring_its_limits_and_its_drain() {
    let root = FakeRoot::stock();
    let unit = rendered(&root, "systemd", &["--target", "1M"]);
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key} in {unit}")).to_owned()
    };
    assert_eq!(value("LimitNOFILE"), "1062500");
    assert_eq!(value("LimitMEMLOCK"), "512K");
    for family in ["AF_UNIX", "AF_INET", "AF_INET6"] {
        assert!(value("RestrictAddressFamilies").split(' ').any(|word| word == family), "{family}");
    }
    assert!(value("SystemCallFilter").contains("io_uring_setup io_uring_enter io_uring_register"));
    assert!(!unit.contains("SystemCallFilter=~"), "{unit}");
    let (_, drain) = unit.split_once("serve --drain-ms ").unwrap();
    let drain_ms: u64 = drain.split_whitespace().next().unwrap().parse().unwrap();
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() * 1_000 > drain_ms);
    // The server has no handler for SIGHUP, which would end it.
    assert!(!unit.contains("HUP"));
}

#[test]
fn systemd_itself_finds_nothing_wrong_with_the_unit() {
    let root = FakeRoot::stock();
    for artefact in ["systemd", "cloud-init"] {
        let text = rendered(&root, artefact, &["--target", "1000000"]);
        let unit = if artefact == "systemd" { text } else { unit_within(&text) };
        // The server is not installed where tests run.
        let unit = unit.replace("/usr/local/bin/roadstead serve", "/bin/true serve");
        let path = root.path("/roadstead.service");
        fs::write(&path, unit).unwrap();
        let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output()
        else {
            return eprintln!("not run: takes systemd-analyze");
        };
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), told.as_ref()), (Some(0), ""), "{artefact}");
    }
}

/// The unit that user data writes, without its indent.
fn unit_within(text: &str) -> String {
    let (_, rest) = text.split_once("/etc/systemd/system/roadstead.service\n    content: |\n").unwrap();
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("      "));
    lines.map(|line| line.trim_start_matches("      ").to_owned() + "\n").collect()
}

#[test]
fn a_script_that_is_rendered_is_one_to_the_shell() {
    let root = short_host();
    let shell = |script: &str| {
        let path = root.path("/script.sh");
        fs::write(&path, script).unwrap();
        let output = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    shell(&rendered(&root, "ethtool", &[]));
    let user_data = rendered(&root, "cloud-init", &[]);
    let (_, rest) = user_data.split_once("/usr/local/sbin/roadstead-install\n    content: |\n").unwrap();
    let script: Vec<&str> =
        rest.lines().take_while(|line| line.starts_with("      ")).map(str::trim_start).collect();
    shell(&script.join("\n"));
    assert!(script.iter().any(|line| line.ends_with("enable --now roadstead.service")), "{script:?}");
}

#[test]
fn an_artefact_for_the_host_names_what_a_container_cannot_see() {
    let root = FakeRoot::stock().into_container();
    root.remove("/proc/sys/net/ipv4/tcp_mem");
    for artefact in ["sysctl", "docker", "kubernetes"] {
        let text = rendered(&root, artefact, &[]);
        let line = text.lines().find(|line| line.contains("net.ipv4.tcp_mem")).unwrap_or_default();
        assert!(line.contains("11250 15000 22500") && line.starts_with('#'), "{artefact}: {text}");
    }
}

#[test]
fn every_artefact_says_what_it_is_for() {
    let root = FakeRoot::stock();
    for artefact in ARTEFACTS {
        assert!(rendered(&root, artefact, &[]).contains("120,000 connections"), "{artefact}");
    }
}
