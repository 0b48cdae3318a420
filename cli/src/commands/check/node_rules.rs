//! Levels and versions of `portcullis check`: whether this host is one for the workload.

use std::path::Path;

use portcullis_config::node_rules::{Asked, HostLevels, ImageRules, Workload};
use portcullis_config::{Config, paths};
use portcullis_gate::{Decision, Refusal, Refusals};
use portcullis_host::{HostError, ask_version, runtime_binary};

use super::judgement::Part;
use crate::clock;

/// The decision about the host, held to what node policy asks for the workloads of `parts` under the
/// node's own OCI runtime; nothing is kept of it. What is asked of images is judged with the workload.
///
/// # Errors
///
/// `host-unreadable`, and what [`Config::demands`] refuses.
pub(super) fn held(
    decision: Decision,
    settings: &Config,
    namespace: &str,
    parts: &[Part],
) -> Result<Decision, Refusals> {
    let Decision::Permitted(permit) = &decision else {
        return Ok(decision);
    };
    let mut against: Vec<Refusal> = Vec::new();
    for judged in parts.iter().flat_map(|part| &part.judged) {
        let annotation = |name: &str| judged.subject.config.annotation(name);
        let demands = settings.demands(namespace, annotation, clock::now_unix_s())?;
        let (mut rules, modes) = (demands.effective.node_rules, &demands.concessions.modes);
        rules.image = ImageRules::default();
        let unreadable = |error: HostError| Refusals::from(error.refusal());
        let wants = rules.wants(modes);
        let pin = if wants.pin {
            portcullis_host::pinned(Path::new(paths::PIN)).map_err(unreadable)?
        } else {
            None
        };
        let kernel = if wants.kernel {
            Some(portcullis_host::kernel_release().map_err(unreadable)?)
        } else {
            None
        };
        let runtime = match wants.runtime {
            Asked::Never => Err(String::new()),
            Asked::Once | Asked::Anew => runtime_binary(Path::new(&settings.runtime.binary))
                .and_then(|binary| ask_version(binary.path()))
                .map_err(|error| error.to_string()),
        };
        let workload = Workload {
            image: &demands.image,
            host: HostLevels {
                tags: Some(&permit.tags),
                pinned: pin.as_ref().map(|pin| pin.level.as_str()),
            },
            kernel: kernel.as_deref(),
            runtime: runtime.as_ref().map_err(String::as_str),
        };
        // Containers of one pod are refused for the same reasons.
        for refusal in rules.judge(&workload, modes).standing.into_iter().flatten() {
            if !against.contains(&refusal) {
                against.push(refusal);
            }
        }
    }
    Ok(Refusals::from_vec(against).map_or(decision, Decision::from))
}
