//! The harness itself, on containerd's own shim: what it promises to the other suites.

use portcullis_tests::containerd::{Containerd, RUNC};
use portcullis_tests::cri::{self, expected};
use portcullis_tests::failure::Outcome;
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::world::{Census, Shape};
use portcullis_tests::{image, in_world, needs};

mod needs_root {
    use super::*;

    #[test]
    fn a_world_shows_nothing_of_the_machine_and_keeps_its_changes() -> Outcome {
        needs!(Root, Busybox);
        let mark = "/etc/portcullis/left-by-the-harness";
        in_world!(|_world| {
            assert_eq!(std::process::id() > 1, true);
            assert!(
                std::fs::read_dir("/var/lib/containerd")
                    .unwrap()
                    .next()
                    .is_none()
            );
            assert!(std::fs::read_dir("/run").unwrap().next().is_none());
            std::fs::write("/etc/portcullis/left-by-the-harness", "x").unwrap();
            Ok(())
        })?;
        assert!(!std::path::Path::new(mark).exists());
        Ok(())
    }
}
