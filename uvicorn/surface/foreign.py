"""Options and application names of other servers, and what to use here instead. Pure.

The options are those of gunicorn, hypercorn, daphne and granian, and a few from old tutorials; docs/moving.md has more
on each. Owns: the sentences. Must not: accept such an option; it stays an error. Fails by: nothing.
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
    "--http2": "--http-protocols --http2-cleartext",
    "--http2-stream-window": "--http2-initial-window-size --http2-initial-stream-window-size",
    "--root-path": "--url-path-prefix --mount --prefix",
    "--timeout-worker-healthcheck": "-t --timeout",
    "--timeout-graceful-shutdown": "--graceful-timeout --workers-kill-timeout --shutdown-timeout",
    "--timeout-keep-alive": "--keep-alive --keepalive --keep-alive-timeout",
    "--timeout-keep-alive SECONDS": "--http1-keep-alive --no-http1-keep-alive",
    "--timeout-request-header": "--websocket_connect_timeout",
    "--timeout-request-header SECONDS": "--http1-header-read-timeout",
    "--timeout-request-body": "--read-timeout",
    "--limit-max-requests": "--max-requests",
    "--limit-max-requests-jitter": "--max-requests-jitter",
    "--limit-concurrency": "--worker-connections --backpressure",
    "--limit-worker-lifetime": "--workers-lifetime",
    "--limit-worker-memory": "--workers-max-rss",
    "--limit-worker-memory SIZE": "--rss-sample-interval --rss-samples",
    "--limit-request-headers": "--limit-request-field_size --http2-max-header-list-size --http2-max-headers-size",
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
    "--ssl-cert-reqs 2": "--ssl-client-verify",
    "--ssl-ciphers": "--ciphers",
    "--ssl-certfile and --ssl-keyfile": "--endpoint",
    "--no-server-header": "--no-server-name",
    "--header Server:NAME": "--server-name",
    "--factory": "--paste --paster --paste-global",
    "--port PORT, or --pid FILE": "-p",
    "--help": "-h -?",
    "--version": "-V",
}
"""Our options, and the options of other servers that they replace."""

_BARE = ("--reload", "--factory", "--http2", "--no-server-header", "--help", "--version")
"""Our options that take no value."""

_LEAVE = {
    "there is one kind of worker. For WSGI use --interface wsgi, for an event loop --loop": "-k --worker-class"
    " --runtime-mode",
    "each worker runs one event loop; --workers starts several workers": "--threads --runtime-threads"
    " --blocking-threads --blocking-threads-idle-timeout --runtime-blocking-threads",
    "a service manager does that (docs/deployment.md)": "-D --daemon --user --group -g --umask -m --initgroups"
    " --uds-permissions",
    "the master never imports the application, so a reload serves new code": "--preload --preload-app",
    "this server does not need it": "--reload-engine --reuse-port --no-sendfile --suppress-ragged-eofs --worker-tmp-dir"
    " --http2-max-frame-size --http2-initial-connection-window-size --http2-adaptive-window"
    " --http2-max-send-buffer-size --http1-buffer-size --http1-pipeline-flush --do-handshake-on-connect"
    " --respawn-failed-workers --respawn-interval --task-impl -n --name --process-name --log --reload-tick"
    " --reload-ignore-worker-failure",
    "it is off without the option that switches it on": "--no-reload --no-factory --no-metrics --no-ssl-client-verify"
    " --no-http1-pipeline-flush --no-http2-adaptive-window --no-reload-ignore-worker-failure"
    " --no-respawn-failed-workers",
    "an idle HTTP/2 connection is closed after --timeout-keep-alive": "--http2-keep-alive-interval"
    " --http2-keep-alive-timeout",
    "serve files in a proxy or in the application": "--static-path-route --static-path-mount"
    " --static-path-dir-to-file --static-path-expires",
    "TLS is version 1.2 at least; a program's ssl_context_factory can change its context": "--ssl-crl"
    " --ssl-protocol-min",
    "the application decides how long a request or a WebSocket may take": "--http-timeout --websocket_timeout"
    " --application-close-timeout --asgi-disconnect-grace-period",
    "this server supports HTTP/1.1 and HTTP/2 over TCP and Unix sockets": "--quic-bind --protocol --uwsgi-allow-from",
    "redirect to HTTPS in a proxy": "--insecure-bind",
    "such requests are always rejected": "--permit-obsolete-folding --strip-header-spaces --casefold-http-method"
    " --permit-unconventional-http-method --permit-unconventional-http-version",
    "--forwarded-headers names the headers of a proxy": "--proxy-headers-host --proxy-headers-port"
    " --forwarder-headers --header-map",
    "use a middleware for that": "--statsd-host --statsd-prefix --dogstatsd-tags --enable-backlog-metric --metrics"
    " --metrics-address --metrics-port --metrics-scrape-interval",
    "the application's output goes to standard output and standard error": "--capture-output -R"
    " --enable-stdio-inheritance",
    "use a task queue for that": "--dirty-app --dirty-workers --dirty-timeout --dirty-threads --dirty-graceful-timeout",
    "the master is controlled by signals": "--control-socket --control-socket-mode --no-control-socket",
}
"""Why there is no such option here, and which options that is about."""


def option(name: str, value: str = "") -> str:
    """A sentence that says what to use instead of another server's option; "" for an unknown option."""
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
    """Our options for an address as other servers write it (`host:port`, `unix:path`, `fd://3`)."""
    if found := re.fullmatch(r"unix:(?://)?(.+)", value):
        return f"--uds {found[1]}"
    if found := re.fullmatch(r"fd://(\d+)", value):
        return f"--fd {found[1]}"
    if found := re.fullmatch(r"\[?(.*?)\]?:(\d+)", value):
        return f"--host {found[1]} --port {found[2]}" if found[1] else f"--port {found[2]}"
    return f"--host {value}" if value and not value.startswith("-") else "--host HOST --port PORT"


def application(text: str) -> str:
    """A sentence on how to name an application that was named by its file or by a call; "" for any other text."""
    path, colon, attribute = text.replace("\\", "/").rpartition(":")
    if not colon or "/" in attribute:
        path, attribute = text.replace("\\", "/"), ""
    call = re.fullmatch(r"([\w.]+)\(.*\)", attribute)
    if not (path.endswith(".py") or "/" in path):
        return f"Name the function without parentheses and add --factory: {path}:{call[1]}." if call else ""
    folder, name = "", path.removesuffix(".py").removeprefix("./").strip("/") or "app"
    if path.startswith(("/", "../", "~")) or re.match(r"\w:/", path):
        folder, _, name = path.removesuffix(".py").rpartition("/")
        folder = f" with --app-dir {folder or '/'}"
    name = name.removesuffix("/__init__").replace("/", ".")
    return (
        f"Name the module as in an import, not by its file: {name}:{call[1] if call else attribute or 'app'}{folder}."
    )
