#!/usr/bin/env bash
# Do the versions that setup.py declares hold? Each in a fresh environment: installs the wheel, and,
# away from the clone, runs quick tests and a tiny training in float32 and mixed_bfloat16, and exports.
#   tests/versions.sh                  all rows below whose Python is on the path
#   tests/versions.sh 3.10 2.16.1 3.5.0    one row: Python, TensorFlow, Keras; - for the newest
# It uses uv where that is installed, else the environment's own pip. WORK=FOLDER keeps the
# environments there. Minutes to a quarter of an hour for each row, and 2 GB.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=${WORK:-$(mktemp -d)}
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"

# The oldest and the newest of each. TensorFlow has wheels for Python 3.13 since 2.20.
rows=("3.10 2.16.1 3.5.0" "3.10 - -" "3.11 2.16.1 3.5.0" "3.11 - -" "3.12 2.16.1 3.5.0" "3.12 - -"
  "3.13 2.20.0 -" "3.13 - -")
[ $# -eq 0 ] || rows=("$*")
tests="tests/test_schedules.py tests/test_nn.py tests/models/test_inputs.py
  tests/models/test_normalization.py tests/gaussian_diffusion/test_process.py"
tiny="--ch=32 --ch_mult=2 --num_diffusion_timesteps=12 --batch_size=8 --log_steps=1 --steps=3
  --jit_compile=off --grid_steps=0"

rm -rf "$work/wheel" "$work/tests"
cp -r "$root/tests" "$work/tests"
cp "$root/pyproject.toml" "$work"
mkdir "$work/source" && git -C "$root" archive HEAD | tar x -C "$work/source"
python3 -m pip wheel -q --no-deps -w "$work/wheel" "$work/source"
rm -r "$work/source"

install() { # python of the environment, packages
  if command -v uv > /dev/null; then uv pip install -q --python "$@"; else "$1" -m pip install -q "${@:2}"; fi
}

row() { # Python, TensorFlow, Keras
  local python="python$1" environment="$work/python$1-$2-$3" wanted=() begun=$SECONDS
  [ "$2" = - ] || wanted+=("tensorflow==$2")
  [ "$3" = - ] || wanted+=("keras==$3")
  "$python" -m venv "$environment"
  local bin="$environment/bin"
  install "$bin/python" "$(echo "$work"/wheel/*.whl)[export]" pytest pytest-timeout ${wanted[@]+"${wanted[@]}"}
  local installed=$((SECONDS - begun))
  # Without what compares with the layer of Keras, which before 3.15 rounds gamma and beta.
  (cd "$work" && "$bin/python" -m pytest -q -p no:cacheprovider ${tests//[$'\n']/ } \
    --rootdir "$work" -k "not equals_the_layer_of_keras")
  for dtype in float32 mixed_bfloat16; do
    (cd "$environment" && "$bin/ddpm-train" --workdir="$dtype" --dtype="$dtype" $tiny --nopictures)
    (cd "$environment" && "$bin/ddpm-sample" --workdir="$dtype" --num_samples=2 --out="$dtype.npz" \
      --jit_compile=off)
  done
  for target in a.keras a.onnx "served --format=saved_model"; do # each is tried where it is written
    # shellcheck disable=SC2086
    (cd "$environment" && "$bin/ddpm-convert" --source=float32 --target=$target)
  done
  echo "Python $1: $("$bin/ddpm-train" --version)" \
    "installed in $installed s, all in $((SECONDS - begun)) s"
}

failed=0
for line in "${rows[@]}"; do
  # shellcheck disable=SC2086
  set +e # or row would go on after a failure
  (set -e && row $line) > "$work/log" 2>&1
  code=$?
  set -e
  if [ $code = 0 ]; then
    tail -n 1 "$work/log"
  else
    failed=1
    echo "FAILED: $line"
    tail -n 30 "$work/log"
  fi
done
exit $failed
