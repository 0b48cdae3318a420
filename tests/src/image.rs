//! Container images made on the spot from this machine's busybox. Nothing is pulled.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::failure::{Doing, Failure, Outcome};
use crate::require;

/// Name of the image with a shell.
pub const BUSYBOX: &str = "docker.io/library/busybox:latest";
/// Name of the same image, to run as root.
pub const BUSYBOX_ROOT: &str = "docker.io/library/busybox:root";
/// Name of the image that pod sandboxes run.
pub const PAUSE: &str = "registry.portcullis.test/pause:1";

/// Annotation by which containerd knows the name of an imported image.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// Media type of an uncompressed layer.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Some files that programs expect to find.
const FILES: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hostname", "busybox\n"),
];
/// Folders and their modes.
const FOLDERS: [(&str, u32); 13] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

/// A statically linked busybox of this machine.
#[must_use]
pub fn busybox() -> Option<PathBuf> {
    require::find("busybox").filter(|path| is_static(path))
}

/// Writes an archive with all images, in the form of an OCI image layout.
///
/// # Errors
///
/// When busybox is missing or does not answer, or the archive cannot be written.
pub fn write_archive(to: &Path) -> Outcome {
    let busybox = busybox().ok_or_else(|| Failure::new("a static busybox is missing"))?;
    let mut layout = Layout::default();
    let layer = layout.blob(layer(&busybox)?, LAYER);
    let shell = |user: &str| {
        json!({
            "Cmd": ["/bin/sh"],
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "User": user,
        })
    };
    let plain = layout.image(&layer, &shell("1000:1000"));
    let root = layout.image(&layer, &shell("0:0"));
    let pause = json!({"Entrypoint": ["/bin/sleep", "infinity"], "User": "65535:65535"});
    let pause = layout.image(&layer, &pause);
    let images = [(BUSYBOX, plain), (BUSYBOX_ROOT, root), (PAUSE, pause)];
    let images = images.map(|(name, manifest)| (name.to_owned(), manifest));
    let mut bytes = Vec::new();
    layout.write(&mut Builder::new(&mut bytes), &images)?;
    std::fs::write(to, bytes).doing(format!("write '{}'", to.display()))
}

/// Writes an archive of images that share one layer, the uncompressed archive `layer`, and differ in
/// their configurations (`config` of an OCI image configuration). Returns the name of each, with
/// its digest.
///
/// The layer is read twice, and never held in memory: its digest comes first.
///
/// # Errors
///
/// When the layer cannot be read, or the archive not written.
pub fn write_sharing(
    layer: &Path,
    images: &[(String, Value)],
    into: &mut impl Write,
) -> Outcome<Vec<String>> {
    let reading = format!("read '{}'", layer.display());
    let mut digest = Digesting(Sha256::new());
    let mut file = File::open(layer).doing(&reading)?;
    let size = io::copy(&mut file, &mut digest).doing(&reading)?;
    let digest = hex(&digest.0.finalize());
    let descriptor = descriptor(&digest, size, LAYER);
    let mut layout = Layout::default();
    let images: Vec<(String, Value)> = images
        .iter()
        .map(|(name, config)| {
            let manifest = layout.image(&descriptor, config);
            let digest = manifest["digest"].as_str().unwrap_or_default();
            (format!("{name}@{digest}"), manifest)
        })
        .collect();
    let mut archive = Builder::new(into);
    let file = File::open(layer).doing(&reading)?;
    let mut header = header(EntryType::Regular, 0o644, size);
    archive
        .append_data(&mut header, blob_path(&digest), file)
        .doing("add the layer to the archive")?;
    layout.write(&mut archive, &images)?;
    Ok(images.into_iter().map(|(name, _)| name).collect())
}

/// Takes the digest of what is written to it.
struct Digesting(Sha256);

