//! The table of hostile configurations: each is asked for as a client of containerd would ask, and
//! must be refused with a line that tells it from all others, or run within the profile. Prints
//! the cases, and how many containers and processes started that should not have.
//!
//! `cargo xtask test hostile_specs` runs it; the codes are in `docs/refusals.md`.

mod hostile_specs {
    pub(crate) mod bundles;
    pub(crate) mod configs;
    pub(crate) mod flags;
    pub(crate) mod mounts;
    pub(crate) mod pods;
    pub(crate) mod processes;
    pub(crate) mod scene;
    pub(crate) mod table;
}

use std::collections::BTreeMap;

use portcullis_tests::failure::Outcome;
use portcullis_tests::world::Shape;
use portcullis_tests::{in_world, needs};

use hostile_specs::table::{Case, Expected, Table};
use hostile_specs::{bundles, configs, flags, mounts, pods, processes};

/// An operator has only the line: no two cases of one way of asking may come to the same one.
#[test]
fn each_case_is_told_from_the_others_by_its_line() {
    let ways = [
        flags::CASES,
        configs::CASES,
        mounts::CASES,
        bundles::CASES,
        pods::CASES,
        processes::CASES,
    ];
    for cases in ways {
        let mut lines: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for case in cases {
            let Case { name, expected, .. } = case;
            let Expected::Refused(code, says) = *expected else {
                continue;
            };
            assert!(!says.is_empty(), "'{name}' says nothing");
            let other = lines.insert((code, says), name);
            assert_eq!(other, None, "'{name}' shares '{code}' and '{says}'");
        }
    }
}

mod needs_containerd {
    use super::*;

    macro_rules! under {
        ($runtime:ident $binary:literal $need:ident $shape:expr) => {
            mod $runtime {
                use crate::*;

                #[test]
                fn what_flags_ask_for() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    in_world!($shape, |world| Table::play(
                        world,
                        $binary,
                        "by flags",
                        flags::CASES
                    ))
                }

                #[test]
                fn what_a_configuration_asks_for() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    in_world!($shape, |world| {
                        Table::play(world, $binary, "in a configuration", configs::CASES)
                    })
                }

                #[test]
                fn what_is_to_be_mounted() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    in_world!($shape, |world| Table::play(
                        world,
                        $binary,
                        "as mounts",
                        mounts::CASES
                    ))
                }

                #[test]
                fn what_a_bundle_holds() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    in_world!($shape, |world| {
                        Table::play(world, $binary, "in a bundle", bundles::CASES)
                    })
                }

                #[test]
                fn what_a_running_container_is_to_get() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    in_world!($shape, |world| {
                        Table::play(world, $binary, "on a running container", processes::CASES)
                    })
                }
            }
        };
    }

    /// Once: containerd asks for pods in the same way whichever OCI runtime is below.
    #[test]
    fn what_a_pod_asks_for() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| Table::play(world, "runc", "by pods", pods::CASES))
    }

    under! { with_runc "runc" Runc Shape::default() }
    under! { with_crun "crun" Crun Shape { unified: false } }
}
