//! The programs: how each is run, as its documentation asks, and what shows that it works.

use serde_json::{Value, json};

/// Where its scripts and settings are shown inside, as a ConfigMap is.
pub(super) const FILES: &str = "/config";
/// Last line of a script that has found all well.
pub(super) const ALL_WELL: &str = "all is well";
/// As in Debian, and where it keeps programs that are not to be in everybody's path.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:\
                    /usr/lib/postgresql/15/bin";

/// One program and the work it has to do.
#[derive(Debug)]
pub(super) struct Program {
    /// Its name in the table; letters, digits and '-'.
    pub(super) name: &'static str,
    /// The Debian package it is from.
    pub(super) package: &'static str,
    /// What is tried, in a few words.
    pub(super) work: &'static str,
    /// User and group in the image, in numbers: the package's own, or 1000.
    user: &'static str,
    /// What the container runs.
    pub(super) command: &'static [&'static str],
    /// Files at [`FILES`].
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Folder for an empty volume, if it needs one.
    pub(super) data: Option<&'static str>,
    /// How to see that it works.
    pub(super) proof: Proof,
}

/// What shows that a program works.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// It ends with success, and [`ALL_WELL`] is what it printed.
    Ends,
    /// This shell script, run beside it in the container, prints a text with this in it.
    Answers(&'static str, &'static str),
}

/// All of them.
pub(super) const ALL: [Program; 11] = [
    Program {
        name: "nginx",
        package: "nginx-light",
        work: "two workers; a page over HTTP, port 8080; temporary paths beneath `/tmp`",
        user: "33:33",
        command: &[
            "nginx",
            "-e",
            "stderr",
            "-c",
            "/config/nginx.conf",
            "-g",
            "daemon off;",
        ],
        files: &[("nginx.conf", include_str!("files/nginx.conf"))],
        data: None,
        proof: Proof::Answers(
            "busybox wget -q -O - http://127.0.0.1:8080/index.nginx-debian.html",
            "Welcome to nginx!",
        ),
    },
    Program {
        name: "postgres",
        package: "postgresql-15",
        work: "`initdb`; a table, rows, an index and a sum through `psql`; its socket in `/tmp`",
        user: "102:104",
        command: &[
            "/bin/sh",
            "-c",
            "initdb --auth=trust -D /var/lib/postgresql/data/main && \
             exec postgres -D /var/lib/postgresql/data/main -k /tmp",
        ],
        files: &[],
        data: Some("/var/lib/postgresql/data"),
        proof: Proof::Answers(
            "psql -h /tmp -U postgres -v ON_ERROR_STOP=1 -tA \
             -c 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS n' \
             -c 'CREATE INDEX ON t (n)' -c 'SELECT sum(n) FROM t' -c 'CHECKPOINT'",
            "500500",
        ),
    },
    Program {
        name: "redis",
        package: "redis-server",
        work: "SET, GET and BGSAVE, which forks; append-only file on a volume",
        user: "101:103",
        command: &[
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--dir",
            "/var/lib/redis",
            "--appendonly",
            "yes",
        ],
        files: &[],
        data: Some("/var/lib/redis"),
        proof: Proof::Answers(
            "redis-cli set key kept && redis-cli bgsave && \
             for n in 1 2 3 4 5 6 7 8 9 10; do \
             redis-cli info persistence | grep -q rdb_bgsave_in_progress:0 || sleep 1; done; \
             redis-cli info persistence | grep rdb_last_bgsave_status:ok && \
             test -s /var/lib/redis/dump.rdb && redis-cli get key",
            "kept",
        ),
    },
    Program {
        name: "memcached",
        package: "memcached",
        work: "`set` and `get`",
        user: "100:101",
        command: &["memcached", "-l", "127.0.0.1", "-p", "11211"],
        files: &[],
        data: None,
        proof: Proof::Answers(
            "printf 'set key 0 0 4\\r\\nkept\\r\\nget key\\r\\nquit\\r\\n' | \
             busybox nc 127.0.0.1 11211",
            "VALUE key 0 4",
        ),
    },
    Program {
        name: "python",
        package: "python3.11",
        work: "threads, `multiprocessing`, `subprocess`, SQLite, `ssl`, `ctypes`, sockets",
        user: "1000:1000",
        command: &["python3", "/config/check.py"],
        files: &[("check.py", include_str!("files/check.py"))],
        data: None,
        proof: Proof::Ends,
    },
    Program {
        name: "node",
        package: "nodejs",
        work: "HTTP, `worker_threads`, `child_process`, files, WebAssembly",
        user: "1000:1000",
        command: &["node", "/config/check.js"],
        files: &[("check.js", include_str!("files/check.js"))],
        data: None,
        proof: Proof::Ends,
    },
    Program {
        name: "node-interfaces",
        package: "nodejs",
        work: "lists the network interfaces, through netlink",
        user: "1000:1000",
        command: &["node", "/config/interfaces.js"],
        files: &[("interfaces.js", include_str!("files/interfaces.js"))],
        data: None,
        proof: Proof::Ends,
    },
    Program {
        name: "jvm",
        package: "openjdk-17-jre-headless",
        work: "compiles and runs a source: threads, HTTP, a child, mapped files",
        user: "1000:1000",
        command: &["java", "/config/Main.java"],
        files: &[("Main.java", include_str!("files/Main.java"))],
        data: None,
        proof: Proof::Ends,
    },
    Program {
        name: "jvm-native",
        package: "openjdk-17-jre-headless",
        work: "loads a native library that it has put beneath `/tmp`",
        user: "1000:1000",
        command: &["java", "/config/Native.java"],
        files: &[("Native.java", include_str!("files/Native.java"))],
        data: None,
        proof: Proof::Ends,
    },
    Program {
        name: "busybox",
        package: "busybox-static",
        work: "over thirty applets: text, files, archives, processes, sockets",
        user: "1000:1000",
        command: &["busybox", "sh", "/config/applets.sh"],
        files: &[("applets.sh", include_str!("files/applets.sh"))],
        data: None,
        proof: Proof::Ends,
    },
    Program {
        name: "busybox-ip",
        package: "busybox-static",
        work: "`ip addr`, through netlink",
        user: "1000:1000",
        command: &[
            "busybox",
            "sh",
            "-c",
            "busybox ip addr show lo && echo all is well",
        ],
        files: &[],
        data: None,
        proof: Proof::Ends,
    },
];

// === impl Program ===

impl Program {
    /// Name of its image, without the digest.
    pub(super) fn image(&self) -> String {
        format!("registry.portcullis.test/{}", self.name)
    }

    /// `config` of its OCI image configuration.
    pub(super) fn config(&self) -> Value {
        // The label makes a digest of its own of what is otherwise alike.
        json!({
            "Cmd": self.command,
            "Env": [PATH, "HOME=/tmp"],
            "User": self.user,
            "Labels": {"org.opencontainers.image.title": self.name},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, FILES};
    use std::collections::BTreeSet;

    #[test]
    fn each_program_has_its_own_name_and_is_an_ordinary_user() {
        let names: BTreeSet<&str> = ALL.iter().map(|program| program.name).collect();
        assert_eq!(names.len(), ALL.len());
        for program in &ALL {
            let (user, group) = program.user.split_once(':').expect("user and group");
            for id in [user, group] {
                assert_ne!(id.parse::<u32>(), Ok(0), "{}", program.name);
            }
        }
    }

    #[test]
    fn each_file_is_used_by_its_program() {
        for program in &ALL {
            for (name, _) in program.files {
                let at = format!("{FILES}/{name}");
                assert!(program.command.contains(&at.as_str()), "{at}");
            }
        }
    }
}
