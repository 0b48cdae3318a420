//! Exec and update: gated again, then clamped to what Create decided.

use std::sync::Arc;

use portcullis_config::{ExecGate, Mode};
use portcullis_gate::record::{ChangeRecord, Operation};
use portcullis_gate::{Code, Decision, Refusal, Refusals};
use portcullis_hardening::{Audited, Baseline, Change, clamp_exec, clamp_update};
use portcullis_seccomp::Instruction;
use serde_json::{Map, Value};

use super::docket::{Docket, still_fresh};
use super::{Admission, ask_gate};
use crate::status::TaskError;

/// An exec that may be run.
#[derive(Debug)]
pub(crate) struct AdmittedExec {
    /// Its process spec.
    pub(crate) spec: Vec<u8>,
    /// The floor of the node as it is now.
    pub(crate) floor: Arc<[Instruction]>,
}

/// Decides an exec and gives what may be run.
///
/// # Errors
///
/// [`TaskError::Refused`].
pub(crate) async fn admit_exec(
    admission: &Admission,
    exec_id: &str,
    spec: &[u8],
) -> Result<AdmittedExec, TaskError> {
    let mut docket = docket(admission, Operation::Exec)?;
    docket.record.exec_id = Some(exec_id.to_owned());
    if !docket.config.exec.allow {
        let refusal = Refusal::new(
            Code::ExecDenied,
            docket.subject(),
            "no further processes ('exec.allow = false')",
            "an exec",
        );
        docket.refuse(refusal.into()).await?;
    }
    regate(&mut docket, admission).await?;
    let clamped = within(admission, |baseline| {
        clamp_exec(spec, baseline)
            .map(|clamped| (clamped.process, clamped.changes, clamped.audited))
    });
    let floor = admission.floor.under(&docket.config);
    let spec = admit(docket, clamped, spec).await?;
    Ok(AdmittedExec { spec, floor })
}

/// Decides an update and gives the resources that may be set.
///
/// # Errors
///
/// [`TaskError::Refused`].
pub(crate) async fn admit_update(
    admission: &Admission,
    resources: &[u8],
) -> Result<Vec<u8>, TaskError> {
    let docket = docket(admission, Operation::Update)?;
    let clamped = within(admission, |baseline| {
        clamp_update(resources, baseline)
            .map(|clamped| (clamped.resources, clamped.changes, clamped.audited))
    });
    admit(docket, clamped, resources).await
}

type Clamped = (Map<String, Value>, Vec<Change>, Audited);

/// Clamps to the bounds of Create. Audit mode may have let a container start that has none.
fn within(
    admission: &Admission,
    clamp: impl FnOnce(&Baseline) -> Result<Clamped, Refusals>,
) -> Result<Clamped, Refusals> {
    match &admission.baseline {
        Some(baseline) => clamp(baseline),
        None => Err(Refusal::new(
            Code::ExecDenied,
            "bounds of the container",
            "bounds set when it was created",
            "a container that audit mode let start",
        )
        .into()),
    }
}

fn docket(admission: &Admission, operation: Operation) -> Result<Docket, TaskError> {
    let container = admission.container.clone();
    let mut docket = Docket::open(&admission.namespace, &container.id, operation)?;
    docket.record.container = container;
    Ok(docket)
}

/// A live reading again, or the age of the verdict that Create saw, as node policy says.
async fn regate(docket: &mut Docket, admission: &Admission) -> Result<(), TaskError> {
    let fresh = match (docket.config.exec.gate, &admission.permit) {
        (ExecGate::Fresh, Some(permit)) => still_fresh(permit, &admission.policy),
        (ExecGate::Fresh, None) | (ExecGate::Full, _) => live(docket, admission).await,
    };
    match fresh {
        Ok(()) => Ok(()),
        Err(refusals) => docket.refuse(refusals).await,
    }
}

async fn live(docket: &Docket, admission: &Admission) -> Result<(), Refusals> {
    match ask_gate(docket, &admission.policy, &admission.require_tags).await? {
        Decision::Permitted(_) => Ok(()),
        Decision::Refused(refusals) | Decision::Undecided(refusals) => Err(refusals),
    }
}

/// Records what was decided and gives what may be done: the clamped request, or in audit mode
/// the request as it came.
async fn admit(
    mut docket: Docket,
    clamped: Result<Clamped, Refusals>,
    asked: &[u8],
) -> Result<Vec<u8>, TaskError> {
    let clamped = match clamped {
        Ok((clamped, changes, audited)) => {
            docket.record.changes = changes.iter().map(ChangeRecord::from).collect();
            audited.add_to(&mut docket.record.audited);
            Some(Value::Object(clamped).to_string().into_bytes())
        }
        Err(refusals) => {
            docket.refuse(refusals).await?;
            None
        }
    };
    docket.record_permitted().await?;
    let audit = docket.config.mode == Mode::Audit;
    Ok(clamped.filter(|_| !audit).unwrap_or_else(|| asked.to_vec()))
}
