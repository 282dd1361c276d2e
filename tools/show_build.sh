#!/usr/bin/env bash
# Reads pip's verbose output: shows the compiler's steps and complaints, keeps all in a log, and
# shows the log's end if the build failed (pip's exit code reaches make through pipefail).
set -u
log=build/package.log
mkdir -p build
: >"$log"
show_step() {
  if [ -t 1 ]; then
    printf '\r  %s\033[K' "${1:0:90}"
  elif [[ $1 =~ ^\[[0-9]*0/ ]]; then # one in ten
    printf '  %s\n' "$1"
  fi
}
while IFS= read -r line; do
  printf '%s\n' "$line" >>"$log"
  case "$line" in
    *"] Building CXX"* | *"] Linking"*) show_step "[${line##*"["}" ;;
    *"error: "* | *"warning: "* | *"FAILED: "*) printf '\n%s\n' "$line" ;;
    *"Successfully installed"*) [ -t 1 ] && printf '\r\033[K' ;;
  esac
done
if grep -q "Successfully installed" "$log"; then
  echo "Installed into .venv: .venv/bin/arrow-quant, and arrow_quant_v2 for .venv/bin/python"
else
  printf '\n'
  tail -n 40 "$log"
  echo "The build failed; all of its output is in $log"
fi
