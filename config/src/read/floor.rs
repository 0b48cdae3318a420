//! What no container on the node may do.

use portcullis_seccomp::{Floor, FloorError};

use crate::defaults;
use crate::reader::{Reader, Section};
use crate::tree::Table;

/// Denies one thing by name.
type Deny = fn(&mut Floor, &str) -> Result<(), FloorError>;

pub(super) fn floor(reader: &mut Reader, root: &Table) -> Floor {
    let section = reader.section(root, "floor", "floor.");
    let mut floor = Floor::default();
    let calls = "system calls of this processor that OCI runtimes do not need";
    let families = "families of sockets ('AF_ALG') that not every program needs";
    let lists: [(&str, &str, &[&str], Deny); 2] = [
        (
            "deny_syscalls",
            calls,
            &defaults::FLOOR_CALLS,
            Floor::deny_call,
        ),
        (
            "deny_socket_families",
            families,
            &defaults::FLOOR_FAMILIES,
            Floor::deny_family,
        ),
    ];
    for (key, expected, default, deny) in lists {
        let names = named(reader, section, key, expected, deny);
        let names = names.unwrap_or_else(|| default.iter().map(|it| (*it).to_owned()).collect());
        for name in names {
            // What was named is known by now; of the default, another processor may lack a call.
            drop(deny(&mut floor, &name));
        }
    }
    floor
}

/// The names of a list, all of which can be denied: whoever mistypes one must not believe that it
/// holds.
fn named(
    reader: &mut Reader,
    section: Section<'_>,
    key: &str,
    expected: &str,
    deny: Deny,
) -> Option<Vec<String>> {
    reader.texts(section, key, expected, |name| {
        let fits = deny(&mut Floor::default(), name).is_ok();
        fits.then(|| name.to_owned())
    })
}
