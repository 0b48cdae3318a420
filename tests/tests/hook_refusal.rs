//! The hook under runc and crun: what it refuses does not start, and the reason can be found.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_config::profile;
use portcullis_hardening::{Concessions, OciConfig, harden};
use portcullis_host::{FactsPolicy, facts};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::run::{self, Ran};
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::world::{Shape, World};
use portcullis_tests::{image, in_world, needs, programs};
use serde_json::{Value, json};

/// What containerd 1.6 makes for `ctr run`; any other runtime caller's would do.
const CONFIG: &str = include_str!("../../crates/hardening/tests/data/ctr-1.6.20-run.json");
/// The hook where the package puts it.
const HOOK: &str = "/usr/libexec/portcullis/portcullis-hook";
/// Both stages that run before the container's first process.
const STAGES: [&str; 2] = ["createRuntime", "prestart"];
/// Both runtimes. crun 1.8 refuses hybrid cgroups, so these worlds have no unified ones.
const RUNTIMES: [&str; 2] = ["runc", "crun"];
const SHAPE: Shape = Shape { unified: false };
/// What a container prints that does start.
const STARTED: &str = "started";

/// A bundle in the world's own folder.
struct Bundle {
    directory: PathBuf,
}

impl Bundle {
    fn new(world: &World, name: &str) -> Outcome<Self> {
        let directory = world.private().join(name);
        let rootfs = directory.join("rootfs");
        for folder in ["bin", "tmp", "var/tmp", "run"] {
            fs::create_dir_all(rootfs.join(folder)).doing("make a root filesystem")?;
        }
        let busybox = image::busybox().ok_or_else(|| Failure::new("no busybox"))?;
        fs::copy(busybox, rootfs.join("bin/busybox")).doing("copy busybox")?;
        symlink("busybox", rootfs.join("bin/sh")).doing("link the shell")?;
        Ok(Self { directory })
    }

    /// A configuration with the hook of the package at `stage`, not hardened.
    fn config(&self, stage: &str) -> Outcome<Value> {
        let shipped = fs::read(programs::shipped("packaging/hooks.d/portcullis.json"))
            .doing("read the shipped hook file")?;
        let shipped: Value = serde_json::from_slice(&shipped).doing("parse the hook file")?;
        let mut config: Value = serde_json::from_str(CONFIG).doing("parse the configuration")?;
        config["process"]["args"] = json!(["/bin/sh", "-c", format!("echo {STARTED}")]);
        config["root"]["path"] = self.directory.join("rootfs").display().to_string().into();
        config["linux"]["cgroupsPath"] = "/hook-test".into();
        config["hooks"] = json!({ stage: [shipped["hook"]] });
        Ok(config)
    }

    fn write(&self, bytes: &[u8]) -> Outcome {
        fs::write(self.directory.join("config.json"), bytes).doing("write config.json")
    }

    /// Writes `config` as the wrapper or the shim would have hardened it.
    fn write_hardened(&self, config: &Value) -> Outcome {
        let oci = OciConfig::parse(config.to_string().as_bytes()).doing("parse")?;
        let rootfs = self.directory.join("rootfs");
        let facts = facts(&oci, Some(&rootfs), &FactsPolicy::default()).doing("look")?;
        let profile = profile("restricted").doing("read the profile")?;
        let hardened = harden(oci, &profile, &facts, &Concessions::none()).doing("harden")?;
        self.write(&hardened.config.to_bytes())
    }

    /// Runs the container with `runtime` to its end.
    fn run(&self, runtime: &str) -> Outcome<Ran> {
        let ran = run::to_end(
            self.command(runtime)
                .args(["run", "hooked"])
                .current_dir(&self.directory),
        )?;
        let list = run::to_end(self.command(runtime).args(["list", "--quiet"]))?.success()?;
        if list.trim().is_empty() {
            return Ok(ran);
        }
        Err(Failure::new(format!("{runtime} still has '{list}'")))
    }

    fn command(&self, runtime: &str) -> Command {
        let mut command = Command::new(runtime);
        command.arg("--root").arg(self.directory.join("state"));
        command
    }

    /// Expects the container to start, under both runtimes.
    fn starts(&self) -> Outcome {
        for runtime in RUNTIMES {
            let printed = self.run(runtime)?.success()?;
            if printed.trim() != STARTED {
                return Err(Failure::new(format!(
                    "under {runtime} it printed '{printed}'"
                )));
            }
        }
        Ok(())
    }

