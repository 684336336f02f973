#!/bin/sh
# Creates .venv from requirements.lock, or brings it up to date; with --clean removes it. make calls
# it.
#
#   stamp right            nothing to do, no network
#   stamp of another lock  the packages are brought in line with requirements.lock
#   no stamp, moved, dead  .venv is incomplete or broken: it is built again
#
# The stamp is written last. A lock makes set-ups wait for each other; the end of its process frees
# it.
set -eu
umask go-w # no other user may put code into .venv, whatever the caller's umask is

OLDEST='3.11'
ROOT=$(cd "$(dirname "$0")/../.." && pwd -P)
VENV="$ROOT/.venv"
STAMP="$VENV/headrace-stamp"
UV_PIN="$ROOT/tools/project/uv.txt"
LOCK="$ROOT/.headrace/setup.lock"
cd "$ROOT"

say() { printf '%s\n' "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Prints the right stamp: the digest of the lock file and the project file, and the folder of the
# environment.
WANTED_STAMP='
import hashlib, sys
root = sys.argv[1]
digest = hashlib.sha256()
for name in ("requirements.lock", "pyproject.toml"):
    with open(root + "/" + name, "rb") as handle:
        digest.update(handle.read())
sys.stdout.write("%s %d.%d %s" % (digest.hexdigest(), sys.version_info[0], sys.version_info[1], root))
'

is_current() {
    [ -f "$STAMP" ] && [ -x "$VENV/bin/python" ] || return 1
    wanted=$("$VENV/bin/python" -I -S -c "$WANTED_STAMP" "$ROOT" 2>/dev/null) || return 1
    [ "$(cat "$STAMP")" = "$wanted" ]
}

# Prints the first Python that is new enough. The Python of an active .venv does not count, because
# .venv may be rebuilt now.
find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        "$name" -c 'import sys
sys.exit(1) if sys.version_info < (3, 11) else print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null &&
            return 0
    done
    return 1
}

# Runs this script again under the lock. If clean removed the lock file meanwhile, the script takes
# the lock on the new file.
with_lock() {
    [ -d "$ROOT/.headrace" ] || mkdir -p -m 700 "$ROOT/.headrace" # it will hold what a deployment writes
    exec "$PYTHON" -c '
import fcntl, os, sys
path, script, *rest = sys.argv[1:]
while True:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("setup: waiting for another set-up\n")
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        if os.stat(path).st_ino == os.fstat(handle).st_ino:
            break
    except FileNotFoundError:
        pass
    os.close(handle)
os.set_inheritable(handle, True)
os.environ["HEADRACE_SETUP_LOCKED"] = "1"
os.execvp("sh", ["sh", script, *rest])
' "$LOCK" "$ROOT/tools/project/setup.sh" "$@"
}

build_venv() {
    say "building .venv with $("$PYTHON" --version 2>&1)"
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV" >&2 || {
        rm -rf "$VENV"
        die "$PYTHON has no working venv module; install it (on Debian: apt-get install python3-venv), then run make setup again"
    }
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
        -r "$UV_PIN" >&2 ||
        die "uv cannot be installed by pip as tools/project/uv.txt pins it; check that the package registry is reached and sends what is pinned, then run make setup again"
}

fill_venv() {
    "$VENV/bin/uv" --version >/dev/null 2>&1 || build_venv
    say "installing the packages of requirements.lock"
    VIRTUAL_ENV="$VENV" "$VENV/bin/uv" pip sync --quiet --require-hashes requirements.lock >&2 ||
        die "the packages of requirements.lock cannot be installed; see the message above, then run make setup again"
    VIRTUAL_ENV="$VENV" "$VENV/bin/uv" pip install --quiet --offline --no-deps --no-build-isolation --editable . >&2 ||
        die "headrace itself cannot be installed; see the message above, then run make setup again"
}

set_up() {
    if is_current; then return 0; fi # another set-up did it while this one waited
    if [ -f "$STAMP" ] && [ "$(cut -d ' ' -f 2- "$STAMP")" = "$("$VENV/bin/python" -I -S -c \
        'import sys; print("%d.%d %s" % (*sys.version_info[:2], sys.argv[1]))' "$ROOT" 2>/dev/null)" ]; then
        rm -f "$STAMP"
    else
        build_venv
    fi
    fill_venv
    say "compiling the loops of the pipeline (a minute)"
    "$VENV/bin/python" -m tools.project.compile_loops >&2 || say "they do not compile here; a worker tries again when it starts"
    "$VENV/bin/python" -I -S -c "$WANTED_STAMP" "$ROOT" >"$VENV/stamp.part"
    mv "$VENV/stamp.part" "$STAMP"
    say "ready"
}

clean() {
    if [ -f .headrace/broker/broker.json ]; then
        "$PYTHON" -c '
import sys
sys.path.insert(0, sys.argv[1])
from streams.errors import BrokerError
from tools.broker.local_broker import stop_broker
try:
    stop_broker()
except BrokerError as exc:
    sys.exit("setup: %s" % exc)
' "$ROOT" || die "the local broker cannot be stopped; see the message above, then run make clean again"
    fi
    rm -rf "$VENV" "$ROOT/.headrace"
}

[ "${1:-}" = --clean ] || ! is_current || exit 0
PYTHON=$(find_python) ||
    die "needs Python $OLDEST or newer, found $(python3 --version 2>&1 || echo none); install one as python3 or python3.11 to python3.14"
[ "${HEADRACE_SETUP_LOCKED:-}" = 1 ] || with_lock "$@"
unset HEADRACE_SETUP_LOCKED
if [ "${1:-}" = --clean ]; then clean; else set_up; fi
