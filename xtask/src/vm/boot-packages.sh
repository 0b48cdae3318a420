#!/bin/sh
# Run by mmdebstrap with the root folder of the guest. Fetches the signed programs of the boot chain
# and unpacks them beside that folder: nothing of them is installed, so no script of a kernel
# package makes an initrd or looks for a boot loader.
set -eu
root=$1
boot=$(dirname "$root")/boot
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
rm -rf "$boot"
mkdir -p "$boot/packages"
cd "$boot/packages"
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -1)
release=${kernel#linux-image-}
apt-get --option APT::Sandbox::User=root download "$kernel" shim-signed grub-efi-amd64-signed
for package in *.deb; do dpkg-deb --extract "$package" "$boot"; done
echo "$release" >"$boot/release"
# Overlay, veth and the like are modules.
mkdir -p "$root/usr/lib/modules"
cp -a "$boot/lib/modules/$release" "$root/usr/lib/modules/"
chroot "$root" depmod "$release"
