# The host's first boot: what the README says, step by step. The operator's keys are in memory.
run() { ctr run --rm --runtime io.containerd.portcullis.v1 docker.io/library/busybox:latest "$@"; }

step lockdown cat /sys/kernel/security/lockdown
step cgroups stat --file-system --format=%T /sys/fs/cgroup
step apparmor cat /sys/module/apparmor/parameters/enabled
step unit systemctl show portcullis-agent --property=ActiveState,SubState,NRestarts,MainPID,ExecMainStatus
step exposure systemd-analyze security --no-pager --threshold=20 portcullis-agent
step import ctr images import images.tar
step before run before true

mkdir -m 0700 /run/operator
cd /run/operator || exit
keys() {
    portcullis keys generate --use reference --out keys &&
        portcullis keys generate --use tag --out keys &&
        install -m 0644 keys/*.jwk /etc/portcullis/trust.d/
}
tag() {
    portcullis tag request --out request.json &&
        portcullis tag issue --key keys/tag.pem --request request.json \
            --tag country=DE --tag pool=pci --out host.tag &&
        portcullis tag provision host.tag
}
step keys keys
step enroll portcullis enroll --output json
step capture portcullis reference capture --name debian-12 --events --out captured.json
step sign portcullis reference sign --key keys/reference.pem -i captured.json \
    -o /etc/portcullis/reference.d/host.jws
step tag tag
step attest portcullis attest --output json
step status portcullis status --output json
step start run first echo hello
cp captured.json /run/portcullis/verdict.jwt "$RESULTS"
