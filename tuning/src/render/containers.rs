//! What a container's owner has to set from outside: Docker and Kubernetes.

use super::Assignment;
use crate::{rules, setting::Scene};

/// A command line for Docker, with what must be set on its host before.
pub fn docker(scene: &Scene<'_>) -> String {
    let (inside, outside) = split(scene);
    let nofile = rules::descriptors_for(scene.goal.target);
    let mut text = super::heading(scene, "docker");
    text += "\n# On the host, which a container cannot change (sysctl -w, or a file in /etc/sysctl.d):\n";
    for assignment in &outside {
        text += &comment_line(assignment);
    }
    text += &super::unseen(scene);
    text += "\n# The container has network sysctls of its own. With --network host leave the --sysctl lines out and\n";
    text += "# set them on the host as well.\n";
    text += "docker run --detach --name roadstead \\\n";
    text += &format!("  --ulimit nofile={nofile}:{nofile} \\\n");
    for assignment in &inside {
        if let Some(name) = assignment.sysctl_name() {
            text += &format!("  --sysctl {name}={} \\\n", quoted(&assignment.value));
        }
    }
    text += "  --security-opt seccomp=roadstead-seccomp.json \\\n  --publish 8080:8080 roadstead:latest\n";
    text + SECCOMP_NOTE
}

/// A pod, and what its node needs.
pub fn kubernetes(scene: &Scene<'_>) -> String {
    let (inside, outside) = split(scene);
    let nofile = rules::descriptors_for(scene.goal.target);
    let mut text = super::heading(scene, "kubernetes");
    text += "\n# On the node, before the pod (a DaemonSet of yours, or the node's image):\n";
    for assignment in &outside {
        text += &comment_line(assignment);
    }
    text += &super::unseen(scene);
    let names: Vec<String> = inside.iter().filter_map(Assignment::sysctl_name).collect();
    text += "# The kubelet lets a pod set only a few sysctls; these it must be told of:\n";
    text += &format!("#   --allowed-unsafe-sysctls={}\n", names.join(","));
    text +=
        "# Open files cannot be set in a pod: they are those of the container runtime's unit on the node,\n";
    text += &format!("#   systemctl edit containerd   →   [Service] LimitNOFILE={nofile}\n");
    text += "# A quota of CPU stops a shard for the rest of each period: ask for whole CPUs, and let the kubelet's\n";
    text += "# static CPU manager give them (requests equal to limits).\n";
    text += POD_HEAD;
    for assignment in &inside {
        if let Some(name) = assignment.sysctl_name() {
            text += &format!("      - name: {name}\n        value: \"{}\"\n", assignment.value);
        }
    }
    text + &pod_tail(scene.facts.cpus, super::memory_mib(scene.goal.target))
}

fn split(scene: &Scene<'_>) -> (Vec<Assignment>, Vec<Assignment>) {
    super::assignments(scene, &[]).into_iter().partition(|assignment| assignment.is_per_namespace)
}

fn comment_line(assignment: &Assignment) -> String {
    match assignment.sysctl_name() {
        Some(name) => format!("#   {name} = {}\n", assignment.value),
        None => format!("#   echo {} > {}\n", assignment.value, assignment.path),
    }
}

fn quoted(value: &str) -> String {
    if value.contains(' ') { format!("\"{value}\"") } else { value.to_owned() }
}

const SECCOMP_NOTE: &str = "
# roadstead-seccomp.json is Docker's default profile (moby: profiles/seccomp/default.json) with one more rule:
#   { \"names\": [\"io_uring_setup\", \"io_uring_enter\", \"io_uring_register\"], \"action\": \"SCMP_ACT_ALLOW\" }
# Docker's own profile refuses these since version 25; `seccomp=unconfined` would allow everything else too.
";

const POD_HEAD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: roadstead
spec:
  securityContext:
    seccompProfile:
      # The runtime's default refuses io_uring; this file lies below /var/lib/kubelet/seccomp of the node.
      type: Localhost
      localhostProfile: roadstead-seccomp.json
    sysctls:
";

fn pod_tail(cpus: u32, memory_mib: u64) -> String {
    format!(
        "  containers:\n\
         \x20 - name: roadstead\n\
         \x20   image: roadstead:latest\n\
         \x20   args: [\"serve\"]\n\
         \x20   ports: [{{containerPort: 8080}}]\n\
         \x20   resources:\n\
         \x20     requests: {{cpu: \"{cpus}\", memory: {memory_mib}Mi}}\n\
         \x20     limits: {{cpu: \"{cpus}\", memory: {memory_mib}Mi}}\n\
         \x20   securityContext:\n\
         \x20     allowPrivilegeEscalation: false\n\
         \x20     readOnlyRootFilesystem: true\n\
         \x20     runAsNonRoot: true\n\
         \x20     runAsUser: 65532\n\
         \x20     capabilities: {{drop: [ALL]}}\n"
    )
}
