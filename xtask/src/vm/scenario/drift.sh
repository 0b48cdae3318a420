# A host that drifts while containers run. The agent can neither look at processes nor use a network:
# systemd starts a responder for each of its messages, from the installed units.
type=io.containerd.portcullis.v1
image=docker.io/library/busybox:latest
settings=/etc/portcullis/portcullis.d/60-drift.toml
server=/run/webhook

# Settings beside what is done about containers.
set_up() {
    printf '[agent]\ndrift_interval = "1s"\non_drift_pods = "%s"\n' "$1"
    printf 'on_drift_webhook = "https://127.0.0.1:8443/hook"\n'
    printf 'on_drift_webhook_ca = "%s/ca.pem"\n[runtime]\nsystemd_cgroup = true\n' $server
}
certificates() {
    local new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl req -x509 $new -days 30 -keyout ca.key -out ca.pem -subj /CN=ca &&
        openssl req -new $new -keyout server.key -out server.csr -subj /CN=webhook &&
        echo subjectAltName=IP:127.0.0.1 >names &&
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
            -extfile names -out server.pem
}
# Takes one message. The FIFO stays open, so that the server waits for the client to hang up.
serve() {
    mkfifo answers && exec 3<>answers
    printf 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n' >&3
    openssl s_server -accept 127.0.0.1:8443 -cert server.pem -key server.key -quiet -naccept 1 \
        <answers >received
}
pid_of() { ctr task list | awk -v id="$1" '$1 == id { print $2 }'; }
# What the cgroup of process $1 says of its freezer: `frozen 1`.
freezer() { grep frozen "/sys/fs/cgroup$(cut -d: -f3- "/proc/$1/cgroup")/cgroup.events"; }
# Waits until all of processes $2... are in cgroups whose freezer says `frozen $1`.
until_frozen() {
    local wanted=$1 pid
    shift
    for pid in "$@"; do
        until freezer "$pid" | grep --quiet "frozen $wanted"; do sleep 0.2; done
    done
}
has_ended() { until [ ! -e "/proc/$1" ]; do sleep 0.2; done; }
said() { until journalctl --boot --unit="$1" | grep --fixed-strings "$2"; do sleep 0.5; done; }
# steps NAME FUNCTION ARGUMENT...: a step that may take a minute.
within_a_minute() {
    local name=$1 function=$2
    shift 2
    step "$name" timeout 60 bash -c "$(declare -f freezer until_frozen has_ended said); $function \"\$@\"" \
        "$function" "$@"
}

mkdir -m 0700 $server && cd $server || exit
step certificates certificates
serve 2>serve.err &
set_up pause >$settings
step listen systemctl start portcullis-responder.socket
step socket stat --format='%a %U' /run/portcullis-responder.sock
step foreign setpriv --reuid=65534 --clear-groups perl -MIO::Socket::UNIX \
    -e 'IO::Socket::UNIX->new(Peer => "/run/portcullis-responder.sock") or die "$!\n"'
systemctl restart portcullis-agent
step attest portcullis attest --output json
step census portcullis census --output json
step start ctr run --detach --runtime $type --cgroup system.slice:portcullis:web $image web sleep 1000
step stock ctr run --detach --runtime io.containerd.runc.v2 $image stock sleep 1000
systemd-run --quiet --unit=bystander sleep 1000
web=$(pid_of web) stock=$(pid_of stock)
bystander=$(systemctl show --property=MainPID --value bystander)

step extend tpm2_pcrextend "7:sha256=$(printf '5a%.0s' {1..32})"
within_a_minute frozen until_frozen 1 "$web" "$stock"
within_a_minute paused said 'portcullis-responder@*' 'containers paused'
within_a_minute posted said 'portcullis-responder@*' 'drift told to webhook'
step listed ctr task list
step agent journalctl --boot --unit=portcullis-agent
step untouched freezer "$bystander"
step refused ctr run --rm --runtime $type $image refused true
step resume portcullis containers resume --all --output json
within_a_minute running until_frozen 0 "$web" "$stock"
cp received "$RESULTS/received.txt"

# The same message once more, as the agent would send it, where the node's settings say something else.
set_up stop >$settings
send() {
    perl -MIO::Socket::UNIX -e 'my $to = IO::Socket::UNIX->new(Peer => "/run/portcullis-responder.sock")
        or die "$!\n"; print $to "{\"event\":\"drift\",\"findings\":[{\"code\":\"pcr-drift\"}]}"'
}
step send send
within_a_minute ended has_ended "$web"
within_a_minute stopped said 'portcullis-responder@*' 'containers stopped'
step alive systemctl is-active bystander
step failed systemctl list-units --failed --plain --no-legend 'portcullis-*'
journalctl --boot --unit='portcullis-responder@*' >"$RESULTS/responder.txt"
ctr task delete --force web
ctr task delete --force stock
ctr container delete web stock
rm $settings
