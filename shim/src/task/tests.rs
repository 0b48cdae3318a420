use std::path::Path;

use nix::sys::wait::{WaitStatus, waitpid};

use super::*;
use crate::options::RuntimeOptions;
use crate::runtime::Runtime;

fn shim() -> Shim {
    let settings = Settings {
        namespace: "default".to_owned(),
        socket: "/nowhere".into(),
        events_address: None,
        default_options: RuntimeOptions::default(),
    };
    let events = Events::forward_to(None, &settings.namespace);
    Shim::new(settings, events)
}

/// A call of an OCI runtime that starts a program, notes its process number in the bundle under
/// `started`, and does not end.
fn endless(bundle: &Path) -> Call {
    use std::os::unix::fs::PermissionsExt;
    let binary = bundle.join("runtime");
    let script = "#!/bin/sh\nsleep 600 &\necho $! >new && mv new started\nwait\n";
    std::fs::write(&binary, script).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = RuntimeOptions::default();
    Runtime::new(binary, &options, "default", bundle, false).plain("start", "one")
}

fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

/// The limit is the real one; only the clock of the event loop runs faster, from when the command
/// is under way.
#[tokio::test]
async fn t48_a_command_that_is_late_is_killed_with_all_that_it_started() {
    let bundle = tempfile::tempdir().unwrap();
    let shim = Arc::new(shim());
    let running = tokio::spawn({
        let (shim, call) = (Arc::clone(&shim), endless(bundle.path()));
        async move { shim.run(call).await }
    });
    let started = bundle.path().join("started");
    while !started.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!running.is_finished());
    let program = std::fs::read_to_string(started).unwrap();
    assert!(is_alive(program.trim()));

    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let error = running.await.unwrap().unwrap_err();
    let took = begun.elapsed();
    assert_eq!(
        error.to_string(),
        "OCI runtime start did not finish within 120 s and was killed"
    );
    let slack = Duration::from_secs(10);
    assert!(
        took + slack > COMMAND_LIMIT && took < COMMAND_LIMIT + slack,
        "{took:?}"
    );
    tokio::time::resume();

    // Nobody collects children here but this test.
    let commands: Vec<i32> = shim.lock().children.keys().copied().collect();
    let [command] = commands[..] else {
        panic!("{commands:?}")
    };
    let command = Pid::from_raw(command);
    let killed = WaitStatus::Signaled(command, SIGKILL, false);
    assert_eq!(waitpid(command, None), Ok(killed));
    tokio::time::timeout(slack, async {
        while is_alive(program.trim()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the end of what the command had started");
}
