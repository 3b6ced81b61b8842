# Sourced by the scripts beside it (POSIX sh): finding an interpreter, and the virtual environments in the checkout.
#
# The interpreter is $PYTHON, or the first that fits of: python3, python3.X on PATH, what pyenv has. Fails by one
# sentence on standard error and exit code 1.

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# describe COMMAND: "3.13 /path/of/it", or nothing if this is no CPython from 3.10 on (a pyenv shim may be an empty promise).
describe() {
    "$1" -c '
import sys
if sys.version_info >= (3, 10) and sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final":
    print("%d.%d" % sys.version_info[:2], sys.executable)
' 2>/dev/null </dev/null || true
}

# interpreters: a line "3.13 /path/of/it" for each that is found, the preferred first.
interpreters() {
    if [ -n "${PYTHON:-}" ]; then
        describe "$PYTHON"
        return
    fi
    for minor in '' .19 .18 .17 .16 .15 .14 .13 .12 .11 .10; do
        if command -v "python3$minor" >/dev/null; then describe "python3$minor"; fi
    done
    if command -v pyenv >/dev/null; then
        for python in "$(pyenv root)"/versions/3.*/bin/python3; do
            if [ -x "$python" ]; then describe "$python"; fi
        done
    fi
}

# find_python: sets $python and $version.
find_python() {
    found=$(interpreters | head -n 1)
    if [ -z "$found" ] && [ -n "${PYTHON:-}" ]; then die "PYTHON=$PYTHON is not a CPython from 3.10 on."; fi
    if [ -z "$found" ]; then die "no CPython from 3.10 on was found: install python3, or name one with PYTHON=…"; fi
    version=${found%% *}
    python=${found#* }
    "$python" -c 'import ensurepip, venv' 2>/dev/null || die "the venv module of Python $version is missing." \
        "On Debian and Ubuntu: apt install python$version-venv (or python3-venv)."
}

# make_environment DIRECTORY COMMAND…: a virtual environment, filled by COMMAND (which finds it in $environment).
# Both are skipped while the interpreter, the place, the script and the project's settings are those it was made with.
make_environment() {
    environment=$PWD/$1
    shift
    made_by="$environment $python $("$python" -VV | tr '\n' ' ')"
    made_from="$made_by $(cat setup.cfg pyproject.toml "scripts/${0##*/}" | cksum)"
    if [ "$(cat "$environment/made-from" 2>/dev/null)" = "$made_from" ]; then return; fi
    say "Making ${environment##*/} with $python …"
    case "$(cat "$environment/made-from" 2>/dev/null)" in
        "$made_by "*) rm "$environment/made-from" ;;  # the same interpreter: install on top of what is there
        *) "$python" -m venv --clear "$environment" ;;
    esac
    "$@"
    printf '%s\n' "$made_from" >"$environment/made-from"
}

# install REQUIREMENT…: into $environment.
install() {
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}
