use std::fs;

use super::*;

#[tokio::test]
async fn has_nothing_to_watch_without_a_memory_controller() {
    let dir = tempfile::tempdir().unwrap();
    let cgroup = Cgroup::V2(dir.path().to_owned());
    assert!(OomWatch::start(&cgroup, || ()).unwrap().is_none());
    assert!(
        OomWatch::start(&Cgroup::V1([].into()), || ())
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_file_of_which_the_kernel_tells_nothing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("memory.events"), "oom_kill 0\n").unwrap();
    let cgroup = Cgroup::V2(dir.path().to_owned());
    let error = OomWatch::start(&cgroup, || ()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
}

/// `cgroup.events` is told of in the same way as `memory.events`, and every group has it, in
/// whichever version the memory controller is: `frozen` is 1 while the group is frozen.
mod needs_root {
    use std::time::{Duration, Instant};

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    const FROZEN: (&str, &str) = ("cgroup.events", "frozen");
    const PATIENCE: Duration = Duration::from_secs(10);
    /// How long nothing may be told where nothing is to be told.
    const QUIET: Duration = Duration::from_millis(50);

    /// An empty group of version 2.
    struct Group(PathBuf);

    impl Group {
        fn make(name: &str) -> Option<Self> {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            let root = mounts.lines().find_map(|line| {
                let mut words = line.split(' ').skip(1);
                let (at, kind) = (words.next()?, words.next()?);
                (kind == "cgroup2").then_some(at)
            });
            let root = match root {
                Some(root) if nix::unistd::geteuid().is_root() => root,
                _ => {
                    eprintln!("skipped: needs root and a mounted cgroup2");
                    return None;
                }
            };
            let name = format!("portcullis-{name}-{}", std::process::id());
            let group = Path::new(root).join(name);
            match fs::create_dir(&group) {
                Ok(()) => Some(Self(group)),
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    eprintln!("skipped: needs a cgroup2 to write to");
                    None
                }
                Err(error) => panic!("cannot make '{}': {error}", group.display()),
            }
        }

        fn freeze(&self, freeze: bool) {
            fs::write(self.0.join("cgroup.freeze"), if freeze { "1" } else { "0" }).unwrap();
        }

        /// Watches for the group to be frozen.
        fn watch(&self) -> (OomWatch, UnboundedReceiver<()>) {
            let (sender, told) = unbounded_channel();
            let counter = Counter::open(&self.0, FROZEN).unwrap();
            let counted = counter.read().unwrap();
            let watch = counter.forward(counted, move || sender.send(()).unwrap());
            (OomWatch(tokio::spawn(async { drop(watch.await) })), told)
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            fs::remove_dir(&self.0).unwrap();
        }
    }

    async fn is_told(told: &mut UnboundedReceiver<()>) {
        let next = tokio::time::timeout(PATIENCE, told.recv()).await;
        assert_eq!(next, Ok(Some(())), "a change was not told");
    }

    /// Long enough for a watch that would tell wrongly to do so.
    async fn is_not_told(told: &mut UnboundedReceiver<()>) {
        let next = tokio::time::timeout(QUIET, told.recv()).await;
        assert!(next.is_err(), "told of what is no rise: {next:?}");
    }

    #[tokio::test]
    async fn a_number_that_rises_is_told_each_time_and_no_other_change() {
        let Some(group) = Group::make("rises") else {
            return;
        };
        let (_watch, mut told) = group.watch();
        for _ in 0..3 {
            group.freeze(true);
            is_told(&mut told).await;
            // A change, of which the kernel tells as well, but downwards.
            group.freeze(false);
            is_not_told(&mut told).await;
        }
    }

    #[tokio::test]
    async fn what_was_before_is_not_told_and_a_rise_is_not_missed() {
        let Some(group) = Group::make("before") else {
            return;
        };
        group.freeze(true);
        let (_watch, mut told) = group.watch();
        is_not_told(&mut told).await;
        group.freeze(false);
        is_not_told(&mut told).await;
        group.freeze(true);
        is_told(&mut told).await;
    }

    #[tokio::test]
    async fn the_end_of_the_watch_and_of_the_group_holds_up_nothing() {
        let Some(group) = Group::make("ends") else {
            return;
        };
        let (watch, mut told) = group.watch();
        let begun = Instant::now();
        drop(watch);
        // The last holder of the sender is gone with the watch, and with it the open file.
        assert_eq!(told.recv().await, None);
        let took = begun.elapsed();
        eprintln!("measured: the watch ends in {} µs", took.as_micros());
        let (_watch, _told) = group.watch();
        drop(group);
    }
}
