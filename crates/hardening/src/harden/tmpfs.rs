//! Temporary directories for a read-only root.

use serde_json::{Map, Value, json};

use super::Context;
use super::process::{id, uid};
use crate::facts::DirectoryFact;
use crate::oci_config::text;
use crate::path::{is_within, normal};
use crate::profile::{TmpfsPath, TmpfsRule};
use crate::review::Review;

/// Adds a tmpfs at each place of the profile that is a directory of the image with nothing
/// mounted on it or above it.
///
/// They come before the first mount outside `/proc`, `/sys` and `/dev`: a later mount may lie in
/// one of them, also through a link of the image (`/var/run` is `/run` nearly everywhere), and a
/// tmpfs on top would hide it.
pub(super) fn add(
    mounts: &mut Vec<Value>,
    process: &Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let destinations: Vec<String> = mounts.iter().filter_map(destination).collect();
    let kernel = |path: &str| {
        ["/proc", "/sys", "/dev"]
            .iter()
            .any(|it| is_within(path, it))
    };
    let first = mounts
        .iter()
        .position(|mount| destination(mount).is_none_or(|it| !kernel(&it)));
    let mut place = first.unwrap_or(mounts.len());
    for rule in &context.profile.rules().root.tmpfs {
        let path = rule.path.as_str();
        let covered = destinations.iter().any(|it| is_within(path, it));
        if covered || fact(rule.path, context) != DirectoryFact::Directory {
            continue;
        }
        let mount = json!({
            "destination": path,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": options(rule, process, context),
        });
        let reason = "programs write here, and the root is read-only";
        review.change(
            format!("/mounts/{place}"),
            Value::Null,
            mount.clone(),
            reason,
        );
        mounts.insert(place, mount);
        place = place.saturating_add(1);
    }
}

/// True if a relaxation lets programs be executed in the temporary directory `path`.
pub(super) fn may_execute(path: &str, context: Context<'_>) -> bool {
    let place = context
        .profile
        .rules()
        .root
        .tmpfs
        .iter()
        .any(|rule| rule.path.as_str() == path);
    place
        && context
            .profile
            .active(context.relaxations)
            .any(|it| it.tmpfs_exec)
}

fn destination(mount: &Value) -> Option<String> {
    normal(text(mount.as_object()?, "destination"))
}

const fn fact(path: TmpfsPath, context: Context<'_>) -> DirectoryFact {
    match path {
        TmpfsPath::Tmp => context.facts.rootfs.tmp,
        TmpfsPath::VarTmp => context.facts.rootfs.var_tmp,
        TmpfsPath::Run => context.facts.rootfs.run,
    }
}

/// The owner is given because runc takes the mode of the image's directory, whatever `mode=`
/// says: with a `/tmp` of mode 0755 an ordinary user could not write to it.
fn options(rule: &TmpfsRule, process: &Map<String, Value>, context: Context<'_>) -> Vec<String> {
    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
    if !may_execute(rule.path.as_str(), context) {
        options.push("noexec".to_owned());
    }
    options.extend([
        format!("mode={}", rule.mode),
        format!("uid={}", uid(process)),
        format!("gid={}", id(process, "gid")),
        format!("size={}", rule.size),
        "tmpcopyup".to_owned(),
    ]);
    options
}
