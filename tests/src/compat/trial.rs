//! One program under one profile, in a pod of its own: does it do its work?

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::profile::Profile;
use super::program::{ALL_WELL, FILES, Program, Proof};
use crate::cri::message::{
    ContainerConfig, ContainerSecurityContext, IdMapping, ImageSpec, LinuxContainerConfig,
    LinuxContainerResources, Mount, NamespaceOption, PodSandboxConfig, SandboxSecurityContext,
    UserNamespace,
};
use crate::cri::{self, Cri, Pod};
use crate::failure::{Doing, Failure, Outcome};
use crate::node::Node;
use crate::wait;

/// Our runtime handler.
const HANDLER: &str = "portcullis";
/// Folder of the kubelet, in which the volumes are.
pub(super) const KUBELET: &str = "/var/lib/kubelet";
/// What user 0 of a pod with a user namespace is on the host.
const HOST: u32 = 200_000;
/// Share of processor time, as a kubelet gives it to a container that asks for none.
const CPU_SHARES: i64 = 2;
/// Memory that a container may have, in bytes.
const MEMORY: i64 = 1 << 30;
/// How long a program may take to do its work.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two questions to a program that does not answer yet.
const PAUSE: Duration = Duration::from_millis(250);
/// State of a container that has ended.
const EXITED: i32 = 2;
/// Marks of a line that says what is wrong.
const WRONG: [&str; 8] = [
    "error",
    "exception",
    "fatal",
    "fail",
    "denied",
    "cannot",
    "permitted",
    "emerg",
];

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// It did its work.
    Passes,
    /// It did not, and said so.
    Fails(String),
}

/// A program under a profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial<'a> {
    /// The host.
    pub(super) node: &'a Node,
    /// The program.
    pub(super) program: &'static Program,
    /// Its image, by digest.
    pub(super) image: &'a str,
    /// The profile.
    pub(super) profile: Profile,
}

// === impl Trial ===

