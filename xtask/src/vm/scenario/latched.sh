# The approved boot loader settings are back, and with them the approved boot state.
run() { ctr run --rm --runtime io.containerd.portcullis.v1 docker.io/library/busybox:latest "$@"; }
has_verdict() { portcullis status --output json | jq --exit-status .verdict; }

step attested timeout 60 bash -c "$(declare -f has_verdict); until has_verdict; do sleep 0.5; done"
step start run fourth true
step again portcullis attest --output json
step clear portcullis attest --clear-failure 'boot loader settings put back by hand' --output json
step afterwards run fifth echo cleared
step ledger grep failure-cleared /var/lib/portcullis/ledger.jsonl
step verify portcullis ledger verify
