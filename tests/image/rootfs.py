"""Makes the root of an image from its Dockerfile, and runs containers of it, without a container engine.

It takes root on Debian. mmdebstrap stands for the image `debian:RELEASE-slim`, unshare and chroot stand for
the engine.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.image.dockerfile import Stage, Step

TOOLS = ("mmdebstrap", "unshare", "nsenter", "setpriv")
OF_PIP = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Variables of this machine that say where packages come from; the image's own steps name no place."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PREPARE = """
set -e
mount --make-rprivate /
mount --bind {root} {root}
mkdir -p {root}/proc {root}/dev {root}/tmp
mount -t proc proc {root}/proc
mount -t tmpfs tmpfs {root}/dev
for device in null zero full random urandom; do
  touch {root}/dev/$device; mount --bind /dev/$device {root}/dev/$device
done
mkdir {root}/dev/shm; chmod 1777 {root}/dev/shm
ln -s /proc/self/fd {root}/dev/fd
"""
UNPRIVILEGED = (
    "setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
)


class Container:
    """A process of an image, as process 1 of its own namespace, with a root that nobody can write to."""

    def __init__(self, process: subprocess.Popen[str], stage: Stage, given: Mapping[str, str]) -> None:
        self._process = process
        self._stage = stage
        self._environment = {**stage.environment, **given}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Another process in the container, as its user; it fails before the container is there."""
        enter = [
            "nsenter",
            f"--target={self._first()}",
            "--mount",
            "--pid",
            "--root",
            f"--wd={self._stage.directory}",
        ]
        inner = [*shlex.split(UNPRIVILEGED.format(user=self._stage.user)), *command]
        return subprocess.run(
            [*enter, *inner], env=self._environment, capture_output=True, text=True, check=False, timeout=60
        )

    def terminate(self) -> None:
        os.kill(self._first(), signal.SIGTERM)

    def wait(self) -> tuple[int, str]:
        """Its exit code, and what it wrote."""
        written, _ = self._process.communicate(timeout=60)
        return self._process.returncode, written

    def _first(self) -> int:
        """Process 1, by its number on this machine; 0 before it is there."""
        number = self._process.pid
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return int(children[0]) if children else 0


def build(stages: Sequence[Stage], context: Path, into: Path, images: Mapping[str, Path] = {}) -> Path:
    """Do what the stages say, each in a root of its own; the last one's root."""
    roots, debians = dict(images), dict[str, Path]()
    for number, stage in enumerate(stages):
        root = into / f"{number}"
        if stage.base not in roots | debians:
            debians[stage.base] = into / "debian"
            _debian(stage.base, debians[stage.base])
        subprocess.run(["cp", "-a", (roots | debians)[stage.base], root], check=True)
        for step in stage.steps:
            print(f"{step.keyword} {step.text[:100]}", flush=True)  # noqa: T201 - who asked for it waits for it
            if step.keyword == "RUN":
                _run(step, root)
            else:
                _copy(step, context, root, roots)
        roots[stage.name] = root
    return root


@contextmanager
def running(
    root: Path, stage: Stage, argv: Sequence[str], *, given: Mapping[str, str], volumes: Mapping[str, Path]
) -> Iterator[Container]:
    """Run a container. Its /tmp is its own; `volumes` are mounted to be written to, by their paths in it."""
    script = PREPARE.format(root=root) + f"mount -t tmpfs tmpfs {root}/tmp\n"  # noqa: S108 - the container's
    for path, volume in volumes.items():
        script += f"mkdir -p {root}{path}; mount --bind {volume} {root}{path}\n"
    script += f"mount -o remount,bind,ro {root} {root}\n"
    inner = [*shlex.split(UNPRIVILEGED.format(user=stage.user)), *stage.entry, *argv]
    environment = {**stage.environment, **given}
    script += f"exec chroot {root} {shlex.join([*_clean(environment, stage.directory), *inner])}\n"
    command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Container(process, stage, given)
        finally:
            process.kill()


def _debian(image: str, root: Path) -> None:
    """What `debian:RELEASE-slim` is: packages of priority required, and apt."""
    release = image.removeprefix("debian:").removesuffix("-slim")
    assert image == f"debian:{release}-slim", image
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"]
    asked = subprocess.run(targets, capture_output=True, text=True, check=True)
    mirrors = [line for line in asked.stdout.splitlines() if "security" not in line][:1]
    options = ('Acquire::Check-Valid-Until "false"', 'Acquire::Retries "3"')
    apt = [f"--aptopt={option}" for option in options]
    make: list[str | Path] = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        *apt,
        release,
        root,
        *mirrors,
    ]
    subprocess.run(make, check=True)


def _run(step: Step, root: Path) -> None:
    passed = {name: value for name, value in os.environ.items() if name.upper().startswith(OF_PIP)}
    environment = {"PATH": PATH, **passed, **step.environment}
    script = PREPARE.format(root=root)
    # Copies: a step may write to what it finds, and nothing of this machine may change.
    script += f"mount -t tmpfs tmpfs {root}/run; cp /etc/resolv.conf {root}/etc/resolv.conf\n"
    if passed.get("PIP_CERT"):
        script += f"cp {passed['PIP_CERT']} {root}/run/ca.crt\n"
        environment["PIP_CERT"] = "/run/ca.crt"
    as_user = [] if step.user in ("0", "root") else shlex.split(UNPRIVILEGED.format(user=step.user))
    words = [*_clean(environment, step.directory), *as_user, "/bin/sh", "-c", step.command]
    script += f"mkdir -p {root}{step.directory}\nexec chroot {root} {shlex.join(words)}\n"
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _clean(environment: Mapping[str, str], directory: str) -> list[str]:
    """Begins a command that has this environment alone, and starts there."""
    return ["env", f"--chdir={directory}", "-i", *(f"{name}={value}" for name, value in environment.items())]


def _copy(step: Step, context: Path, root: Path, roots: Mapping[str, Path]) -> None:
    stage, sources, target = step.copied
    at = root / (Path(step.directory) / target).as_posix().lstrip("/")
    several = target.endswith("/") or target == "." or len(sources) > 1
    for source in sources:
        found = (roots[stage] / source.lstrip("/")) if stage is not None else context / source
        assert stage is not None or not ignored(context, source), f"{source} is in .dockerignore"
        into = at / found.name if several and not found.is_dir() else at
        into.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            subprocess.run(["cp", "-aT", found, into], check=True)
        else:
            shutil.copy2(found, into)


def ignored(context: Path, name: str) -> bool:
    """Whether .dockerignore keeps a file or folder at the top of the context away from the engine."""
    answer = False
    path = context / ".dockerignore"
    for line in path.read_text().splitlines() if path.exists() else ():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and fnmatch.fnmatch(name, pattern):
            answer = not line.startswith("!")
    return answer
