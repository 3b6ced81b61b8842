"""What people type who come from another server: its options and its ways to name an application, in our words. Pure.

The options are those of gunicorn, hypercorn, daphne and granian, and a few that old tutorials have; docs/moving.md says
more of each. Owns: the sentences. Must not: accept anything; a wrong form stays an error. Fails by: nothing.
"""

from __future__ import annotations

import re

_USE = {
    "--host": "--address --addr --listen -H",
    "--port": "-P",
    "--uds": "--unix-socket --socket -u",
    "--fd": "--file-descriptor",
    "--workers": "-w --processes --num-workers --worker-count",
    "--config": "-c",
    "--reload": "-r",
    "--reload-dir": "--reload-paths --watch",
    "--reload-include": "--reload-extra-file",
    "--reload-exclude": "--reload-ignore-dirs --reload-ignore-patterns --reload-ignore-paths",
    "--app-dir": "--chdir --pythonpath --working-dir",
    "--env-file": "-e --env --env-files --dotenv",
    "--pid": "--pid-file --pidfile",
    "--loop": "--asgi-loop",
    "--lifespan": "--asgi-lifespan",
    "--http": "--http-parser",
    "--root-path": "--url-path-prefix --mount --prefix",
    "--timeout-worker-healthcheck": "-t --timeout",
    "--timeout-graceful-shutdown": "--graceful-timeout --workers-kill-timeout --shutdown-timeout",
    "--timeout-keep-alive": "--keep-alive --keepalive --keep-alive-timeout",
    "--timeout-request-header": "--websocket_connect_timeout",
    "--timeout-request-body": "--read-timeout",
    "--limit-max-requests": "--max-requests",
    "--limit-max-requests-jitter": "--max-requests-jitter",
    "--limit-concurrency": "--worker-connections --backpressure",
    "--limit-worker-lifetime": "--workers-lifetime",
    "--limit-worker-memory": "--workers-max-rss",
    "--limit-request-headers": "--limit-request-field_size",
    "--ws none": "--no-ws",
    "--ws-max-size": "--websocket-max-message-size --websocket-max-frame-size",
    "--ws-ping-interval": "--websocket-ping-interval --ping-interval",
    "--ws-ping-timeout": "--ping-timeout",
    "--access-log-file": "--access-logfile",
    "--access-log-format": "--access-logformat --access-log-fmt",
    "--log-file": "--error-logfile --error-log",
    "--log-level": "-l --loglevel --verbosity -v",
    "--log-level debug": "--debug",
    "--log-level trace": "--spew",
    "--log-level critical": "--no-log",
    "--log-config": "--log-config-json --log-fmt --logger-class --log-syslog --log-syslog-to --log-syslog-prefix"
    " --log-syslog-facility --disable-redirect-access-to-syslog",
    "--forwarded-allow-ips": "--proxy-allow-from --trusted-hosts",
    "--ssl-certfile": "--certfile --cert --ssl-certificate",
    "--ssl-keyfile": "--keyfile --key",
    "--ssl-keyfile-password": "--keyfile-password",
    "--ssl-ca-certs": "--ca-certs --ssl-ca",
    "--ssl-cert-reqs": "--cert-reqs --verify-mode",
    "--ssl-ciphers": "--ciphers",
    "--ssl-certfile and --ssl-keyfile": "--endpoint",
    "--no-server-header": "--no-server-name",
    "--header Server:NAME": "--server-name",
    "--factory": "--paste --paster --paste-global",
    "--port PORT, or --pid FILE": "-p",
    "--help": "-h -?",
    "--version": "-V",
}
"""Our words, and whose they take the place of."""

_BARE = ("--reload", "--factory", "--no-server-header", "--help", "--version")
"""Those of ours that take no value."""

