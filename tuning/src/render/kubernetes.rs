//! One manifest for Kubernetes: what each node needs, the server, who may reach it.

use super::{Assignment, DRAIN_MS, STOP_SECONDS};
use crate::{rules, setting::Scene};

/// Sysctls that a kubelet lets a pod set without being told to (since the version in their documentation).
const SAFE: [&str; 10] = [
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Everything, for `kubectl apply --filename`.
pub fn manifest(scene: &Scene<'_>, image: &str) -> String {
    let (inside, outside) = super::docker::split(scene);
    let mut text = super::heading(scene, "kubernetes") + USE;
    text += &notes(scene, &inside);
    text += &super::unseen(scene);
    text += &format!("---\n{PROFILE_HEAD}{}", super::indented(&super::seccomp::profile(), 4));
    text += &format!("---\n{}", node(&outside));
    text += &format!("---\n{}", deployment(scene, image, &inside));
    text + SERVICE
}

/// What only the node's owner can do.
fn notes(scene: &Scene<'_>, inside: &[Assignment]) -> String {
    let nofile = rules::descriptors_for(scene.goal.target);
    let mut text = format!(
        "# Open files cannot be set in a pod: they are those of the container runtime's unit on the node,\n\
         #   systemctl edit containerd   →   [Service] LimitNOFILE={nofile}\n\
         # A quota of CPU stops a shard for the rest of each period: whole CPUs are asked for, and the kubelet's static CPU\n\
         # manager gives them (requests equal to limits).\n"
    );
    let names = inside.iter().filter_map(Assignment::sysctl_name);
    let unsafe_names: Vec<String> = names.filter(|name| !SAFE.contains(&name.as_str())).collect();
    if !unsafe_names.is_empty() {
        text += "# The kubelet lets a pod set only a few sysctls; of these it must be told, or it refuses the pod:\n";
        text += &format!("#   --allowed-unsafe-sysctls={}\n", unsafe_names.join(","));
    }
    text
}

/// A pod on each node that puts the profile where the kubelet looks for it, and raises what is the node's.
fn node(outside: &[Assignment]) -> String {
    let mut script = String::from("install -m 0644 /profile/seccomp.json /seccomp/roadstead.json\n");
    if outside.iter().any(|one| one.only_raises) {
        script += RAISE;
    }
    for assignment in outside {
        script += &match (assignment.sysctl_name(), assignment.only_raises) {
            (Some(name), true) => format!("raise {name} \"{}\"\n", assignment.value),
            (Some(name), false) => format!("sysctl -w \"{name}={}\"\n", assignment.value),
            (None, _) => format!("echo {} > {}\n", assignment.value, assignment.path),
        };
    }
    NODE_HEAD.to_owned() + &super::indented(&script, 10) + NODE_TAIL
}

fn deployment(scene: &Scene<'_>, image: &str, inside: &[Assignment]) -> String {
    let target = scene.goal.target;
    let (cpus, memory_mib) = (scene.facts.cpus, super::memory_mib(target));
    let sysctls = inside.iter().filter_map(|one| Some((one.sysctl_name()?, &one.value)));
    let lines: String =
        sysctls.map(|(name, value)| format!("        - {{name: {name}, value: \"{value}\"}}\n")).collect();
    // An empty list would be null to the parser.
    let sysctls = if lines.is_empty() { String::new() } else { format!("        sysctls:\n{lines}") };
    DEPLOYMENT
        .replace("{image}", image)
        .replace("{target}", &target.to_string())
        .replace("{drain_ms}", &DRAIN_MS.to_string())
        .replace("{stop_seconds}", &STOP_SECONDS.to_string())
        .replace("{cpus}", &cpus.to_string())
        .replace("{memory}", &memory_mib.to_string())
        .replace("{sysctls}", &sysctls)
}

const USE: &str = "\
# Before it, the key that publishing takes; the pod waits for it:
#   kubectl create secret generic roadstead --from-literal=publish-key=$(openssl rand -hex 32)
#   kubectl apply --filename roadstead.yaml
";

const PROFILE_HEAD: &str = "\
# The runtime's own profile refuses io_uring; this one allows what the server calls, and nothing else.
apiVersion: v1
kind: ConfigMap
metadata:
  name: roadstead-seccomp
data:
  seccomp.json: |
";

const RAISE: &str = "\
# What a node has more of stays.
raise() {
  now=$(sysctl -n \"$1\" | awk '{ print $NF }')
  [ \"$now\" -ge \"${2##* }\" ] || sysctl -w \"$1=$2\"
}
";

const NODE_HEAD: &str = "\
# Each node gets the profile below the kubelet's folder, and its own values raised. A pod of the server that comes to a
# node sooner is tried again by the kubelet.
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: roadstead-node
spec:
  selector:
    matchLabels: {app: roadstead-node}
  template:
    metadata:
      labels: {app: roadstead-node}
    spec:
      # The values of the network that belong to the whole kernel are shown in the node's namespace only.
      hostNetwork: true
      automountServiceAccountToken: false
      initContainers:
      - name: prepare
        image: busybox:1.36
        securityContext: {privileged: true}
        command: [\"sh\", \"-ec\"]
        args:
        - |
";

const NODE_TAIL: &str = "        volumeMounts:
        - {name: profile, mountPath: /profile}
        - {name: seccomp, mountPath: /seccomp}
      containers:
      - name: pause
        image: registry.k8s.io/pause:3.10
      volumes:
      - name: profile
        configMap: {name: roadstead-seccomp}
      - name: seccomp
        hostPath: {path: /var/lib/kubelet/seccomp, type: DirectoryOrCreate}
";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: roadstead
spec:
  # Nodes cannot be joined: one pod holds everybody, and a new one takes over from the old.
  replicas: 1
  strategy: {type: Recreate}
  selector:
    matchLabels: {app: roadstead}
  template:
    metadata:
      labels: {app: roadstead}
      annotations: {prometheus.io/scrape: \"true\", prometheus.io/port: \"8081\", prometheus.io/path: /metrics}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {stop_seconds}
      securityContext:
        seccompProfile: {type: Localhost, localhostProfile: roadstead.json}
{sysctls}      containers:
      - name: roadstead
        image: {image}
        args: [\"serve\", \"--connections\", \"{target}\", \"--drain-ms\", \"{drain_ms}\"]
        env:
        - {name: ROADSTEAD_SERVER__LISTEN, value: \"0.0.0.0:8080\"}
        # Probes and metrics come to the pod's address, not to its loopback.
        - {name: ROADSTEAD_SERVER__ADMIN, value: \"0.0.0.0:8081\"}
        # Anybody who reaches it may read; `roadstead config print` tells how to say who may.
        - {name: ROADSTEAD_READ__OPEN, value: \"true\"}
        - name: ROADSTEAD_PUBLISH__KEYS
          valueFrom: {secretKeyRef: {name: roadstead, key: publish-key}}
        ports:
        - {name: clients, containerPort: 8080}
        - {name: admin, containerPort: 8081}
        startupProbe:
          httpGet: {path: /readyz, port: admin}
          periodSeconds: 1
          failureThreshold: 30
        readinessProbe:
          httpGet: {path: /readyz, port: admin}
          periodSeconds: 5
        livenessProbe:
          httpGet: {path: /healthz, port: admin}
          periodSeconds: 10
          failureThreshold: 3
        resources:
          requests: {cpu: \"{cpus}\", memory: {memory}Mi}
          limits: {cpu: \"{cpus}\", memory: {memory}Mi}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          runAsUser: 65532
          capabilities: {drop: [\"ALL\"]}
";

const SERVICE: &str = "\
---
apiVersion: v1
kind: Service
metadata:
  name: roadstead
spec:
  type: LoadBalancer
  # Clients keep their address, and no second node is on the way.
  externalTrafficPolicy: Local
  selector: {app: roadstead}
  ports:
  - {name: clients, port: 80, targetPort: clients}
---
# Who may come: everybody to the clients' port, the cluster to the admin's. The kubelet's probes are always let through.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: roadstead
spec:
  podSelector:
    matchLabels: {app: roadstead}
  policyTypes: [\"Ingress\"]
  ingress:
  - ports: [{protocol: TCP, port: 8080}]
  - from: [{namespaceSelector: {}}]
    ports: [{protocol: TCP, port: 8081}]
";
