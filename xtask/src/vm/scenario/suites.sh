# The suites, each test in a world of its own on this kernel, cgroup v2 and AppArmor.
systemctl stop portcullis-agent containerd
cp -a tree/. / && rm -r tree
. ./settings.sh
while read -r suite program filters; do
    say "suite $suite"
    echo "     Running tests/$suite.rs ($program)"
    # One at a time: software runs the processors. Filters are words.
    "$program" --test-threads=1 $filters </dev/null 2>&1
done <"$JOB/suites.list" | tee "$RESULTS/suites.txt" | grep --line-buffered '^test .* \.\.\. ' |
    sed --unbuffered 's/^/vm: /' >/dev/ttyS0