_LEAVE = {
    "there is one kind of worker. WSGI is --interface wsgi, an event loop --loop": "-k --worker-class --runtime-mode",
    "a worker is one event loop, and --workers starts several": "--threads --runtime-threads --blocking-threads",
    "a service manager does that: see docs/deployment.md": "-D --daemon --user --group -g --umask -m --initgroups",
    "the master never imports the application, so that a reload serves new code": "--preload --preload-app",
    "it needs no such option": "--reload-engine --reuse-port --no-sendfile --suppress-ragged-eofs --worker-tmp-dir"
    " --do-handshake-on-connect --respawn-failed-workers --task-impl -n --name --process-name",
    "how long a request or a WebSocket takes is for the application to say": "--http-timeout --websocket_timeout"
    " --application-close-timeout --asgi-disconnect-grace-period",
    "it speaks HTTP/1.1 alone": "--insecure-bind --quic-bind --http-protocols --http2-cleartext --protocol"
    " --http2-max-concurrent-streams --http2-initial-window-size --http2-max-frame-size --http2-max-header-list-size"
    " --uwsgi-allow-from",
    "such requests are refused": "--permit-obsolete-folding --strip-header-spaces --permit-unconventional-http-method"
    " --permit-unconventional-http-version --casefold-http-method",
    "the fields of a proxy are named by --forwarded-headers": "--proxy-headers-host --proxy-headers-port"
    " --forwarder-headers --header-map",
    "a middleware can do that": "--statsd-host --statsd-prefix --dogstatsd-tags --enable-backlog-metric",
    "what the application prints goes to the standard streams": "--capture-output -R --enable-stdio-inheritance",
    "a task queue does that": "--dirty-app --dirty-workers --dirty-timeout --dirty-threads --dirty-graceful-timeout",
    "signals do that": "--control-socket --control-socket-mode --no-control-socket",
}
"""Why an option has no place here, and which ones."""


def option(name: str, value: str = "") -> str:
    """What to type instead of another server's option, in a sentence; "" for an unknown one."""
    if name in ("-b", "--bind"):
        return f"There is no option {name}. Use {_bind(value)}."
    for ours, theirs in _USE.items():
        if name in theirs.split():
            takes = value and " " not in ours and ours not in _BARE and not value.startswith("-")
            return f"There is no option {name}. Use {ours}{f' {value}' if takes else ''}."
    for reason, theirs in _LEAVE.items():
        if name in theirs.split():
            return f"There is no option {name}. Leave it out: {reason}."
    return ""


def _bind(value: str) -> str:
    """Where another server listens (`host:port`, `unix:path`, `fd://3`), as our options."""
    if found := re.fullmatch(r"unix:(?://)?(.+)", value):
        return f"--uds {found[1]}"
    if found := re.fullmatch(r"fd://(\d+)", value):
        return f"--fd {found[1]}"
    if found := re.fullmatch(r"\[?(.*?)\]?:(\d+)", value):
        return f"--host {found[1]} --port {found[2]}" if found[1] else f"--port {found[2]}"
    return f"--host {value}" if value and not value.startswith("-") else "--host HOST --port PORT"


def application(text: str) -> str:
    """How to name an application that was named by its file or by a call, in a sentence; "" for any other text."""
    path, colon, attribute = text.replace("\\", "/").rpartition(":")
    if not colon or "/" in attribute:
        path, attribute = text.replace("\\", "/"), ""
    call = re.fullmatch(r"([\w.]+)\(.*\)", attribute)
    if not (path.endswith(".py") or "/" in path):
        return (
            f"A function that returns the application is named without a call, with --factory: {path}:{call[1]}."
            if call
            else ""
        )
    folder, name = "", path.removesuffix(".py").removeprefix("./").strip("/") or "app"
    if path.startswith(("/", "../", "~")) or re.match(r"\w:/", path):
        folder, _, name = path.removesuffix(".py").rpartition("/")
        folder = f" with --app-dir {folder or '/'}"
    name = name.removesuffix("/__init__").replace("/", ".")
    return (
        f"A module is named as in an import, not by its file: {name}:{call[1] if call else attribute or 'app'}{folder}."
    )
