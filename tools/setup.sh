#!/usr/bin/env bash
# Installs the Debian packages that are missing, and makes the virtual environment.
# Usage: tools/setup.sh build|bench|fuzz|lint      PYTHON=python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

die() {
  echo "setup: $*" >&2
  exit 1
}

case "${1:-build}" in
  build)
    wanted=(g++ cmake ninja-build libhwy-dev libeigen3-dev libxxhash-dev libyaml-cpp-dev
      nlohmann-json3-dev libcli11-dev libgtest-dev libgmock-dev)
    ;;
  bench) wanted=(libbenchmark-dev) ;;
  fuzz) wanted=(clang libclang-rt-14-dev) ;;
  lint) wanted=(clang-format) ;;
  *) die "unknown step '$1'; allowed are build, bench, fuzz, lint" ;;
esac

command -v "$python" >/dev/null ||
  die "there is no '$python': install Python 3.10 or newer ('apt-get install python3')"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  die "$("$python" --version) is too old: Python 3.10 or newer is needed; name one with PYTHON=…"
if [ "${1:-build}" = build ] && [ "$("$python" -c 'import sys; print(sys.prefix)')" = /usr ]; then
  wanted+=(python3-venv python3-dev) # the system's Python comes without them
fi

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
    missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null ||
    die "these packages are missing, and there is no apt-get to install them: ${missing[*]}"
  root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      die "run as root: apt-get install ${missing[*]}"
    root=(sudo)
  fi
  echo "Installing Debian packages: ${missing[*]} …"
  "${root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null || die "apt-get could not install: ${missing[*]}"
fi

if [ "${1:-build}" = build ] && ! [ -x .venv/bin/pip ]; then
  echo "Making the virtual environment .venv …"
  "$python" -m venv .venv || die "'$python -m venv .venv' failed: apt-get install python3-venv"
fi
