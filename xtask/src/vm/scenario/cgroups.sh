# Containers under the host's own systemd, cgroup v2 and AppArmor. runc is told to use systemd by the
# node's settings, crun by the form of the path alone.
type=io.containerd.portcullis.v1
image=docker.io/library/busybox:latest
step attest portcullis attest --output json
step unconfined ctr run --rm --runtime $type --apparmor-profile unconfined $image unconfined true

each() {
    local binary=$1 systemd=$2 id=$1-web scope=portcullis-$1-web.scope
    printf '[runtime]\nbinary = "%s"\nsystemd_cgroup = %s\n' "$binary" "$systemd" \
        >/etc/portcullis/portcullis.d/50-runtime.toml
    step "$binary-start" ctr run --detach --runtime $type --cgroup "system.slice:portcullis:$id" \
        --memory-limit 67108864 --apparmor-default-profile cri-containerd.apparmor.d \
        $image "$id" sleep 1000
    pid=$(ctr task list | awk -v id="$id" '$1 == id { print $2 }')
    step "$binary-group" cat "/proc/$pid/cgroup"
    # crun puts a group of its own into the scope.
    local group
    group=/sys/fs/cgroup$(cut -d: -f3- "$RESULTS/$binary-group.out")
    step "$binary-label" cat "/proc/$pid/attr/current"
    step "$binary-scope" systemctl show "$scope" --property=ActiveState
    step "$binary-limit" cat "$group/memory.max"
    step "$binary-metrics" ctr task metrics --format json "$id"
    step "$binary-exec" ctr task exec --exec-id second "$id" cat /proc/self/attr/current
    step "$binary-pause" ctr task pause "$id"
    step "$binary-frozen" cat "$group/cgroup.events"
    step "$binary-resume" ctr task resume "$id"
    step "$binary-delete" ctr task delete --force "$id"
    step "$binary-gone" test ! -e "/sys/fs/cgroup/system.slice/$scope"
    step "$binary-inactive" systemctl show "$scope" --property=ActiveState
    ctr container delete "$id"

    ctr events >"$RESULTS/$binary-events.txt" &
    local events=$!
    step "$binary-hungry" ctr run --rm --runtime $type --cgroup "system.slice:portcullis:$id" \
        --memory-limit 16777216 $image "$binary-hungry" tail /dev/zero
    step "$binary-told" timeout 20 sh -c \
        "until grep '/tasks/oom ' '$RESULTS/$binary-events.txt'; do sleep 0.2; done"
    kill $events
}
each runc true
each crun false
rm /etc/portcullis/portcullis.d/50-runtime.toml
