#!/bin/sh
# Run a kit's networks on this Jetson with TensorRT's trtexec and keep what it prints: logs/NN.log.
#
#     sh measure_jetson.sh [OPTION ...]
#
# Each OPTION goes on to trtexec, such as --fp16; give the same for all networks. Transfers to and
# from the GPU are left out. Networks that have a log are left alone, so an interrupted run goes on
# where it stopped. TRTEXEC names another trtexec than that on PATH or JetPack's.
#
# Exit status: 0 done, 1 a network failed, 2 something is missing.
set -u
here=$(cd "$(dirname "$0")" && pwd)

stop() {
    status=$1
    shift
    echo "measure_jetson.sh: $*" >&2
    exit "$status"
}

trtexec=${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}
[ -x "$trtexec" ] ||
    stop 2 "$trtexec is not there; install JetPack's package libnvinfer-bin, or name it in TRTEXEC"
mkdir -p "$here/logs"
count=0
total=$(ls "$here"/models/*.onnx | wc -l)
for model in "$here"/models/*.onnx; do
    count=$((count + 1))
    file=$(basename "$model")
    log=$here/logs/${file%.*}.log
    part=$here/logs/.part
    [ ! -s "$log" ] || continue
    "$trtexec" --onnx="$model" --noDataTransfers --useSpinWait "$@" </dev/null >"$part" 2>&1
    status=$?
    if [ $status -ne 0 ] || ! grep -q "\] Latency: min" "$part"; then
        mv "$part" "$here/failed.log"
        stop 1 "$file did not run; failed.log has what trtexec printed, at its end:" \
            "$(tail -n 1 "$here/failed.log")"
    fi
    mv "$part" "$log"
    echo "$count of $total: $(grep "\] Latency: min" "$log" | tail -n 1)" >&2
done
echo "measured; now run, where effsearch is: effsearch calibrate $here/logs" >&2
