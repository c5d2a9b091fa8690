//! The files for Docker: a Compose file, the seccomp profile, and the Dockerfile of the image where none is named.

use super::{Assignment, DRAIN_MS, File, STOP_SECONDS};
use crate::{rules, setting::Scene};

/// What is written into a checkout of Roadstead, from which the image is built; or anywhere, if there is an image.
pub fn files(scene: &Scene<'_>, image: Option<&str>) -> Vec<File> {
    let mut files = vec![
        File { name: "compose.yaml", text: compose(scene, image) },
        File { name: "seccomp.json", text: super::seccomp::profile() },
    ];
    if image.is_none() {
        files.push(File { name: "Dockerfile", text: DOCKERFILE.to_owned() });
    }
    files
}

fn compose(scene: &Scene<'_>, image: Option<&str>) -> String {
    let target = scene.goal.target;
    let (inside, outside) = split(scene);
    let nofile = rules::descriptors_for(target);
    let memlock = rules::locked_bytes_for(scene);
    let (usage, source) = match image {
        None => (
            BUILT_USE,
            "    build: {context: ., dockerfile: Dockerfile}\n    image: roadstead:local\n".to_owned(),
        ),
        Some(image) => (NAMED_USE, format!("    image: {image}\n")),
    };
    let mut text = super::heading(scene, "compose.yaml") + usage;
    if !outside.is_empty() {
        text += "#\n# On the host, which a container cannot change (`roadstead tune apply` there does it):\n";
        text += &outside.iter().map(host_line).collect::<String>();
    }
    text += &super::unseen(scene);
    text += &COMPOSE_HEAD.replace("{source}", &source);
    text += &format!(
        "    command: [\"serve\", \"--connections\", \"{target}\", \"--drain-ms\", \"{DRAIN_MS}\"]\n\
         \x20   stop_grace_period: {STOP_SECONDS}s\n\
         \x20   ulimits:\n\
         \x20     nofile: {{soft: {nofile}, hard: {nofile}}}\n\
         \x20     memlock: {{soft: {memlock}, hard: {memlock}}}\n\
         \x20   # Kernel memory of connections is charged here too.\n\
         \x20   mem_limit: {}m\n",
        super::memory_mib(target),
    );
    // An empty mapping would be refused, or read as null.
    let sysctls: Vec<(String, &Assignment)> =
        inside.iter().filter_map(|one| Some((one.sysctl_name()?, one))).collect();
    if !sysctls.is_empty() {
        text += "    # The container's own network; with `network_mode: host` they belong on the host.\n    sysctls:\n";
        for (name, assignment) in sysctls {
            text += &format!("      {name}: \"{}\"\n", assignment.value);
        }
    }
    text + COMPOSE_TAIL
}

/// What a container has of its own, and what is the host's.
pub fn split(scene: &Scene<'_>) -> (Vec<Assignment>, Vec<Assignment>) {
    super::assignments(scene, &[]).into_iter().partition(|assignment| assignment.is_per_namespace)
}

fn host_line(assignment: &Assignment) -> String {
    match assignment.sysctl_name() {
        Some(name) => format!("#   sysctl -w {name}=\"{}\"\n", assignment.value),
        None => format!("#   echo {} > {}\n", assignment.value, assignment.path),
    }
}

const BUILT_USE: &str = "\
# In a checkout of Roadstead, where the image is built from:
#   roadstead tune render docker --out .
#   ROADSTEAD_PUBLISH_KEY=$(openssl rand -hex 32) docker compose up --build --detach
#   curl localhost:8080/channels/news/info; curl localhost:8081/metrics
";
const NAMED_USE: &str = "\
# Beside seccomp.json:
#   ROADSTEAD_PUBLISH_KEY=$(openssl rand -hex 32) docker compose up --detach
#   curl localhost:8080/channels/news/info; curl localhost:8081/metrics
";

const COMPOSE_HEAD: &str = "
name: roadstead
services:
  roadstead:
{source}    restart: unless-stopped
    environment:
      # Every address of the container; what is published below decides who reaches them.
      ROADSTEAD_SERVER__LISTEN: \"0.0.0.0:8080\"
      ROADSTEAD_SERVER__ADMIN: \"0.0.0.0:8081\"
      # Anybody who reaches it may read; `roadstead config print` tells how to say who may.
      ROADSTEAD_READ__OPEN: \"true\"
      # Beyond loopback publishing takes a key.
      ROADSTEAD_PUBLISH__KEYS: \"${ROADSTEAD_PUBLISH_KEY:?set it to a secret of your own}\"
    ports:
      - \"8080:8080\"
      # Metrics and health, for this machine only.
      - \"127.0.0.1:8081:8081\"
    healthcheck:
      test: [\"CMD\", \"bash\", \"-c\", \"exec 3<>/dev/tcp/127.0.0.1/8081 && printf 'GET /readyz HTTP/1.1\\\\r\\\\nHost: a\\\\r\\\\nConnection: close\\\\r\\\\n\\\\r\\\\n' >&3 && head -n 1 <&3 | grep -q 200\"]
      interval: 10s
      timeout: 3s
      retries: 3
      start_period: 10s
";

const COMPOSE_TAIL: &str = "    # Docker's own profile refuses io_uring since version 25; this one allows what the server calls, and nothing else.
    security_opt:
      - \"seccomp:./seccomp.json\"
      - \"no-new-privileges:true\"
    cap_drop: [\"ALL\"]
    read_only: true
";

const DOCKERFILE: &str = "\
# The image of Roadstead, built from this checkout: docker build --tag roadstead:local .
FROM rust:1.88-bookworm AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY bench bench
COPY tuning tuning
COPY tests tests
RUN cargo build --release --locked --package roadstead

FROM debian:bookworm-slim
COPY --from=build /source/target/release/roadstead /usr/local/bin/roadstead
# Nobody in particular: the server needs no file of its own.
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT [\"/usr/local/bin/roadstead\"]
CMD [\"serve\"]
";
