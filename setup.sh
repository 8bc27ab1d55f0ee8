#!/bin/sh
# Makes .venv from requirements.lock. Wants Python 3.11 or 3.12, or uv; nothing else.
set -eu
cd "$(dirname "$0")"
export UV_SYSTEM_CERTS=1 # trust what the machine trusts, as pip does

supported() { "$1" -c 'import sys; raise SystemExit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; }

rm -rf .venv
if [ -n "${PYTHON:-}" ] && supported "$PYTHON"; then
	"$PYTHON" -m venv .venv
elif command -v uv >/dev/null 2>&1; then
	uv venv -q --seed --python '>=3.11,<3.13' .venv
else
	echo "Driftline needs Python 3.11 or 3.12 (or uv, which can fetch one); found: $(python3 --version 2>&1 || echo none)" >&2
	echo "Bytewax has no builds for 3.13 and later, River none for 3.10 and earlier." >&2
	exit 1
fi

python=.venv/bin/python
echo "installing the locked packages into .venv ..."
# uv installs them many times faster than pip does; where it cannot be had, pip does it too.
# --no-deps: the lock is complete, and asking for dependencies would bring torch (3 GB) in.
if "$python" -m pip install -q --disable-pip-version-check --only-binary :all: uv 2>/dev/null &&
	.venv/bin/uv pip install -q --python "$python" --no-deps -r requirements.lock; then
	.venv/bin/uv pip install -q --python "$python" --no-deps --no-build-isolation -e .
else
	"$python" -m pip install -q --disable-pip-version-check --no-deps -r requirements.lock
	"$python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
.venv/bin/driftline --version
touch .venv/.complete
