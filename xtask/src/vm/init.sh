#!/bin/busybox sh
# The whole initrd: TPM, IMA and ext4 are built into the kernel, the disk's driver is not.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
    /bin/busybox insmod "/mod/$module.ko"
done
tries=0
while [ ! -b /dev/vda2 ] && [ $tries -lt 100 ]; do
    /bin/busybox sleep 0.1
    tries=$((tries + 1))
done
/bin/busybox mount -t ext4 /dev/vda2 /mnt || {
    /bin/busybox dmesg | /bin/busybox tail -20
    /bin/busybox poweroff -f
}
/bin/busybox umount /proc /sys
/bin/busybox mount --move /dev /mnt/dev
exec /bin/busybox switch_root /mnt /lib/systemd/systemd
