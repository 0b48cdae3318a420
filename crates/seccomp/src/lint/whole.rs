//! Findings about a section as a whole.

use super::{Finding, Rule};
use crate::abi::Abi;
use crate::action::{Action, ERRNO_MAX, Verdict};
use crate::section::Section;

pub(super) fn findings(section: &Section, native: Abi) -> Vec<Finding> {
    let at = |key: &str| format!("{}/{key}", section.pointer);
    let mut found: Vec<Finding> = section
        .unknown_keys
        .iter()
        .map(|pointer| Finding::new(Rule::UnknownKey, pointer, "no runtime reads this key"))
        .collect();
    if section.default.verdict() == Verdict::Permitted {
        let text = "calls that no entry names are permitted, also those that a later kernel adds";
        found.push(Finding::new(
            Rule::DefaultPermits,
            at("defaultAction"),
            text,
        ));
    }
    if section.default.notifies() {
        let text = "runc and crun cannot ask a supervisor about every call";
        found.push(Finding::new(
            Rule::NotifyUnusable,
            at("defaultAction"),
            text,
        ));
    } else if section.notifies() && section.listener.is_none() {
        let text = "a call asks a supervisor, and 'listenerPath' names none";
        found.push(Finding::new(Rule::NotifyUnusable, at("listenerPath"), text));
    }
    found.extend(kills_thread(
        section.default,
        &section.default_name,
        at("defaultAction"),
    ));
    let errno = section.default_errno;
    found.extend(errno_unusable(
        section.default,
        errno,
        at("defaultErrnoRet"),
    ));
    for (index, abi) in section.abis.iter().enumerate() {
        if *abi != native {
            let text = format!(
                "calls by way of {abi} pass this filter on {native}: other numbers, other sizes of \
                 arguments, and code of the kernel that little else uses"
            );
            let place = at(&format!("architectures/{index}"));
            found.push(Finding::new(Rule::ForeignAbi, place, text));
        }
    }
    if !section.abis.contains(&native) {
        let text = format!(
            "{} is not listed; libseccomp serves it all the same",
            native.oci()
        );
        found.push(Finding::new(
            Rule::NativeAbiMissing,
            at("architectures"),
            text,
        ));
    }
    found
}

/// A finding if an action is called `SCMP_ACT_KILL`.
pub(super) fn kills_thread(action: Action, name: &str, pointer: String) -> Option<Finding> {
    let text = "it ends the thread and leaves the process without it; 'SCMP_ACT_KILL_PROCESS' ends \
                the process";
    let kills = action == Action::KILL_THREAD && name == "SCMP_ACT_KILL";
    kills.then(|| Finding::new(Rule::KillsThread, pointer, text))
}

/// A finding if an errno does not do what it seems to.
pub(super) fn errno_unusable(
    action: Action,
    errno: Option<u64>,
    pointer: String,
) -> Option<Finding> {
    let errno = errno?;
    let text = match (action.data(), errno) {
        (None, _) => "the action takes no errno: runc ignores it, crun refuses the section",
        (Some(_), 0) if action.denies_with_errno() => {
            "errno 0 tells the program that the call succeeded, and it did not happen"
        }
        (Some(_), errno) if errno > ERRNO_MAX && action.denies_with_errno() => {
            "libseccomp refuses an errno above 4095"
        }
        _ => return None,
    };
    Some(Finding::new(Rule::ErrnoUnusable, pointer, text))
}
