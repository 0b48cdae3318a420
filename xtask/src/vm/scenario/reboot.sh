# The second boot: nobody does anything at first; then an intruder brings back the old verdict.
run() { ctr run --rm --runtime io.containerd.portcullis.v1 docker.io/library/busybox:latest "$@"; }
has_verdict() { portcullis status --output json | jq --exit-status .verdict; }

step attested timeout 60 bash -c "$(declare -f has_verdict); until has_verdict; do sleep 0.5; done"
step start run second echo again

# The agent hands out no verdict of an earlier run of its own. It does carry what another verifier
# has issued, and leaves it to the relying parties to see whether that is so. Its watch for drift would void it: off.
settings=/etc/portcullis/portcullis.d/60-intruder.toml
systemctl stop portcullis-agent
install -m 0600 verdict.jwt /var/lib/portcullis/old.jwt
printf '[agent]\nverifier = "remote"\ndrift_interval = "0s"\n[remote]\nverdict = "/var/lib/portcullis/old.jwt"\n' >$settings
systemctl start portcullis-agent
step carried timeout 60 bash -c "$(declare -f has_verdict); until has_verdict; do sleep 0.5; done"
step status portcullis status --output json
step replayed run replayed true
# And makes the relying parties forget what they have seen in this boot.
rm -r /run/portcullis-gate
step forgotten run forgotten true

rm $settings
systemctl restart portcullis-agent
step attest portcullis attest --output json
step afterwards run afterwards true
