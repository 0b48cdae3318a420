//! Root file systems as snapshotters give them: many layers, mapped ids, disk images; and what is
//! left when a launch fails.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use serde_json::{Value, json};

use portcullis_tests::containerd::{NAMESPACE, PORTCULLIS};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::shim_tasks::{BUNDLES, ShimTasks, State};
use portcullis_tests::task_message::Mount;
use portcullis_tests::tasks::Tasks;
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::world::{Census, World};
use portcullis_tests::{image, in_world, needs, require, run};

/// containerd's own snapshots, and those of a snapshotter that only this test has.
const OVERLAYFS: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
const LAB: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.lab/snapshots";
/// Where the shim mounts the root file system of container `one`.
const ROOTFS: &str = "/run/containerd/io.containerd.runtime.v2.task/default/one/rootfs";
/// Configuration of container `one`.
const CONFIG: &str = "/run/one.json";
/// Exit code by which a program inside says that all is as it should be.
const GOOD: u32 = 42;

/// A node with the image unpacked, and with layers to be put over it.
struct Subject {
    node: Node,
    /// The image's only layer.
    base: PathBuf,
}

impl Subject {
    fn provision(world: &World) -> Outcome<Self> {
        let node = Node::provision(world)?;
        let create = ["container", "create", image::BUSYBOX, "unpacked", "true"];
        node.containerd.run_ctr(&create)?.success()?;
        let snapshots = fs::read_dir(OVERLAYFS).doing("list snapshots")?;
        let base = snapshots
            .flatten()
            .map(|entry| entry.path().join("fs"))
            .find(|layer| layer.join("bin/busybox").exists())
            .ok_or_else(|| Failure::new("no snapshot has the image"))?;
        fs::create_dir_all(LAB).doing("make a snapshotter's folder")?;
        Ok(Self { node, base })
    }

    fn tasks(&self) -> Tasks<'_> {
        self.node.containerd.tasks()
    }

    /// The configuration of any container that runs `script`, edited.
    fn configuration(&self, script: &str, edit: impl FnOnce(&mut Value)) -> Outcome<String> {
        let told = (self.node.containerd).run_ctr(&["container", "info", "unpacked"])?;
        let told: Value = serde_json::from_str(&told.success()?).doing("read a configuration")?;
        let mut config = told["Spec"].clone();
        config["process"]["args"] = json!(["sh", "-c", script]);
        edit(&mut config);
        Ok(config.to_string())
    }

    /// An entry of container `one` with that configuration, without a task and without a
    /// snapshot.
    fn container(&self, script: &str, edit: impl FnOnce(&mut Value)) -> Outcome {
        fs::write(CONFIG, self.configuration(script, edit)?).doing("write a configuration")?;
        let create = ["container", "create", "--runtime", PORTCULLIS];
        let create = [&create[..], &["--config", CONFIG, "one"]].concat();
        self.node.containerd.run_ctr(&create)?.success().map(drop)
    }

    /// The exit code of container `one` on a root file system of `mounts`; nothing is left.
    fn exit_code(&self, mounts: Vec<Mount>, look: impl FnOnce() -> Outcome) -> Outcome<u32> {
        let before = Census::take();
        let tasks = self.tasks();
        tasks.create("one", mounts)?.doing("create the task")?;
        look()?;
        tasks.start("one", "")?.doing("start the task")?;
        let code = tasks.wait("one", "")?.doing("wait for the task")?;
        tasks.delete("one")?.doing("delete the task")?;
        before.until_clean(PATIENCE)?;
        self.node.forget("one")?;
        Ok(code)
    }

    /// What the launch of container `one` fails with; nothing is left of it.
    fn failure(&self, mounts: Vec<Mount>) -> Outcome<String> {
        let before = Census::take();
        let failed = self.tasks().create("one", mounts)?;
        before.until_clean(PATIENCE)?;
        assert!(!Path::new(ROOTFS).exists(), "{failed:?}");
        self.node.forget("one")?;
        Ok(failed.unwrap_err().message)
    }

    fn finish(self) -> Outcome {
        self.node.forget("unpacked")?;
        self.node.finish()
    }

    /// `lowerdir=` with `count` layers over the image, each with a file of its own.
    fn lowers(&self, count: usize) -> Outcome<String> {
        let mut lowers = Vec::new();
        for number in (1..=count).rev() {
            let layer = format!("{LAB}/{}/fs", 1000 + number);
            fs::create_dir_all(&layer).doing("make a layer")?;
            let file = format!("{layer}/layer-{number}");
            fs::write(file, "").doing("write to a layer")?;
            lowers.push(layer);
        }
        lowers.push(self.base.display().to_string());
        Ok(format!("lowerdir={}", lowers.join(":")))
    }

    /// `upperdir=` and `workdir=`, empty, owned by `uid`.
    fn writable(&self, uid: u32) -> Outcome<[String; 2]> {
        let folder = format!("{LAB}/writable-{uid}");
        for part in ["fs", "work"] {
            let path = format!("{folder}/{part}");
            drop(fs::remove_dir_all(&path));
            fs::create_dir_all(&path).doing("make a writable layer")?;
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).doing("give it away")?;
        }
        Ok([
            format!("upperdir={folder}/fs"),
            format!("workdir={folder}/work"),
        ])
    }

    fn overlay(&self, options: &[&str]) -> Mount {
        Mount::new("overlay", "overlay", options)
    }
}