impl Trial<'_> {
    /// Runs it in a new pod, and removes the pod.
    ///
    /// # Errors
    ///
    /// When containerd does not answer, or the pod cannot be removed; not when it or the program is
    /// refused or fails.
    pub(super) fn run(&self) -> Outcome<Held> {
        let cri = self.node.containerd.cri();
        let config = self.pod();
        let logs = PathBuf::from(&config.log_directory);
        if logs.exists() {
            fs::remove_dir_all(&logs).doing("remove old logs")?;
        }
        let pod = match cri.run_pod(config, HANDLER)? {
            Ok(pod) => pod,
            Err(status) => return Ok(Held::Fails(refusal(&status.message))),
        };
        let held = self.within(&cri, &pod);
        cri.remove_pod(&pod)?;
        fs::remove_dir_all(self.volumes()).doing("remove the volumes")?;
        held
    }

    fn within(&self, cri: &Cri<'_>, pod: &Pod) -> Outcome<Held> {
        let id = match cri.launch(pod, self.container()?)? {
            Ok(id) => id,
            Err(status) => return Ok(Held::Fails(refusal(&status.message))),
        };
        let log = Path::new(&pod.config.log_directory).join(format!("{}.log", self.program.name));
        let mut said = String::new();
        let works = wait::until("the program to do its work", PATIENCE, || {
            let looked = self.look(cri, &id, &log, &mut said).transpose();
            if looked.is_none() {
                std::thread::park_timeout(PAUSE);
            }
            looked
        });
        match works {
            Ok(Ok(true)) => Ok(Held::Passes),
            Ok(Ok(false)) => Ok(Held::Fails(complaint(&printed(&log)))),
            Ok(Err(failure)) => Err(failure),
            Err(late) if said.is_empty() => Ok(Held::Fails(late.to_string())),
            Err(_) => Ok(Held::Fails(complaint(&said))),
        }
    }

    /// Whether it works; nothing while that cannot be said. `said` is what the last question came to.
    fn look(
        &self,
        cri: &Cri<'_>,
        id: &str,
        log: &Path,
        said: &mut String,
    ) -> Outcome<Option<bool>> {
        let status = cri.status(id)?;
        let ended = status.state == EXITED;
        match self.program.proof {
            Proof::Ends if ended => {
                let well = printed(log).lines().any(|line| line == ALL_WELL);
                Ok(Some(status.exit_code == 0 && well))
            }
            Proof::Ends => Ok(None),
            // A server that ends is one that failed.
            Proof::Answers(..) if ended => Ok(Some(false)),
            Proof::Answers(script, answer) => {
                let done = match cri.exec(id, &["/bin/sh", "-c", script])? {
                    Ok(done) => done,
                    Err(status) => {
                        *said = refusal(&status.message);
                        return Ok(None);
                    }
                };
                let right = String::from_utf8_lossy(&done.stdout).contains(answer);
                *said = String::from_utf8_lossy(&done.stderr).into_owned();
                Ok((done.exit_code == 0 && right).then_some(true))
            }
        }
    }

    fn pod(&self) -> PodSandboxConfig {
        let mut config = cri::pod(self.profile.name(), self.program.name);
        let linux = config.linux.get_or_insert_default();
        linux.security_context = Some(SandboxSecurityContext {
            namespace_options: self.namespaces(),
            ..SandboxSecurityContext::default()
        });
        config
    }

    fn container(&self) -> Outcome<ContainerConfig> {
        let mut config = cri::container(self.program.name, self.program.command);
        config.image = Some(ImageSpec {
            image: self.image.to_owned(),
        });
        let settings = self.volume("configmap", 0o755)?;
        for (name, text) in self.program.files {
            let path = settings.join(name);
            fs::write(&path, text).doing(format!("write '{}'", path.display()))?;
        }
        config.mounts.push(self.mount(&settings, FILES, true));
        if let Some(at) = self.program.data {
            let data = self.volume("empty-dir", 0o777)?;
            config.mounts.push(self.mount(&data, at, false));
        }
        config.linux = Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources {
                memory_limit_in_bytes: MEMORY,
                cpu_shares: CPU_SHARES,
                ..LinuxContainerResources::default()
            }),
            security_context: Some(ContainerSecurityContext {
                namespace_options: self.namespaces(),
                ..ContainerSecurityContext::default()
            }),
        });
        Ok(config)
    }

    /// Folder with the volumes of its pod, named as the kubelet names them.
    fn volumes(&self) -> PathBuf {
        let (profile, name) = (self.profile.name(), self.program.name);
        Path::new(KUBELET).join(format!("pods/uid-{profile}-{name}"))
    }

    /// An empty volume of a kind: `empty-dir`, `configmap`.
    fn volume(&self, kind: &str, mode: u32) -> Outcome<PathBuf> {
        let folder = self.volumes();
        let folder = folder.join(format!("volumes/kubernetes.io~{kind}/it"));
        fs::create_dir_all(&folder).doing(format!("make '{}'", folder.display()))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))
            .doing(format!("set the mode of '{}'", folder.display()))?;
        Ok(folder)
    }

    fn mount(&self, from: &Path, at: &str, readonly: bool) -> Mount {
        Mount {
            container_path: at.to_owned(),
            host_path: from.display().to_string(),
            readonly,
            uids: self.ids(),
            gids: self.ids(),
        }
    }

    /// Only profile `strict` demands a user namespace.
    fn ids(&self) -> Vec<IdMapping> {
        let mapping = IdMapping {
            host_id: HOST,
            container_id: 0,
            length: 65536,
        };
        let is_mapped = self.profile == Profile::Strict;
        is_mapped.then_some(mapping).into_iter().collect()
    }

    fn namespaces(&self) -> Option<NamespaceOption> {
        let user = UserNamespace {
            mode: 0,
            uids: self.ids(),
            gids: self.ids(),
        };
        (self.profile == Profile::Strict).then(|| NamespaceOption {
            user: Some(user),
            ..NamespaceOption::default()
        })
    }
}

/// What a container has printed, without the words that CRI puts before each line.
fn printed(log: &Path) -> String {
    // Sample: `2026-01-02T03:04:05.678901234Z stderr F text`.
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The first line that says what is wrong, or else the last one.
fn complaint(text: &str) -> String {
    let is_wrong = |line: &&str| {
        let line = line.to_lowercase();
        WRONG.iter().any(|mark| line.contains(mark))
    };
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(is_wrong).or_else(|| lines().next_back());
    line.unwrap_or("it ended without a word").to_owned()
}

/// Our own line in what containerd says, or else all of it.
fn refusal(message: &str) -> String {
    let line = crate::refusal::Refusal::find(message).map(|found| found.line);
    line.unwrap_or_else(|_: Failure| message.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{complaint, printed};

    #[test]
    fn the_first_line_that_says_what_is_wrong_is_told() {
        let text = "starting\n\nFATAL: no room\nerror: later\n";
        assert_eq!(complaint(text), "FATAL: no room");
        assert_eq!(complaint("one\ntwo\n"), "two");
        assert_eq!(complaint(""), "it ended without a word");
    }

    #[test]
    fn the_words_of_cri_are_taken_from_a_log() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let text =
            "2026-01-02T03:04:05.6Z stderr F out of luck\n2026-01-02T03:04:05.6Z stdout F x\n";
        std::fs::write(log.path(), text).unwrap();
        assert_eq!(printed(log.path()), "out of luck\nx");
    }
}
