//! The definition texts are valid Varlink, and the Rust types say the same as they do.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use portcullis_client::method::{
    AnchorLedger, Attest, Capture, CertifyLedger, Enroll, Evidence, Explain, InterfaceDescription,
    ProvisionTag, Quarantine, Record, RecordRelease, Renew, RequestTag, ServiceInfo, Snapshot,
    Status,
};
use portcullis_client::{
    AgentError, INTERFACE, INTERFACE_NAME, Method, SERVICE_INTERFACE, SERVICE_INTERFACE_NAME,
    encode_call, encode_error,
};
use portcullis_client::{Call, CallError};
use serde_json::{Value, json};
use varlink_parser::IDL;

fn parsed(text: &str) -> IDL<'_> {
    IDL::try_from(text).unwrap()
}

/// The fields between the outer parentheses of a signature, in order.
fn field_names(signature: &str) -> Vec<String> {
    let inner = signature
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')');
    inner
        .split(',')
        .filter_map(|field| field.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

fn wire_call<M: Method>(method: &M) -> Value {
    let mut bytes = encode_call(method);
    assert_eq!(bytes.pop(), Some(0));
    serde_json::from_slice(&bytes).unwrap()
}

fn all_calls() -> Vec<Value> {
    vec![
        wire_call(&Snapshot { deadline_ms: 1500 }),
        wire_call(&Record {
            record: serde_json::Map::new(),
        }),
        wire_call(&Explain {
            reference: "8d21c0aa".to_owned(),
        }),
        wire_call(&Status {}),
        wire_call(&Attest {
            clear_failure: Some("r".to_owned()),
        }),
        wire_call(&Enroll {}),
        wire_call(&Renew {}),
        wire_call(&Quarantine {
            reason: Some("r".to_owned()),
        }),
        wire_call(&RecordRelease {
            level: "pci".to_owned(),
            since: 7,
            reason: "r".to_owned(),
        }),
        wire_call(&Capture {}),
        wire_call(&Evidence {
            nonce: "AA".to_owned(),
        }),
        wire_call(&AnchorLedger {}),
        wire_call(&CertifyLedger {
            nonce: "AA".to_owned(),
        }),
        wire_call(&ProvisionTag {
            document: "a.b.c".to_owned(),
            authorization: None,
        }),
        wire_call(&RequestTag {}),
        wire_call(&ServiceInfo {}),
        wire_call(&InterfaceDescription {
            interface: INTERFACE_NAME.to_owned(),
        }),
    ]
}

#[test]
fn both_definitions_are_valid_varlink() {
    assert_eq!(parsed(INTERFACE).name, INTERFACE_NAME);
    assert_eq!(parsed(SERVICE_INTERFACE).name, SERVICE_INTERFACE_NAME);
}

#[test]
fn every_defined_method_has_a_type_with_the_same_parameters() {
    let calls = all_calls();
    let mut defined = 0;
    for text in [INTERFACE, SERVICE_INTERFACE] {
        let interface = parsed(text);
        for (name, method) in &interface.methods {
            defined += 1;
            let qualified = format!("{}.{name}", interface.name);
            let call = calls
                .iter()
                .find(|call| call["method"] == Value::String(qualified.clone()))
                .unwrap_or_else(|| panic!("no type for {qualified}"));
            let mut expected = field_names(&method.input.to_string());
            let mut found: Vec<String> = call["parameters"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            expected.sort();
            found.sort();
            assert_eq!(expected, found, "{qualified}");
        }
    }
    assert_eq!(defined, calls.len());
}

#[test]
fn every_call_comes_back_as_itself() {
    for call in all_calls() {
        let bytes = serde_json::to_vec(&call).unwrap();
        let parsed = Call::parse(&bytes).unwrap();
        let debug = format!("{parsed:?}");
        let method = call["method"]
            .as_str()
            .unwrap()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned();
        let variant = match method.as_str() {
            "GetInfo" => "ServiceInfo",
            "GetInterfaceDescription" => "InterfaceDescription",
            other => other,
        };
        assert!(
            debug.starts_with(&format!("{variant}({variant}")),
            "{debug}"
        );
    }
}

#[test]
fn every_defined_error_can_be_sent() {
    let reason = || "r".to_owned();
    let errors = [
        AgentError::TpmTimeout { deadline_ms: 1 },
        AgentError::TpmBusy {
            deadline_ms: 1,
            reason: reason(),
        },
        AgentError::TpmAnswerMalformed { reason: reason() },
        AgentError::TpmUnreachable { reason: reason() },
        AgentError::TpmFailed { reason: reason() },
        AgentError::NotEnrolled {},
        AgentError::RecordUnknown {
            reference: reason(),
        },
        AgentError::RecordMalformed { reason: reason() },
        AgentError::LedgerFailed { reason: reason() },
        AgentError::TagRefused { reason: reason() },
        AgentError::EnrollRefused { reason: reason() },
        AgentError::QuarantineFailed { reason: reason() },
        AgentError::Busy {},
        AgentError::InterfaceNotFound {
            interface: reason(),
        },
        AgentError::MethodNotFound { method: reason() },
        AgentError::MethodNotImplemented { method: reason() },
        AgentError::InvalidParameter {
            parameter: reason(),
        },
        AgentError::PermissionDenied {},
        AgentError::ExpectedMore {},
    ];
    let mut defined = 0;
    for text in [INTERFACE, SERVICE_INTERFACE] {
        let interface = parsed(text);
        for (name, error) in &interface.errors {
            defined += 1;
            let qualified = format!("{}.{name}", interface.name);
            let sent = errors
                .iter()
                .map(|error| {
                    let mut bytes = encode_error(error);
                    bytes.pop();
                    serde_json::from_slice::<Value>(&bytes).unwrap()
                })
                .find(|sent| sent["error"] == Value::String(qualified.clone()))
                .unwrap_or_else(|| panic!("no variant for {qualified}"));
            let found: Vec<String> = sent["parameters"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            assert_eq!(field_names(&error.parm.to_string()), found, "{qualified}");
        }
    }
    assert_eq!(defined, errors.len());
}

fn answer_to(call: &Value) -> AgentError {
    match Call::parse(&serde_json::to_vec(call).unwrap()) {
        Err(CallError::Answer(error)) => error,
        other => panic!("{call} gave {other:?}"),
    }
}

#[test]
fn a_wrong_call_gets_the_error_of_the_standard() {
    assert_eq!(
        answer_to(&json!({"method": "dev.portcullis.Agent.Reboot"})),
        AgentError::MethodNotFound {
            method: "dev.portcullis.Agent.Reboot".to_owned()
        }
    );
    assert_eq!(
        answer_to(&json!({"method": "org.example.Other.Do"})),
        AgentError::InterfaceNotFound {
            interface: "org.example.Other".to_owned()
        }
    );
    assert_eq!(
        answer_to(&json!({"method": "Snapshot"})),
        AgentError::InterfaceNotFound {
            interface: String::new()
        }
    );
    for parameters in [
        json!({}),
        json!({"deadline_ms": -1}),
        json!({"deadline_ms": "1"}),
        json!({"deadline_ms": 1, "deadline": 1}),
    ] {
        let call = json!({"method": "dev.portcullis.Agent.Snapshot", "parameters": parameters});
        assert!(
            matches!(answer_to(&call), AgentError::InvalidParameter { .. }),
            "{call}"
        );
    }
    assert!(matches!(
        answer_to(&json!({"method": "dev.portcullis.Agent.Record", "parameters": {"record": 1}})),
        AgentError::RecordMalformed { .. }
    ));
}

#[test]
fn what_is_not_a_call_is_malformed() {
    for bytes in [
        b"".as_slice(),
        b"{}",
        b"[]",
        b"{\"method\":\"a.B\",\"method\":\"a.C\"}",
        b"{\"method\":\"dev.portcullis.Agent.Status\",\"oneway\":true}",
        b"{\"method\":\"dev.portcullis.Agent.Status\",\"upgrade\":true}",
        b"{\"method\":\"dev.portcullis.Agent.Status\",\"parameters\":[]}",
        b"{\"method\":\"dev.portcullis.Agent.Status\",\"Parameters\":{}}",
    ] {
        assert!(
            matches!(Call::parse(bytes), Err(CallError::Malformed(_))),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn a_call_that_accepts_more_replies_is_served() {
    let call = json!({"method": "dev.portcullis.Agent.Status", "more": true, "oneway": false});
    assert_eq!(
        Call::parse(&serde_json::to_vec(&call).unwrap()).unwrap(),
        Call::Status(Status {})
    );
}