/// A container that containerd knows nothing of: its bundle, and the shim that is asked for it.
struct Unknown {
    shim: ShimTasks,
    folder: String,
}

impl Unknown {
    const ID: &str = "unknown";

    /// To be made by `shim`.
    fn new(shim: ShimTasks) -> Self {
        let folder = format!("{BUNDLES}/{NAMESPACE}/{}", Self::ID);
        Self { shim, folder }
    }

    /// Asks for it, with `config` in a new bundle, on `mounts`.
    fn create(&self, config: &str, mounts: Vec<Mount>) -> Outcome<Result<u32, Status>> {
        fs::create_dir_all(format!("{}/rootfs", self.folder)).doing("make a bundle")?;
        fs::write(format!("{}/config.json", self.folder), config).doing("write a configuration")?;
        self.shim.create(Self::ID, &self.folder, mounts)
    }

    /// How many mounts its bundle has.
    fn mounts(&self) -> Outcome<usize> {
        let table = fs::read_to_string("/proc/self/mounts").doing("read mounts")?;
        Ok(table.matches(&format!(" {}/", self.folder)).count())
    }

    /// What making it fails with; the shim leaves neither a mount nor a memory of it.
    fn failure(&self, config: &str, mounts: Vec<Mount>) -> Outcome<String> {
        let failed = self.create(config, mounts)?;
        assert_eq!(self.mounts()?, 0, "{failed:?}");
        let state = self.shim.state(Self::ID, "")?;
        assert_eq!(state.unwrap_err().code, Status::NOT_FOUND);
        fs::remove_dir_all(&self.folder).doing("remove a bundle")?;
        Ok(failed.unwrap_err().message)
    }
}

/// Asks for a capability that no profile grants.
fn greedy(config: &mut Value) {
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
    }
}

/// Wants to begin in a directory that is none.
fn nowhere(config: &mut Value) {
    config["process"]["cwd"] = json!("/bin/busybox");
}

/// Does not edit.
fn plain(_: &mut Value) {}

/// Asks for a user namespace with ids from `host` on.
fn mapped(host: u32) -> impl Fn(&mut Value) {
    move |config| {
        let range = json!([{"containerID": 0, "hostID": host, "size": 65536}]);
        let namespaces = config["linux"]["namespaces"].as_array_mut();
        namespaces
            .expect("namespaces")
            .push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = range.clone();
        config["linux"]["gidMappings"] = range;
    }
}

/// A program that looks for the files of all layers.
fn all_layers(count: usize) -> String {
    format!(
        "i=0; while [ $((i+=1)) -le {count} ]; do [ -f /layer-$i ] || exit 9; done; exit {GOOD}"
    )
}

