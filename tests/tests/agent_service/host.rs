//! A host with a software TPM and an agent, provisioned without the `portcullis` command.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_attestation::jwk::{KeyUse, TrustedKey};
use portcullis_attestation::jws::Signer;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrValues};
use portcullis_attestation::reference::{BootState, Endorsement, ReferenceValues};
use portcullis_attestation::software_key::SoftwareKey;
use portcullis_attestation::tag::AssetTag;
use portcullis_attestation::tag::authorization::WriteAuthorization;
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::ueid::Ueid;
use portcullis_client::method::{Capture, Enroll, ProvisionTag, RequestTag, Snapshot, Status};
use portcullis_client::{AgentError, Client, ClientError, Method};
use portcullis_gate::{Decision, LaunchRequest, decide};
use portcullis_tests::daemon::Daemon;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::programs;
use portcullis_tests::swtpm::Swtpm;
use portcullis_tests::world::World;
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) const SOCKET: &str = "/run/portcullis/agent.sock";
const AGENT: &str = "/usr/libexec/portcullis/portcullis-agent";
/// Set for a test that runs as nobody.
pub(crate) const CALLER: &str = "PORTCULLIS_TEST_CALLER";
/// User and group without rights.
const NOBODY: u32 = 65534;
const TPM_DROP_IN: &str = "/etc/portcullis/portcullis.d/10-tpm.toml";
/// Long enough for a call on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Host {
    pub(crate) tpm: Swtpm,
    agent: Option<Daemon>,
    log: PathBuf,
    reference_key: u8,
    tag_key: u8,
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

pub(crate) fn key(seed: u8) -> SoftwareKey {
    SoftwareKey::from_random(&Zeroizing::new([seed; 32])).unwrap()
}

/// Puts the programs and the shipped settings where a package would.
pub(crate) fn install() -> Outcome {
    programs::install()?;
    for folder in ["", "portcullis.d", "trust.d", "reference.d"] {
        let folder = Path::new("/etc/portcullis").join(folder);
        fs::create_dir_all(&folder).doing(format!("make '{}'", folder.display()))?;
    }
    let shipped = programs::shipped("config/portcullis.toml");
    fs::copy(shipped, "/etc/portcullis/portcullis.toml").doing("install the settings")?;
    Ok(())
}

