"""Which servers there are, where they live and how each is started.

Owns: the peers' virtual environment (one of them has our package's name, so they never share ours) and a
command line for each server and each wish. A wish that a server cannot be told is None: "no feature".
Must not: start anything but pip, or measure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import HOST

REQUIREMENTS = [
    "uvicorn[standard]==0.54.*",
    "gunicorn==27.*",
    "granian==2.8.*",
    "hypercorn==0.18.*",
    "uvloop",
    "httptools",
    "fastapi",
]
OPTIONAL = ["fastpysgi==0.6.*", "socketify", "wsproto", "zttp", "h2corn==2.0.*", "peregrine-server==1.2.*"]


@dataclass(frozen=True)
class Wish:
    """How a server is to be started. `pure` is the parser and the loop that are written in Python; `supervise` asks for
    a master although there is one worker; `jitter` is at most added to `max_requests`, at random; `certificate` are the
    files of a certificate and its key.
    """

    app: str
    port: int
    workers: int = 1
    access_log: bool = False
    pure: bool = False
    hang_limit: int | None = None
    max_requests: int | None = None
    jitter: int | None = None
    supervise: bool = False
    http2: bool = False
    certificate: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Peer:
    """One server in one environment."""

    name: str
    package: str
    python: Path
    build: Callable[[Path, Wish], list[str] | None] = field(repr=False)

    def command(self, wish: Wish) -> list[str] | None:
        return self.build(self.python, wish)

    def env(self, app_dir: Path) -> dict[str, str]:
        """Peers must not see this checkout on their path: it holds a package that has one peer's name."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("UVICORN_", "GRANIAN_"))}
        for key in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"):
            env.pop(key, None)
        inherited = env.pop("PYTHONPATH", "") if self.name == "ours" else ""
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(app_dir), inherited]))
        return env

    def version(self, cwd: Path, module: str = "") -> str | None:
        """What is really going to run: the module's own version and the interpreter's, or None if it is
        missing.
        """
        module = module or self.package
        code = (
            f"import {module} as m, importlib.metadata as d, platform\n"
            f"v = getattr(m, '__version__', None) or d.version({module!r})\n"
            "print(v, platform.python_implementation(), platform.python_version())"
        )
        done = subprocess.run(
            [self.python, "-c", code], cwd=cwd, env=self.env(cwd), capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip() if done.returncode == 0 else None


def build_uvicorn(python: Path, wish: Wish) -> list[str] | None:
    """Ours and the package it replaces: the same command line."""
    command = [str(python), "-m", "uvicorn", wish.app, "--host", HOST, "--port", str(wish.port)]
    command += ["--workers", str(wish.workers)]
    command += ["--loop", "asyncio", "--http", "h11"] if wish.pure else ["--loop", "uvloop", "--http", "httptools"]
    command += ["--http2"] if wish.http2 else []  # an unknown option to the other one
    command += with_certificate(wish, "--ssl-certfile", "--ssl-keyfile")
    command += ["--access-log" if wish.access_log else "--no-access-log"]
    if wish.hang_limit is not None:
        command += ["--timeout-worker-healthcheck", str(wish.hang_limit)]
    if wish.max_requests is not None:
        command += ["--limit-max-requests", str(wish.max_requests)]
    if wish.jitter is not None:
        command += ["--limit-max-requests-jitter", str(wish.jitter)]
    if wish.supervise:
        command += ["--supervise"]  # an unknown option to the other one, which then ends with status 2
    return [*command, *wish.extra]


def with_certificate(wish: Wish, *options: str) -> list[str]:
    return [part for pair in zip(options, wish.certificate, strict=False) for part in pair]


def build_zttp(python: Path, wish: Wish) -> list[str] | None:
    """The package we replace, with the parser that gives it HTTP/2."""
    command = [str(python), "-m", "uvicorn", wish.app, "--host", HOST, "--port", str(wish.port), "--loop", "uvloop"]
    command += ["--http", "zttp", *(["--http2"] if wish.http2 else []), "--no-access-log"]
    return [*command, *with_certificate(wish, "--ssl-certfile", "--ssl-keyfile"), *wish.extra]


def build_h2corn(python: Path, wish: Wish) -> list[str] | None:
    command = [str(python.parent / "h2corn"), wish.app, "--port", str(wish.port), "--workers", "1", "--no-access-log"]
    return [*command, *with_certificate(wish, "--certfile", "--keyfile"), *wish.extra]


def build_peregrine(python: Path, wish: Wish) -> list[str] | None:
    command = [str(python.parent / "peregrine"), "--port", str(wish.port), "--workers", "1", "--python-path", "."]
    return [*command, *with_certificate(wish, "--tls-cert", "--tls-key"), *wish.extra, wish.app]


def build_gunicorn(python: Path, wish: Wish) -> list[str] | None:
    if wish.pure:
        return None
    command = [str(python), "-m", "gunicorn", wish.app, "-k", "asgi", "--asgi-loop", "uvloop"]
    command += ["-b", f"{HOST}:{wish.port}", "-w", str(wish.workers)]
    if wish.access_log:
        command += ["--access-logfile", "-"]
    if wish.hang_limit is not None:
        command += ["--timeout", str(wish.hang_limit)]
    if wish.max_requests is not None:
        command += ["--max-requests", str(wish.max_requests)]
    if wish.jitter is not None:
        command += ["--max-requests-jitter", str(wish.jitter)]
    return [*command, *wish.extra]


def build_granian(python: Path, wish: Wish) -> list[str] | None:
    if wish.pure or wish.hang_limit is not None or wish.max_requests is not None:
        return None
    command = [str(python.parent / "granian"), wish.app, "--interface", "asgi", "--loop", "uvloop"]
    command += ["--http", "auto" if wish.http2 else "1", *(["--no-ws"] if wish.http2 else [])]
    command += with_certificate(wish, "--ssl-certificate", "--ssl-keyfile")
    command += ["--host", HOST, "--port", str(wish.port), "--workers", str(wish.workers)]
    command += ["--respawn-failed-workers", "--access-log" if wish.access_log else "--no-access-log"]
    return [*command, *wish.extra]


def build_hypercorn(python: Path, wish: Wish) -> list[str] | None:
    if wish.hang_limit is not None:
        return None
    command = [str(python), "-m", "hypercorn", wish.app, "-k", "asyncio" if wish.pure else "uvloop"]
    command += ["-b", f"{HOST}:{wish.port}", "-w", str(wish.workers)]
    command += with_certificate(wish, "--certfile", "--keyfile")
    if wish.access_log:
        command += ["--access-logfile", "-"]
    if wish.max_requests is not None:
        command += ["--max-requests", str(wish.max_requests)]
    if wish.jitter is not None:
        command += ["--max-requests-jitter", str(wish.jitter)]
    return [*command, *wish.extra]


def build_fastpysgi(python: Path, wish: Wish) -> list[str] | None:
    if wish.pure or wish.workers > 1 or wish.access_log or wish.hang_limit or wish.max_requests or wish.extra:
        return None
    module, _, attribute = wish.app.partition(":")
    code = f"import fastpysgi, {module} as m; fastpysgi.run(m.{attribute}, host={HOST!r}, port={wish.port})"
    return [str(python), "-c", code]


def build_socketify(python: Path, wish: Wish) -> list[str] | None:
    if wish.pure or wish.workers > 1 or wish.access_log or wish.hang_limit or wish.max_requests:
        return None
    command = [str(python), "-m", "socketify", wish.app, "--interface", "asgi", "--ws-per-message-deflate", "true"]
    return [*command, "--host", HOST, "--port", str(wish.port), *wish.extra]


BUILDERS: dict[str, tuple[str, Callable[[Path, Wish], list[str] | None]]] = {
    "ours": ("uvicorn", build_uvicorn),
    "uvicorn": ("uvicorn", build_uvicorn),
    "gunicorn": ("gunicorn", build_gunicorn),
    "granian": ("granian", build_granian),
    "hypercorn": ("hypercorn", build_hypercorn),
    "fastpysgi": ("fastpysgi", build_fastpysgi),
    "socketify": ("socketify", build_socketify),
    "zttp": ("zttp", build_zttp),
    "h2corn": ("h2corn", build_h2corn),
    "peregrine": ("peregrine", build_peregrine),
}


def default_env() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    tag = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return Path(cache) / "uvicorn-benchmarks" / tag


def make_env(path: Path) -> Path:
    """Creates the environment once, with the interpreter that runs this program."""
    done = path / "complete"
    wanted = "\n".join(REQUIREMENTS + OPTIONAL)
    if not done.exists() or done.read_text() != wanted:
        print(f"making the peers' environment in {path}", file=sys.stderr)
        venv.create(path, with_pip=True, clear=True)
        pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        for name in OPTIONAL:
            subprocess.run([*pip, name], check=False)  # a peer that cannot be built here is left out
        done.write_text(wanted)
    return path


def find(names: Iterable[str], *, ours: Path, peers_env: Path | None) -> list[Peer]:
    """The servers by name, the peers' environment made first if it is needed and none was given."""
    chosen = list(names)
    for name in chosen:
        if name not in BUILDERS:
            raise SystemExit(f"no server {name!r}; there are {', '.join(BUILDERS)}")
    if peers_env is None and set(chosen) != {"ours"}:
        peers_env = make_env(default_env())
    found = []
    for name in chosen:
        package, build = BUILDERS[name]
        python = ours if name == "ours" or peers_env is None else peers_env / "bin" / "python"
        found.append(Peer(name, package, python.absolute(), build))
    return found


def present(peers: Iterable[Peer], cwd: Path) -> list[Peer]:
    """Those that are installed; says on stderr which version of each will run and which are left out."""
    there = []
    versions: dict[str, str] = {}
    for peer in peers:
        version = peer.version(cwd)
        if version is None:
            print(f"{peer.name}: not installed, left out", file=sys.stderr)
        else:
            print(f"{peer.name}: {version}", file=sys.stderr)
            there.append(peer)
            versions[peer.name] = version
    if "ours" in versions and versions["ours"] == versions.get("uvicorn"):
        raise SystemExit("--ours names an interpreter that has the other package of that name")
    return there