    /// Expects the refusal `code`, under both runtimes, and nothing of the container. Only runc
    /// shows what the hook said; its line is returned.
    fn is_refused(&self, code: &str) -> Outcome<Refusal> {
        let by_crun = self.run("crun")?;
        nothing_started(&by_crun)?;
        let by_runc = self.run("runc")?;
        nothing_started(&by_runc)?;
        let refusal = Refusal::find(&by_runc.stderr)?;
        if refusal.code == code {
            return Ok(refusal);
        }
        Err(Failure::new(format!(
            "expected '{code}', found: {}",
            refusal.line
        )))
    }
}

fn nothing_started(ran: &Ran) -> Outcome {
    if ran.status.success() || ran.stdout.contains(STARTED) {
        return Err(Failure::new(format!(
            "'{}' started the container",
            ran.line
        )));
    }
    Ok(())
}

fn expect(what: &str, expected: &str, found: &str) -> Outcome {
    if expected == found {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{what}: expected '{expected}', found '{found}'"
    )))
}

/// A host with the package's files, and no agent.
fn install() -> Outcome {
    programs::install()?;
    fs::copy(
        programs::shipped("config/portcullis.toml"),
        "/etc/portcullis/portcullis.toml",
    )
    .doing("install the shipped settings")?;
    Ok(())
}

/// Runs the hook by hand, with `state` on its standard input.
fn hook(arguments: &[&str], state: &[u8]) -> Outcome<Ran> {
    run::with_input(Command::new(HOOK).args(arguments), Some(state), PATIENCE)
}

fn state(bundle: &Path) -> Vec<u8> {
    json!({
        "ociVersion": "1.0.2", "id": "hooked", "status": "creating", "pid": 1, "bundle": bundle,
    })
    .to_string()
    .into_bytes()
}

mod needs_root {
    use super::*;

    #[test]
    fn nothing_starts_without_an_agent_at_either_stage() -> Outcome {
        needs!(Root, Runc, Crun, Busybox, Programs);
        in_world!(SHAPE, |world| {
            install()?;
            let bundle = Bundle::new(world, "bundle")?;
            for stage in STAGES {
                bundle.write_hardened(&bundle.config(stage)?)?;
                let refusal = bundle.is_refused("agent-unreachable")?;
                expect("kind", "undecided", &refusal.kind)?;
            }
            Ok(())
        })
    }

    #[test]
    fn a_host_without_settings_starts_nothing() -> Outcome {
        needs!(Root, Runc, Crun, Busybox, Programs);
        in_world!(SHAPE, |world| {
            programs::install()?;
            let bundle = Bundle::new(world, "bundle")?;
            bundle.write_hardened(&bundle.config("createRuntime")?)?;
            bundle.is_refused("config-missing").map(drop)
        })
    }

    #[test]
    fn the_exit_code_tells_what_sort_of_answer_it_is() -> Outcome {
        needs!(Root, Busybox, Programs);
        in_world!(SHAPE, |world| {
            install()?;
            let bundle = Bundle::new(world, "bundle")?;
            bundle.write_hardened(&bundle.config("createRuntime")?)?;
            let twice = r#"{"ociVersion":"1.0.2","process":{},"Process":{}}"#;
            let ambiguous = Bundle::new(world, "ambiguous")?;
            ambiguous.write(twice.as_bytes())?;
            for (arguments, input, exit) in [
                (vec![], state(&bundle.directory), 2),
                (vec![], state(&ambiguous.directory), 64),
                (vec![], state(Path::new("/nowhere")), 64),
                (vec![], b"{}".to_vec(), 64),
                (vec!["--deadlin", "8s"], state(&bundle.directory), 64),
                (vec!["--version"], vec![], 64),
            ] {
                let ran = hook(&arguments, &input)?;
                let found = ran.status.code().unwrap_or_default();
                expect(&ran.stderr, &exit.to_string(), &found.to_string())?;
                let lines = ran.stderr.lines().count() + ran.stdout.lines().count();
                expect("number of lines", "1", &lines.to_string())?;
            }
            Ok(())
        })
    }

