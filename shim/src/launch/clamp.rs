//! Exec and update: gated again, then clamped to what Create decided.

use portcullis_config::ExecGate;
use portcullis_gate::record::Operation;
use portcullis_gate::{Code, Decision, Refusal, Refusals};
use portcullis_hardening::{Change, clamp_exec, clamp_update};
use serde_json::{Map, Value};

use super::docket::{Docket, unix_s};
use super::{Admission, ask_gate, change_record};
use crate::status::TaskError;

/// Decides an exec and gives the process spec that may be run.
///
/// # Errors
///
/// [`TaskError::Refused`].
pub(crate) async fn admit_exec(
    admission: &Admission,
    exec_id: &str,
    spec: &[u8],
) -> Result<Vec<u8>, TaskError> {
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
    let Some(baseline) = &admission.baseline else {
        return Ok(spec.to_vec());
    };
    match clamp_exec(spec, baseline) {
        Ok(clamped) => admit(docket, clamped.process, &clamped.changes).await,
        Err(refusals) => Err(docket.refuse_always(refusals).await),
    }
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
    let mut docket = docket(admission, Operation::Update)?;
    let Some(baseline) = &admission.baseline else {
        return Ok(resources.to_vec());
    };
    match clamp_update(resources, baseline) {
        Ok(clamped) => admit(docket, clamped.resources, &clamped.changes).await,
        Err(refusals) => Err(docket.refuse_always(refusals).await),
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
        (ExecGate::Fresh, Some(permit)) => permit.still_fresh(&admission.policy, unix_s()),
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

async fn admit(
    mut docket: Docket,
    clamped: Map<String, Value>,
    changes: &[Change],
) -> Result<Vec<u8>, TaskError> {
    // What an exec changes may hold arguments; the record names the fields only.
    docket.record.changes = changes.iter().map(change_record).collect();
    docket.record_permitted().await?;
    Ok(Value::Object(clamped).to_string().into_bytes())
}
