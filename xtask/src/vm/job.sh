#!/bin/bash
# Runs the job on the third disk, hands its results back on the second, and powers off.
set -u
mkdir -p /run/results /var/tmp/job
exec >/run/results/log.txt 2>&1
say() { echo "vm: $*" >/dev/ttyS0; }
hand_back() {
    cat /sys/kernel/security/ima/ascii_runtime_measurements >/run/results/ima.txt
    cp /sys/kernel/security/tpm0/binary_bios_measurements /run/results/events.bin
    grep . /sys/class/tpm/tpm0/pcr-sha256/* >/run/results/pcrs.txt
    cat /proc/cmdline >/run/results/cmdline.txt
    journalctl --boot --no-pager >/run/results/journal.txt
    dmesg >/run/results/dmesg.txt
    tar --create --file=/dev/vdb --directory=/run results
    sync
    say "results are on the disk"
    systemctl poweroff --no-block
}
trap hand_back EXIT
say "the guest is up"
tar --extract --file=/dev/vdc --directory=/var/tmp/job
cd /var/tmp/job || exit
export HOME=/root JOB=/var/tmp/job RESULTS=/run/results
# step NAME COMMAND...: runs it, and keeps what it printed and how it ended.
step() {
    local name=$1
    shift
    say "$name"
    "$@" >"$RESULTS/$name.out" 2>"$RESULTS/$name.err" </dev/null
    echo $? >"$RESULTS/$name.code"
}
. ./run.sh