/// The root file system as an uncompressed archive.
fn layer(busybox: &Path) -> Outcome<Vec<u8>> {
    let program = std::fs::read(busybox).doing(format!("read '{}'", busybox.display()))?;
    let listed =
        crate::run::to_end(std::process::Command::new(busybox).arg("--list"))?.success()?;
    let mut archive = Builder::new(Vec::new());
    for (path, mode) in FOLDERS {
        add(&mut archive, EntryType::Directory, path, mode, &[])?;
    }
    for (path, text) in FILES {
        add(
            &mut archive,
            EntryType::Regular,
            path,
            0o644,
            text.as_bytes(),
        )?;
    }
    add(
        &mut archive,
        EntryType::Regular,
        "bin/busybox",
        0o755,
        &program,
    )?;
    for applet in listed.lines().filter(|name| *name != "busybox") {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        archive
            .append_link(&mut header, format!("bin/{applet}"), "/bin/busybox")
            .doing("add a link to the image")?;
    }
    archive.into_inner().doing("finish the image layer")
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn add(
    archive: &mut Builder<impl Write>,
    kind: EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Outcome {
    let mut header = header(kind, mode, bytes.len() as u64);
    archive
        .append_data(&mut header, path, bytes)
        .doing(format!("add '{path}' to the image"))
}

/// The blobs of an OCI image layout.
#[derive(Debug, Default)]
struct Layout {
    blobs: Vec<(String, Vec<u8>)>,
}

// === impl Layout ===

impl Layout {
    /// Adds an image of one layer and returns the descriptor of its manifest.
    fn image(&mut self, layer: &Value, config: &Value) -> Value {
        const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = self.blob(config.to_string().into_bytes(), CONFIG);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
        });
        self.blob(manifest.to_string().into_bytes(), MANIFEST)
    }

    fn blob(&mut self, bytes: Vec<u8>, media_type: &str) -> Value {
        let digest = hex(&Sha256::digest(&bytes));
        let descriptor = descriptor(&digest, bytes.len() as u64, media_type);
        if !self.blobs.iter().any(|(known, _)| *known == digest) {
            self.blobs.push((digest, bytes));
        }
        descriptor
    }

    /// Writes all of it, behind what is in `archive`.
    fn write(&self, archive: &mut Builder<impl Write>, images: &[(String, Value)]) -> Outcome {
        let manifests: Vec<Value> = images
            .iter()
            .map(|(name, descriptor)| {
                let mut descriptor = descriptor.clone();
                descriptor["annotations"] = json!({NAME_ANNOTATION: name});
                descriptor
            })
            .collect();
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        for (path, text) in [("oci-layout", layout), ("index.json", index)] {
            add(archive, EntryType::Regular, path, 0o644, text.as_bytes())?;
        }
        for (digest, bytes) in &self.blobs {
            let path = blob_path(digest);
            add(archive, EntryType::Regular, &path, 0o644, bytes)?;
        }
        archive.finish().doing("finish the image archive")
    }
}

// === impl Digesting ===

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn descriptor(digest: &str, size: u64, media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

/// This machine's architecture in Go's words, which OCI uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Digest of `bytes` as OCI writes it: `sha256:…`.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hex digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    })
}

/// Whether an ELF program asks for no interpreter (segment type 3, PT_INTERP; 64 bit only).
fn is_static(path: &Path) -> bool {
    const INTERPRETER: [u8; 4] = 3_u32.to_le_bytes();
    let Ok(bytes) = std::fs::read(path) else {
        return false;
    };
    let number = |at: usize, size: usize| {
        bytes.get(at..at + size).map(|field| {
            field
                .iter()
                .rev()
                .fold(0_usize, |value, byte| (value << 8) | usize::from(*byte))
        })
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(start), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2))
    else {
        return false;
    };
    (0..count).all(|index| {
        let at = start + index * size;
        bytes.get(at..at + 4) != Some(&INTERPRETER)
    })
}

#[cfg(test)]
mod tests {
    use super::{hex, is_static};
    use std::path::Path;

    #[test]
    fn a_program_that_asks_for_a_loader_is_not_static() {
        assert!(!is_static(Path::new("/bin/sh")));
        assert!(!is_static(Path::new("/etc/passwd")));
    }

    #[test]
    fn hex_has_two_digits_for_each_byte() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