/// Runs the agent in the foreground until it ends.
pub(crate) fn run_agent(arguments: &[&str]) -> Outcome<Ended> {
    let output = Command::new(AGENT)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .doing("run the agent")?;
    Ok(Ended {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs one test of this program as a user without rights, with [`CALLER`] set, and returns what
/// it printed.
pub(crate) fn test_as_nobody(test: &str) -> Outcome<String> {
    let program = std::env::current_exe().doing("find this program")?;
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(CALLER, "nobody")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .output()
        .doing("run a test as nobody")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

// === impl Host ===

impl Host {
    /// A host whose agent runs and knows nothing yet.
    pub(crate) fn start(world: &World) -> Outcome<Self> {
        install()?;
        let mut host = Self {
            tpm: Swtpm::start().doing("start a software TPM")?,
            agent: None,
            log: world.logs().join("agent.log"),
            reference_key: 1,
            tag_key: 2,
        };
        host.connect_tpm()?;
        host.pin("reference", KeyUse::Reference, &key(host.reference_key))?;
        host.pin("tag", KeyUse::Tag, &key(host.tag_key))?;
        host.start_again()?;
        Ok(host)
    }

    /// A host that is enrolled, approved and attested.
    pub(crate) fn start_approved(world: &World) -> Outcome<Self> {
        let host = Self::start(world)?;
        host.approve()?;
        Ok(host)
    }

    /// Enrolls the node, approves what it booted, and attests it.
    pub(crate) fn approve(&self) -> Outcome {
        self.approve_with(self.reference_key)
    }

    /// The same with the reference key `seed`.
    pub(crate) fn approve_with(&self, seed: u8) -> Outcome {
        let enrolled = self.called(&Enroll {})?;
        let jwk = TrustedKey::from_value(&Value::Object(enrolled.verdict_key))
            .doing("read the verdict key")?;
        write_jwk("verdict", &jwk)?;
        let captured = self.called(&Capture {})?;
        let mut values = PcrValues::new(HashAlg::Sha256);
        for pcr in captured.pcrs {
            let index = PcrIndex::new(u8::try_from(pcr.index).unwrap()).unwrap();
            let digest = portcullis_attestation::hex::decode(&pcr.digest).unwrap();
            values.insert(index, digest).unwrap();
        }
        let reference = ReferenceValues {
            issuer: "operator".to_owned(),
            issued_at_s: 1,
            not_before_s: 1,
            expires_s: 1 << 40,
            sequence: 1,
            minimum_sequence: None,
            boot_states: vec![BootState::exact("approved".to_owned(), vec![values])],
            tpms: vec![Endorsement {
                ueid: Ueid::parse(&captured.ueid).unwrap(),
                ak_name: TpmName::parse(&captured.ak_name).unwrap(),
            }],
        };
        let document = reference.sign(&mut key(seed)).unwrap();
        fs::write("/etc/portcullis/reference.d/approved.jws", document)
            .doing("write reference values")?;
        self.called(&portcullis_client::method::Attest::default())
            .map(drop)
    }

    /// A tag document for this TPM, changed by `change` before it is signed.
    pub(crate) fn tag(&self, change: impl FnOnce(&mut AssetTag)) -> String {
        let captured = self.call(&Capture {}).unwrap();
        let mut tag = AssetTag {
            issuer: "tag authority".to_owned(),
            subject: Ueid::parse(&captured.ueid).unwrap(),
            issued_at_s: 1,
            not_before_s: 1,
            expires_s: 1 << 40,
            counter: self.call(&RequestTag {}).unwrap().counter + 1,
            tags: BTreeMap::from([("country".to_owned(), "DE".to_owned())]),
            location: None,
        };
        change(&mut tag);
        tag.sign(&mut key(self.tag_key)).unwrap()
    }

    /// The call that provisions `document`, with the tag authority's permission to write it.
    pub(crate) fn provision(&self, document: &str) -> ProvisionTag {
        let captured = self.call(&Capture {}).unwrap();
        let subject = Ueid::parse(&captured.ueid).unwrap();
        let authorization =
            WriteAuthorization::sign(document, &subject, &mut key(self.tag_key)).unwrap();
        ProvisionTag {
            document: document.to_owned(),
            authorization: Some(authorization.to_string()),
        }
    }

    /// Calls the agent; what is not an answer fails the test.
    pub(crate) fn call<M: Method>(&self, call: &M) -> Result<M::Reply, AgentError> {
        match self.try_call(call) {
            Ok(reply) => Ok(reply),
            Err(ClientError::Agent(error)) => Err(error),
            Err(error) => panic!(
                "{error}: {:?}\n{}",
                std::error::Error::source(&error),
                self.log()
            ),
        }
    }

    pub(crate) fn try_call<M: Method>(&self, call: &M) -> Result<M::Reply, ClientError> {
        Client::connect(Path::new(SOCKET), PATIENCE)?.call(call)
    }

    fn called<M: Method>(&self, call: &M) -> Outcome<M::Reply> {
        self.call(call)
            .map_err(|error| Failure::new(error.to_string()))
    }

    /// A snapshot, with all the time in the world.
    pub(crate) fn snapshot(&self) -> Result<portcullis_gate::Snapshot, AgentError> {
        self.snapshot_within(Duration::from_secs(20))
    }

    pub(crate) fn snapshot_within(
        &self,
        deadline: Duration,
    ) -> Result<portcullis_gate::Snapshot, AgentError> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap();
        self.call(&Snapshot { deadline_ms }).map(|reply| reply.0)
    }

    /// The codes with which the gate refuses a launch on `snapshot`; none if it permits it.
    pub(crate) fn decides(&self, snapshot: &portcullis_gate::Snapshot) -> Vec<String> {
        let config = portcullis_config::load().unwrap();
        let keys = portcullis_config::trusted_keys().unwrap();
        let request = LaunchRequest {
            node: config.node_name.clone(),
            subject: "container 'probe'".to_owned(),
            require_tags: Vec::new(),
        };
        match decide(
            &config.launch,
            &keys,
            &request,
            Ok(snapshot),
            &mut super::moment(),
        ) {
            Decision::Permitted(_) => Vec::new(),
            Decision::Refused(refusals) | Decision::Undecided(refusals) => refusals
                .iter()
                .map(|refusal| refusal.code.to_string())
                .collect(),
        }
    }

    /// Number of the verdict that the agent hands out; zero if it has none.
    pub(crate) fn verdict_sequence(&self) -> u64 {
        let status = self.call(&Status {}).unwrap().status;
        status.verdict.map_or(0, |verdict| verdict.sequence)
    }

    /// Number of the last verdict, as stored.
    pub(crate) fn stored_sequence(&self) -> u64 {
        let text = fs::read_to_string("/var/lib/portcullis/sequence").unwrap();
        text.trim_end().parse().unwrap()
    }

    /// Everything the agent logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Puts a fresh TPM in place of the one there is.
    pub(crate) fn replace_tpm(&mut self) -> Outcome {
        self.tpm = Swtpm::start().doing("start a software TPM")?;
        self.connect_tpm()
    }

    /// Ends the agent in order; fails if it does not end well.
    pub(crate) fn stop(mut self) -> Outcome {
        self.end()
    }

    pub(crate) fn restart(&mut self) -> Outcome {
        self.end()?;
        self.start_again()
    }

    /// Kills the agent and starts it again.
    pub(crate) fn crash(&mut self) -> Outcome {
        self.kill()?;
        self.start_again()
    }

    pub(crate) fn kill(&mut self) -> Outcome {
        match self.agent.take() {
            Some(mut agent) => agent.crash().map(drop),
            None => Ok(()),
        }
    }

    pub(crate) fn start_again(&mut self) -> Outcome {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&mut self, environment: &[(&str, &str)]) -> Outcome {
        let mut command = Command::new(AGENT);
        command.envs(environment.iter().copied());
        let mut agent = Daemon::start(&mut command, &self.log)?;
        agent.until_ready(|| UnixStream::connect(SOCKET).is_ok())?;
        self.agent = Some(agent);
        Ok(())
    }

    fn end(&mut self) -> Outcome {
        let Some(mut agent) = self.agent.take() else {
            return Ok(());
        };
        let status = agent.stop()?;
        if !status.success() {
            return Err(Failure::new(format!(
                "the agent ended with {status}: {}",
                self.log()
            )));
        }
        assert!(!Path::new(SOCKET).exists());
        Ok(())
    }

    fn connect_tpm(&self) -> Outcome {
        let tcti = self.tpm.tcti();
        // Drift has a suite of its own; here launches come first.
        let toml = format!("[agent]\ntcti = \"{tcti}\"\ndrift_interval = \"0s\"\n");
        fs::write(TPM_DROP_IN, toml).doing("name the TPM")
    }

    pub(crate) fn pin(&self, name: &str, key_use: KeyUse, key: &SoftwareKey) -> Outcome {
        write_jwk(name, &TrustedKey::new(key.public_key().clone(), key_use))
    }
}

fn write_jwk(name: &str, key: &TrustedKey) -> Outcome {
    let path = format!("/etc/portcullis/trust.d/{name}.jwk");
    fs::write(&path, key.to_value().to_string()).doing(format!("write '{path}'"))
}
