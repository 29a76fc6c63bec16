#!/bin/sh
# Run a kit's networks on an Android phone and keep what the benchmark tool prints: logs/NN.log.
#
#     sh measure_android.sh TOOL [OPTION ...]
#
# TOOL is a benchmark tool built for Android, with its *.so files beside it, if it has any:
#   onnxruntime_perf_test  runs models/NN.onnx, which the kit has
#   benchmark_model        LiteRT's; runs tflite/NN.tflite, which you convert from models/NN.onnx
# OPTIONs for the tool stand in place of those for one thread of the CPU. Networks that have a log
# are left alone, so an interrupted run goes on where it stopped. PAUSE_S is the rest before each
# network, in seconds (2); ANDROID_SERIAL chooses among several phones.
#
# Exit status: 0 done, 1 a network failed, 2 something is missing.
set -u
here=$(cd "$(dirname "$0")" && pwd)
there=/data/local/tmp/effsearch

stop() {
    status=$1
    shift
    echo "measure_android.sh: $*" >&2
    exit "$status"
}

[ $# -ge 1 ] || stop 2 "name the tool, as in: sh measure_android.sh path/to/onnxruntime_perf_test"
tool=$1
shift
name=$(basename "$tool")
case $name in
    *perf_test*)
        models=models suffix=onnx figure="P50 Latency"
        options="-I -s -m times -r 50 ${*:--e cpu -x 1 -y 1}"
        graph= ;;
    *benchmark_model*)
        models=tflite suffix=tflite figure="Inference (avg)"
        options=${*:---num_threads=1}
        graph=--graph= ;;
    *) stop 2 "$name is not known; give onnxruntime_perf_test or benchmark_model" ;;
esac
[ -f "$tool" ] || stop 2 "there is no file $tool; build the tool for Android, or download it"
set -- "$here/$models"/*."$suffix"
[ -f "$1" ] || stop 2 "$models has no *.$suffix; $name needs the kit's networks in that format," \
    "as $models/00.$suffix and on (onnxruntime_perf_test runs models as they are)"
command -v adb >/dev/null ||
    stop 2 "adb is not found; install Android's platform-tools, and put adb on PATH"
adb start-server >/dev/null 2>&1
state=$(adb get-state 2>&1 | tr -d '\r')
[ "$state" = device ] || stop 2 "adb has no phone ready ($state); connect one with USB debugging" \
    "on and allow this computer; of several, name one in ANDROID_SERIAL"

mkdir -p "$here/logs"
adb shell "mkdir -p $there" </dev/null >/dev/null || stop 1 "cannot make $there on the phone"
for file in "$tool" "$(dirname "$tool")"/*.so; do
    [ ! -f "$file" ] || adb push "$file" "$there/" >/dev/null || stop 1 "cannot push $file to $there"
done
adb shell "chmod +x $there/$name" </dev/null || stop 1 "cannot make $there/$name executable"

count=0
for model in "$@"; do
    count=$((count + 1))
    file=$(basename "$model")
    log=$here/logs/${file%.*}.log
    part=$here/logs/.part
    [ ! -s "$log" ] || continue
    sleep "${PAUSE_S:-2}"
    adb push "$model" "$there/" >/dev/null || stop 1 "cannot push $file to $there"
    adb shell "cd $there && LD_LIBRARY_PATH=. ./$name $options $graph$file" </dev/null >"$part" 2>&1
    status=$?
    adb shell "rm $there/$file" </dev/null >/dev/null
    if [ $status -ne 0 ] || ! grep -q "$figure" "$part"; then
        mv "$part" "$here/failed.log"
        stop 1 "$file did not run; failed.log has what $name printed, at its end:" \
            "$(tail -n 1 "$here/failed.log")"
    fi
    mv "$part" "$log"
    echo "$count of $#: $(grep "$figure" "$log" | tail -n 1)" >&2
done
echo "measured; now run: effsearch calibrate $here/logs" >&2
