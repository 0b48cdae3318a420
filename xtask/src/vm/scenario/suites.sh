# The suites on this kernel, cgroup v2 and AppArmor: each test in a world of its own, or with the guest
# as its world, so that the guest's systemd makes the cgroups.
systemctl stop portcullis-agent containerd
# Folders that are there keep their modes: the source tree may have been below /tmp.
cp --recursive --no-preserve=ownership tree/. / && rm -r tree
. ./settings.sh
mkdir "$RESULTS/failed"

in_worlds() { "$@"; }

in_worlds_of_forky() {
    if [ ! -d "$JOB/forky" ]; then
        mkdir "$JOB/forky"
        tar --extract --file="$JOB/forky.tar" --directory="$JOB/forky"
    fi
    PORTCULLIS_TEST_ROOT=$JOB/forky "$@"
}

# What a world would have of its own, the service manager gives; and it ends what a test leaves.
on_systemd() {
    local scratch ended name empty=()
    for name in /etc/cni /etc/containerd /etc/portcullis /usr/lib/portcullis /var/lib/cni \
        /run/containerd /run/operator /run/portcullis:mode=0700 /run/portcullis-gate:mode=0700 \
        /var/lib/portcullis:mode=0700 /var/lib/containerd:mode=0711,size=512m; do
        empty+=(--property="TemporaryFileSystem=$name")
    done
    for name in PORTCULLIS_TEST_REQUIRE PORTCULLIS_PROGRAMS PORTCULLIS_TEST_SLOWNESS HOME; do
        empty+=(--setenv="$name=${!name}")
    done
    scratch=$(mktemp --directory /tmp/portcullis-guest.XXXXXX)
    mkdir -p "$scratch/log" "$scratch/world/tmp"
    systemd-run --quiet --wait --pipe --collect --same-dir --unit=portcullis-test \
        --property=Delegate=yes --property=TasksMax=infinity --property=TimeoutStopSec=5 \
        "${empty[@]}" --setenv=PORTCULLIS_TEST_CGROUPS=systemd --setenv="PORTCULLIS_WORLD=$scratch" \
        --setenv="TMPDIR=$scratch/world/tmp" "$@"
    ended=$?
    systemctl kill --signal=SIGKILL 'portcullis-test-*.scope' 'cri-containerd-*.scope'
    tail --lines=40 "$scratch"/log/*
    rm -r "$scratch"
    return $ended
}

# One at a time: software runs the processors. What a test that fails has said goes to the console
# at once, so that it is there whatever becomes of the guest.
run_test() {
    local how=$1 suite=$2 program=$3 name=$4 begin=$SECONDS outcome=FAILED out=$RESULTS/test.txt
    "$how" timeout --kill-after=10 "$TEST_LIMIT_S" "$program" --exact "$name" --test-threads=1 \
        </dev/null >"$out" 2>&1
    grep --quiet '^test result: ok. 1 passed' "$out" && outcome=ok
    echo "test $name ... $outcome" >>"$RESULTS/suites.txt"
    say "$suite $name ($how): $outcome, $((SECONDS - begin)) s"
    [ $outcome = ok ] && return
    cp "$out" "$RESULTS/failed/$suite.$how.${name//::/.}.txt"
    sed 's/^/failed: /' "$out" >/dev/ttyS0
}

while read -r how suite program filters; do
    echo "     Running tests/$suite ($how).rs" >>"$RESULTS/suites.txt"
    # Filters are words.
    "$program" --list $filters </dev/null 2>&1 | sed -n 's/: test$//p' |
        grep --fixed-strings -- "$ONLY" >"$JOB/names.txt"
    while read -r -u 3 name; do
        run_test "$how" "$suite" "$program" "$name"
    done 3<"$JOB/names.txt"
done <"$JOB/suites.list"
