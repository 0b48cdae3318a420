# Applets of busybox: files, text, archives, processes, pipes, sockets, time.
set -eu
bb=/bin/busybox
work=$($bb mktemp -d)
cd "$work"

$bb seq 1 100 >numbers
test "$($bb awk '{ sum += $1 } END { print sum }' numbers)" = 5050
test "$($bb grep -c 7 numbers)" = 19
test "$($bb sort -rn numbers | $bb head -n 1)" = 100
test "$($bb sed -n 's/^42$/found/p' numbers)" = found
test "$($bb wc -l <numbers)" = 100

$bb mkdir -p from/deep
$bb cp numbers from/deep/
$bb ln from/deep/numbers from/hard
$bb ln -s deep/numbers from/soft
$bb chmod 600 from/hard
$bb touch -d '2001-02-03 04:05:06' from/hard
$bb tar czf pack.tgz from
$bb mkdir to
$bb tar xzf pack.tgz -C to
$bb cmp numbers to/from/soft
test "$($bb stat -c %a to/from/hard)" = 600
test "$($bb find to -type f | $bb wc -l)" = 2
$bb sha256sum numbers | $bb sed 's/numbers/to\/from\/soft/' | $bb sha256sum -c -s
$bb dd if=/dev/zero of=zeros bs=4096 count=16 2>dd
$bb mv zeros to/
$bb rm -r from to

$bb mkfifo pipe
$bb cat numbers >pipe &
test "$($bb wc -l <pipe)" = 100
wait

$bb sleep 30 &
$bb kill -TERM $!
! wait $!
$bb ps >processes
$bb date +%s >now
$bb df /tmp >room
$bb id -u >user
$bb timeout 5 $bb true
$bb nproc >processors

echo served >page
$bb nc -l -p 8080 -e $bb cat page &
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    $bb nc 127.0.0.1 8080 </dev/null >got 2>/dev/null && break
    $bb usleep 100000
done
$bb cmp page got
echo 'all is well'
