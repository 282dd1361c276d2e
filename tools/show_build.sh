#!/usr/bin/env bash
# Reads pip's verbose output: shows the compiler's steps and complaints, keeps all in a log, and
# shows the log's end if the build failed (pip's exit code reaches make through pipefail).
set -u
log=build/package.log
mkdir -p build
: >"$log"
while IFS= read -r line; do
  printf '%s\n' "$line" >>"$log"
  case "$line" in
    *"] Building CXX"* | *"] Linking"*)
      step=${line##*"["}
      printf '\r  [%s' "${step:0:90}"
      printf '\033[K'
      ;;
    *"error: "* | *"warning: "* | *"FAILED: "*) printf '\n%s\n' "$line" ;;
    *"Successfully installed"*) printf '\r  %s\033[K\n' "${line##* Successfully}" ;;
  esac
done
if ! grep -q "Successfully installed" "$log"; then
  printf '\n'
  tail -n 40 "$log"
  echo "The build failed; all of its output is in $log"
fi
