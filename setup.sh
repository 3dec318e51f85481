#!/bin/sh
# Set up graphlandau in .venv, then run the demonstration or the test suite. Safe to run again.
set -eu
cd -- "$(dirname -- "$0")"

usage() {
    cat >&2 <<'EOF'
usage: sh setup.sh demo                  install, relax a plasma, say how far it is from the exact solution
       sh setup.sh test [PYTEST_ARG...]  install with the test extras, run the test suite

environment:
  PYTHON           the interpreter to build .venv with, 3.11 or newer (default: python3)
  TORCH_INDEX_URL  package index for another torch build, for example a CUDA or a CPU-only one
EOF
    exit 2
}

die() {
    printf 'setup.sh: %s\n' "$*" >&2
    exit 1
}

say() { printf '\n== %s\n' "$*"; }

check_python() {
    command -v "$PYTHON" >/dev/null 2>&1 ||
        die "'$PYTHON' was not found. Cure: apt-get install python3 python3-venv, or set PYTHON to an interpreter"
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or newer is needed ('$PYTHON' is $version). Cure: set PYTHON to a newer one"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "'$PYTHON' cannot make virtual environments. Cure: apt-get install python3-venv (or python$version-venv)"
}

# Without a compiler everything runs, several times slower, on the eager backends.
check_compiler() {
    missing=
    command -v "${CXX:-g++}" >/dev/null 2>&1 || missing="g++"
    "$PYTHON" -c 'import os, sysconfig
raise SystemExit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        missing="$missing python3-dev"
    [ -z "$missing" ] ||
        printf 'setup.sh: note: no %s: compiled and KeOps backends are off. Cure: apt-get install %s\n' \
            "$missing" "$missing" >&2
}

# install EXTRAS: '' or '[test,keops]'
install() {
    check_python
    check_compiler
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "creating .venv ($PYTHON, $version)"
        "$PYTHON" -m venv .venv
    fi
    index=${TORCH_INDEX_URL:-}
    if [ -f .venv/torch-index-url ] && [ -n "$index" ] && [ "$index" != "$(cat .venv/torch-index-url)" ]; then
        die "the torch in .venv came from another TORCH_INDEX_URL. Cure: remove .venv and run again"
    fi
    say "installing the pinned set into .venv (about two minutes the first time)"
    # torch alone and first, so that no other package's range decides which build of it is taken.
    # A build with a local version (2.13.0+cpu) outranks the plain one, hence an extra index is enough.
    .venv/bin/python -m pip install --quiet -c constraints.txt ${index:+--extra-index-url "$index"} \
        "$(grep '^torch==' constraints.txt)"
    [ -f .venv/torch-index-url ] || printf '%s' "$index" >.venv/torch-index-url
    .venv/bin/python -m pip install --quiet -c constraints.txt hatchling editables
    .venv/bin/python -m pip install --quiet -c constraints.txt --no-build-isolation -e ".$1"
}

demo() {
    out=runs/demo
    n=2
    while [ -e "$out" ]; do
        out=runs/demo-$n
        n=$((n + 1))
    done
    say "relaxing 22,500 particles to t = 5"
    .venv/bin/graphlandau run --problem bkw_2d --method sbtm --score closed_form --particles 22500 \
        --t_end 5 --dt 0.01 --seed 0 --out "$out"
    say "the errors above are against the exact solution (BKW); the picture is $out/figures/overview.png"
}

PYTHON=${PYTHON:-python3}
[ $# -ge 1 ] || usage
command=$1
shift
case $command in
demo)
    [ $# -eq 0 ] || usage
    install ''
    demo
    ;;
test)
    install '[test,keops]'
    say "running the tests"
    exec .venv/bin/python -m pytest -n auto --dist worksteal "$@"
    ;;
*) usage ;;
esac