fn uid(path: &str) -> Outcome<u32> {
    fs::metadata(path)
        .map(|metadata| metadata.uid())
        .doing(format!("look at '{path}'"))
}

/// Loop devices with a file beneath [`LAB`] behind them.
fn loop_devices() -> usize {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok())
        .filter(|file| file.contains("io.containerd.snapshotter.v1.lab"))
        .count()
}

mod needs_containerd {
    use super::*;

    #[test]
    fn t50_a_root_file_system_of_128_layers_is_mounted() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Swtpm, Programs);
        in_world!(|world| {
            let subject = Subject::provision(world)?;
            let lowers = subject.lowers(127)?;
            assert!(lowers.len() > 2 * 4096, "{}", lowers.len());
            for options in [vec![], subject.writable(0)?.to_vec()] {
                subject.container(&all_layers(127), plain)?;
                let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
                options.extend(["index=off", &lowers]);
                let code = subject.exit_code(vec![subject.overlay(&options)], || Ok(()))?;
                assert_eq!(code, GOOD);
            }
            subject.finish()
        })
    }

    #[test]
    fn t34_ids_of_a_root_file_system_are_mapped() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Swtpm, Programs);
        in_world!(|world| {
            const HOST: u32 = 200_000;
            let subject = Subject::provision(world)?;
            let range = format!("0:{HOST}:65536");
            let (uids, gids) = (format!("uidmap={range}"), format!("gidmap={range}"));
            let short = format!("lowerdir={}", subject.base.display());
            for (layers, lowers) in [(0, short), (127, subject.lowers(127)?)] {
                let inside = "[ $(stat -c %u:%g /bin/busybox) = 0:0 ] || exit 8";
                let script = format!("{inside}; {}", all_layers(layers));
                subject.container(&script, mapped(HOST))?;
                let [upper, work] = subject.writable(HOST)?;
                let options = [upper.as_str(), &work, &lowers, &uids, &gids];
                let code = subject.exit_code(vec![subject.overlay(&options)], || {
                    let shown = uid(&format!("{ROOTFS}/bin/busybox"))?;
                    assert_eq!(shown, HOST, "{layers} layers");
                    let stored = uid(&format!("{}/bin/busybox", subject.base.display()))?;
                    assert_eq!(stored, 0);
                    Ok(())
                })?;
                assert_eq!(code, GOOD, "{layers} layers");
            }
            // Not with the ids of somebody else, nor those of the host.
            let other = "uidmap=0:300000:65536";
            for (is_mapped, uids) in [(true, other), (false, &uids)] {
                if is_mapped {
                    subject.container("true", mapped(HOST))?;
                } else {
                    subject.container("true", plain)?;
                }
                let lowers = subject.lowers(0)?;
                let mounts = vec![subject.overlay(&[&lowers, uids, &gids])];
                let refused = Refusal::find(&subject.failure(mounts)?)?;
                assert_eq!(refused.short(), "refused [root-filesystem-denied]");
            }
            subject.finish()
        })
    }

    #[test]
    fn t50_disk_images_are_mounted_through_loop_devices() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Swtpm, Programs);
        in_world!(|world| {
            if require::find("mkfs.ext4").is_none() || !Path::new("/dev/loop-control").exists() {
                eprintln!("skipped: needs mkfs.ext4 and loop devices; install 'e2fsprogs'");
                return Ok(());
            }
            let subject = Subject::provision(world)?;
            let image = format!("{LAB}/2000");
            let mut make = Command::new("mkfs.ext4");
            make.args(["-q", "-d"]).arg(&subject.base);
            run::to_end(make.args([&image, "32M"]))?.success()?;
            let script = format!("grep -q ' / ext4 ' /proc/mounts && exit {GOOD}");
            for options in [&["loop", "ro"][..], &["loop", "rw", "direct-io"]] {
                subject.container(&script, plain)?;
                let mount = Mount::new("ext4", &image, options);
                let code = subject.exit_code(vec![mount], || {
                    assert_eq!(loop_devices(), 1);
                    Ok(())
                })?;
                assert_eq!((code, loop_devices()), (GOOD, 0), "{options:?}");
            }
            // A file of an image, and a device that node policy does not name.
            let hidden = format!("{LAB}/3000/fs");
            fs::create_dir_all(&hidden).doing("make a layer")?;
            let hidden = format!("{hidden}/image");
            fs::rename(&image, &hidden).doing("hide the image in a layer")?;
            for (source, option) in [(hidden.as_str(), "loop"), ("/dev/loop0", "ro")] {
                subject.container("true", plain)?;
                let failed = subject.failure(vec![Mount::new("ext4", source, &[option])])?;
                let refused = Refusal::find(&failed)?;
                assert_eq!(refused.short(), "refused [root-filesystem-denied]");
            }
            subject.finish()
        })
    }

    #[test]
    fn t50_no_mount_is_left_of_a_launch_that_fails() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Swtpm, Programs);
        in_world!(|world| {
            let subject = Subject::provision(world)?;
            let short = subject.overlay(&[&subject.lowers(1)?]);
            let long = subject.overlay(&[&subject.lowers(127)?]);
            let broken = subject.overlay(&[&subject.lowers(1)?, "index=perhaps"]);
            let long_broken = subject.overlay(&[&subject.lowers(127)?, "index=perhaps"]);
            for second in [&broken, &long_broken] {
                for first in [&short, &long] {
                    subject.container("true", plain)?;
                    let failed = subject.failure(vec![first.clone(), second.clone()])?;
                    assert!(failed.contains("cannot mount 'overlay' on"), "{failed}");
                }
            }
            for mount in [short, long] {
                subject.container("true", greedy)?;
                let refused = Refusal::find(&subject.failure(vec![mount.clone()])?)?;
                assert_eq!(refused.short(), "refused [capability-excess]");
                subject.container("true", nowhere)?;
                let failed = subject.failure(vec![mount])?;
                assert!(failed.contains("not a directory"), "{failed}");
            }
            subject.finish()
        })
    }

    /// containerd clears up after a failed launch of its own. Here it knows of none: what is gone
    /// the shim has removed.
    #[test]
    fn t50_the_shim_itself_removes_what_it_mounted() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Swtpm, Programs);
        in_world!(|world| {
            let subject = Subject::provision(world)?;
            subject.node.start("web", &[], &["sleep", "600"])?;
            let unknown = Unknown::new(ShimTasks::of(NAMESPACE, "web")?);
            let before = Census::take();
            let short = subject.overlay(&[&subject.lowers(1)?]);
            let long = subject.overlay(&[&subject.lowers(127)?]);
            let broken = subject.overlay(&[&subject.lowers(1)?, "index=perhaps"]);
            let sleep = subject.configuration("sleep 600", plain)?;
            for mount in [short, long] {
                let two = vec![mount.clone(), broken.clone()];
                let failed = unknown.failure(&sleep, two)?;
                assert!(failed.contains("cannot mount 'overlay' on"), "{failed}");
                let config = subject.configuration("true", greedy)?;
                let refused = Refusal::find(&unknown.failure(&config, vec![mount.clone()])?)?;
                assert_eq!(refused.short(), "refused [capability-excess]");
                let config = subject.configuration("true", nowhere)?;
                let failed = unknown.failure(&config, vec![mount.clone()])?;
                assert!(failed.contains("not a directory"), "{failed}");

                // And one that is made, so that the mounts are seen to be counted.
                unknown.create(&sleep, vec![mount])?.doing("make it")?;
                assert_eq!(unknown.mounts()?, 1);
                let state = unknown.shim.state(Unknown::ID, "")?.doing("look at it")?;
                assert_eq!(state.status, State::CREATED);
                unknown
                    .shim
                    .kill(Unknown::ID, "", 9, false)?
                    .doing("kill it")?;
                unknown.shim.wait(Unknown::ID, "")?.doing("wait for it")?;
                unknown.shim.delete(Unknown::ID, "")?.doing("delete it")?;
                assert_eq!(unknown.mounts()?, 0);
                fs::remove_dir_all(&unknown.folder).doing("remove a bundle")?;
            }
            before.until_clean(PATIENCE)?;
            subject.node.remove("web")?;
            subject.finish()
        })
    }

    #[test]
    fn t50_flags_hold_for_what_is_mounted_below() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Swtpm, Programs);
        in_world!(|world| {
            let subject = Subject::provision(world)?;
            let root = format!("{LAB}/4000");
            let copy = ["-a", &subject.base.display().to_string(), &root];
            run::to_end(Command::new("cp").args(copy))?.success()?;
            let below = format!("{root}/home");
            let memory = ["-t", "tmpfs", "tmpfs", &below];
            run::to_end(Command::new("mount").args(memory))?.success()?;
            for (options, expected) in [
                (&["rbind"][..], "rw"),
                (&["rbind", "rro", "rnosuid"], "ro,nosuid"),
                (&["rbind", "ro", "nosuid"], "ro,nosuid"),
                (&["rbind", "ro", "nodev"], "ro,nodev"),
            ] {
                subject.container(&format!("exit {GOOD}"), plain)?;
                let code = subject.exit_code(vec![Mount::new("bind", &root, options)], || {
                    let table = fs::read_to_string("/proc/self/mounts").doing("read mounts")?;
                    let line = table
                        .lines()
                        .find(|line| line.contains(&format!(" {ROOTFS}/home ")))
                        .unwrap_or_default();
                    let flags = line.split(' ').nth(3).unwrap_or_default();
                    assert!(flags.starts_with(expected), "{options:?}: {line}");
                    Ok(())
                })?;
                assert_eq!(code, GOOD);
            }
            run::to_end(Command::new("umount").arg(&below))?.success()?;
            subject.finish()
        })
    }

    #[test]
    fn t48_a_dead_filesystem_holds_up_its_own_launch_only() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Swtpm, Programs);
        in_world!(|world| {
            // Nobody reads what the kernel asks of this filesystem, so whoever looks at it waits.
            let dead = Path::new("/srv/dead");
            fs::create_dir_all(dead).doing("make a mount point")?;
            let server = fs::File::options().read(true).write(true).open("/dev/fuse");
            let server = server.doing("open /dev/fuse")?;
            let data = format!(
                "fd={},rootmode=40000,user_id=0,group_id=0",
                server.as_raw_fd()
            );
            let (fuse, flags) = (Some("fuse"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
            nix::mount::mount(Some("dead"), dead, fuse, flags, Some(data.as_str()))
                .doing("mount a dead filesystem")?;
            let node = Node::provision(world)?;
            let group = ["--annotation", "io.containerd.runc.v2.group=pod"];
            node.start("web", &group, &["sleep", "600"])?;
            let before = Census::take();
            let volume = "type=bind,src=/srv/dead/volume,dst=/data,options=rbind";
            let asks = [&group[..], &["--mount", volume]].concat();
            std::thread::scope(|scope| -> Outcome {
                let refused = scope.spawn(|| node.refuses(&asks));
                let mut turns = 0;
                while !refused.is_finished() {
                    let begun = Instant::now();
                    let exec = ["task", "exec", "--exec-id", "look", "web", "true"];
                    node.containerd.run_ctr(&exec)?.success()?;
                    assert!(begun.elapsed() < Duration::from_secs(4), "turn {turns}");
                    turns += 1;
                }
                let refused = refused.join().expect("a thread")?;
                assert_eq!(refused.short(), "fault [host-unreadable]");
                assert!(turns > 1, "the shim did nothing else");
                Ok(())
            })?;
            before.until_clean(PATIENCE)?;
            node.remove("web")?;
            drop(server);
            nix::mount::umount(dead).doing("unmount the dead filesystem")?;
            node.finish()
        })
    }
}