    #[test]
    fn the_reason_is_in_the_system_log_too() -> Outcome {
        needs!(Root, Programs);
        in_world!(SHAPE, |world| {
            install()?;
            let socket = world.private().join("log.sock");
            let log = UnixDatagram::bind(&socket).doing("listen as the system log")?;
            log.set_read_timeout(Some(PATIENCE))
                .doing("set a deadline")?;
            // Its own /dev, so that nothing is placed in the machine's.
            let script = format!(
                "mount -t tmpfs none /dev && ln -s {} /dev/log && exec {HOOK}",
                socket.display()
            );
            let ran = run::with_input(
                Command::new("unshare").args(["-m", "sh", "-c", &script]),
                Some(b"garbage"),
                PATIENCE,
            )?;
            let mut datagram = [0; 1024];
            let length = log.recv(&mut datagram).doing("receive a line of the log")?;
            let logged = String::from_utf8_lossy(&datagram[..length]).into_owned();
            let line = ran.stderr.trim_end();
            let refusal = Refusal::find(line)?;
            expect("code", "hook-state-malformed", &refusal.code)?;
            let logged_line = logged.split_once("]: ").map_or("", |(_, line)| line);
            expect("line in the log", line, logged_line)?;
            expect(
                "priority",
                "<27>portcullis-hook[",
                logged.get(..20).unwrap_or_default(),
            )
        })
    }

    #[test]
    fn a_runtime_that_never_ends_its_input_does_not_hold_the_hook() -> Outcome {
        needs!(Root, Programs);
        in_world!(SHAPE, |_world| {
            install()?;
            let mut child = Command::new(HOOK)
                .args(["--deadline", "100ms"])
                .stdin(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .doing("start the hook")?;
            let input = child.stdin.take();
            let status = run::wait_for(&mut child, HOOK, PATIENCE)?;
            drop(input);
            expect(
                "exit code",
                "64",
                &status.code().unwrap_or_default().to_string(),
            )
        })
    }
}

mod needs_swtpm {
    use super::*;

    /// Everything on one host, because setting one up takes longer than all the cases.
    #[test]
    fn only_a_hardened_bundle_on_a_trusted_host_starts() -> Outcome {
        needs!(Root, Swtpm, Containerd, Runc, Crun, Busybox, Programs);
        in_world!(SHAPE, |world| {
            let mut node = Node::provision(world)?;
            let bundle = Bundle::new(world, "bundle")?;
            for stage in STAGES {
                bundle.write_hardened(&bundle.config(stage)?)?;
                bundle.starts()?;
            }
            refuses_what_is_not_hardened(&node, &bundle)?;
            judges_by_the_modes_of_rules(&node, &bundle)?;
            records_what_it_cannot_judge(&node, &bundle)?;
            refuses_a_tag_that_is_not_met(&bundle)?;
            judges_image_level_and_versions(&node, &bundle)?;
            refuses_a_drifted_host(&node, &bundle)?;
            bundle.write_hardened(&bundle.config("createRuntime")?)?;
            node.stop_agent()?;
            bundle.is_refused("agent-unreachable")?;
            node.start_agent()?;
            node.attest()?;
            bundle.starts()?;
            node.finish()
        })
    }

    fn refuses_what_is_not_hardened(node: &Node, bundle: &Bundle) -> Outcome {
        bundle.write(bundle.config("createRuntime")?.to_string().as_bytes())?;
        let refusal = bundle.is_refused("bundle-unhardened")?;
        let explained = node
            .portcullis(&["explain", &refusal.reference, "--output", "json"])?
            .success()?;
        let record: Value = serde_json::from_str(&explained).doing("parse the record")?;
        expect(
            "operation",
            "hook",
            record["operation"].as_str().unwrap_or_default(),
        )?;
        expect(
            "decision",
            "refused",
            record["decision"].as_str().unwrap_or_default(),
        )?;

        node.set("50-audit", "mode = \"audit\"\n")?;
        bundle.starts()?;
        node.unset("50-audit")?;
        node.set("50-lax", "[hook]\nrequire_hardened = false\n")?;
        bundle.starts()?;
        node.unset("50-lax")?;

        let mut privileged = bundle.config("createRuntime")?;
        privileged["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN"]);
        bundle.write(privileged.to_string().as_bytes())?;
        bundle.is_refused("capability-excess").map(drop)
    }

