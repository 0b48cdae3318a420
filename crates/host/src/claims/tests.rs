use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::root_only::is_root;

const ENDS_S: u64 = 1_000_000;

fn id(byte: u8) -> TokenId {
    TokenId::new([byte; 16])
}

fn pod<'a>(sandbox: &'a str, container: &'a str) -> User<'a> {
    User::Pod { sandbox, container }
}

#[test]
fn a_claim_that_was_cut_is_not_read() {
    let text = format!("{MAGIC} 7\npod sandbox a\n");
    assert_eq!(parse(&text), Some((7, "pod sandbox a".to_owned())));
    for end in 0..text.len() {
        assert_eq!(parse(text.get(..end).unwrap()), None);
    }
}

mod needs_root {
    use super::*;

    #[test]
    fn a_token_is_for_one_sandbox_and_each_of_its_containers_once() {
        if !is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("gate");
        let claim = |user| claim(&directory, &id(1), ENDS_S, user).unwrap();
        assert_eq!(claimed_by(&directory, &id(1)).unwrap(), None);
        assert_eq!(claim(pod("a", "")), None, "the sandbox");
        assert_eq!(claim(pod("a", "app")), None);
        assert_eq!(claim(pod("a", "proxy")), None);
        for user in [pod("a", "app"), pod("a", "")] {
            let by = claim(user).unwrap();
            assert_eq!(by, "this container in pod sandbox a");
        }
        for user in [pod("b", "app"), pod("b", ""), User::Container("a")] {
            assert_eq!(claim(user).unwrap(), "pod sandbox a");
        }
        let by = claimed_by(&directory, &id(1)).unwrap();
        assert_eq!(by.unwrap(), "pod sandbox a");
        for path in [directory.clone(), directory.join(FOLDER)] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_container_without_a_pod_starts_once_even_under_the_same_id() {
        if !is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let claim =
            |number, id_| claim(scratch.path(), &id(number), ENDS_S, User::Container(id_)).unwrap();
        assert_eq!(claim(1, "a"), None);
        assert_eq!(claim(1, "a").unwrap(), "container a");
        assert_eq!(claim(1, "b").unwrap(), "container a");
        assert_eq!(claim(2, "a"), None, "another token");
    }

    #[test]
    fn of_a_crowd_one_is_first() {
        if !is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        let first: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|number| {
                    scope.spawn(move || {
                        let sandbox = format!("sandbox-{number}");
                        let user = pod(&sandbox, "app");
                        claim(path, &id(1), ENDS_S, user).unwrap().is_none()
                    })
                })
                .collect();
            let done = threads.into_iter().map(|it| it.join().unwrap());
            done.filter(|is_first| *is_first).count()
        });
        assert_eq!(first, 1);
        let names: Vec<_> = fs::read_dir(path.join(FOLDER)).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "a binding and a use, nothing unfinished");
    }

    #[test]
    fn what_a_crash_left_is_no_claim_and_what_is_damaged_is_not_taken_for_none() {
        if !is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join(FOLDER);
        let claim = |number| claim(scratch.path(), &id(number), ENDS_S, pod("a", "app"));
        assert_eq!(claim(1).unwrap(), None);
        for number in 0..100 {
            let name = format!("{UNFINISHED}{}.{number}", process::id());
            fs::write(folder.join(name), "half").unwrap();
        }
        assert_eq!(claim(2).unwrap(), None);
        for damaged in ["", MAGIC, "portcullis-claim 1 x\na\n"] {
            fs::write(folder.join(id(3).as_str()), damaged).unwrap();
            claim(3).unwrap_err();
            claimed_by(scratch.path(), &id(3)).unwrap_err();
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        claim(4).unwrap_err();
    }

    #[test]
    fn claims_are_forgotten_a_month_after_the_end_and_not_before() {
        if !is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path();
        assert_eq!(
            claim(directory, &id(1), ENDS_S, pod("a", "app")).unwrap(),
            None
        );
        let count = || fs::read_dir(directory.join(FOLDER)).unwrap().count();
        for now_s in [0, ENDS_S, ENDS_S + KEPT_S] {
            forget_claims(directory, now_s);
            assert_eq!(count(), 2);
        }
        forget_claims(directory, ENDS_S + KEPT_S + 1);
        assert_eq!(count(), 0);
    }
}
