# The second boot: nobody does anything at first; then an intruder brings back the old verdict.
run() { ctr run --rm --runtime io.containerd.portcullis.v1 docker.io/library/busybox:latest "$@"; }
has_verdict() { portcullis status --output json | jq --exit-status .verdict; }

step attested timeout 60 bash -c "$(declare -f has_verdict); until has_verdict; do sleep 0.5; done"
step start run second echo again

systemctl stop portcullis-agent
# A file that others may write is no file of reference values: no new verdict can be made.
chmod g+w /etc/portcullis/reference.d/host.jws
mkdir -p -m 0700 /run/portcullis
install -m 0600 verdict.jwt /run/portcullis/verdict.jwt
step restart systemctl start portcullis-agent
step carried portcullis status --output json
step replayed run replayed true

chmod g-w /etc/portcullis/reference.d/host.jws
step attest portcullis attest --output json
step afterwards run afterwards true