    /// A bundle that is hardened but for one rule starts where that rule is in audit.
    fn judges_by_the_modes_of_rules(node: &Node, bundle: &Bundle) -> Outcome {
        bundle.write_hardened(&bundle.config("createRuntime")?)?;
        let path = bundle.directory.join("config.json");
        let text = fs::read_to_string(&path).doing("read config.json")?;
        let (hardened, loose) = ("\"readonly\":true", "\"readonly\":false");
        bundle.write(text.replace(hardened, loose).as_bytes())?;
        bundle.is_refused("bundle-unhardened")?;
        node.set("50-rules", "[rules]\nread-only-root = \"audit\"\n")?;
        bundle.starts()?;
        let listed = ["ledger", "list", "--last", "1", "--output", "json"];
        let listed = node.portcullis(&listed)?.success()?;
        let listed: Value = serde_json::from_str(&listed).doing("parse the ledger")?;
        let entry = &listed["entries"][0];
        let finding = &entry["audited"]["changes"][0];
        expect("decision", "\"permitted\"", &entry["decision"].to_string())?;
        expect("rule", "\"read-only-root\"", &finding["rule"].to_string())?;
        node.unset("50-rules")?;
        bundle.is_refused("bundle-unhardened").map(drop)
    }

    /// A refusal is in the ledger even if nothing is known but the container's id.
    fn records_what_it_cannot_judge(node: &Node, bundle: &Bundle) -> Outcome {
        const SETTINGS: &str = "/etc/portcullis/portcullis.toml";
        let recorded = |refusal: &Refusal| {
            let asked = ["explain", &refusal.reference, "--output", "json"];
            let explained = node.portcullis(&asked)?.success()?;
            let record: Value = serde_json::from_str(&explained).doing("parse the record")?;
            expect(
                "container",
                "\"hooked\"",
                &record["container"]["id"].to_string(),
            )?;
            expect("decision", "\"fault\"", &record["decision"].to_string())
        };
        bundle.write_hardened(&bundle.config("createRuntime")?)?;
        fs::rename(SETTINGS, "/etc/portcullis/settings.aside").doing("take the settings away")?;
        let refusal = bundle.is_refused("config-missing");
        fs::rename("/etc/portcullis/settings.aside", SETTINGS).doing("put the settings back")?;
        recorded(&refusal?)?;
        // The runtime has read its configuration when the hook finds another one.
        let state = state(Path::new("/nowhere"));
        let refused = hook(&[], &state)?;
        recorded(&Refusal::find(&refused.stderr)?)
    }

    fn refuses_a_tag_that_is_not_met(bundle: &Bundle) -> Outcome {
        for (requirement, met) in [("country in (DE, FR)", true), ("country=US", false)] {
            let mut config = bundle.config("createRuntime")?;
            config["annotations"] = json!({ "portcullis.dev/require-tags": requirement });
            bundle.write_hardened(&config)?;
            if met {
                bundle.starts()?;
            } else {
                bundle.is_refused("asset-tag-mismatch")?;
            }
        }
        Ok(())
    }

    /// The runtime whose version is asked is the one that runs the hook.
    fn judges_image_level_and_versions(node: &Node, bundle: &Bundle) -> Outcome {
        bundle.write_hardened(&bundle.config("createRuntime")?)?;
        for (settings, code) in [
            ("[image]\ndigest_only = true", Some("image-unknown")),
            // The host's tag says pool=shop.
            ("[sensitivity]\ntag = \"pool\"\ndefault = \"shop\"", None),
            (
                "[sensitivity]\ntag = \"pool\"\ndefault = \"pci\"",
                Some("sensitivity-mismatch"),
            ),
            (
                "[sensitivity]\npin = true\n[versions]\nkernel = \"99.0\"",
                Some("sensitivity-unknown"),
            ),
            ("[sensitivity]\npin = true\ndefault = \"pci\"", None),
            (
                "[sensitivity]\npin = true\ndefault = \"public\"",
                Some("sensitivity-mismatch"),
            ),
            ("[versions]\nrunc = \"1.0.0-rc93\"\ncrun = \"0.19\"", None),
            (
                "[versions]\nrunc = \"99.0\"\ncrun = \"99.0\"",
                Some("runtime-version-denied"),
            ),
            (
                "[versions]\nkernel = \"99.0\"",
                Some("kernel-version-denied"),
            ),
        ] {
            node.set("50-rules", &format!("{settings}\n"))?;
            match code {
                Some(code) => bundle.is_refused(code).map(drop)?,
                None => bundle.starts()?,
            }
        }
        node.unset("50-rules")
    }

    fn refuses_a_drifted_host(node: &Node, bundle: &Bundle) -> Outcome {
        bundle.write_hardened(&bundle.config("createRuntime")?)?;
        node.tpm.extend(7, [0xab; 32]).doing("extend PCR 7")?;
        bundle.is_refused("pcr-drift")?;
        node.reboot_and_attest()?;
        bundle.starts()
    }
}
