use super::*;

#[test]
fn no_snapshot_is_undecided_with_a_code_for_each_cause() {
    let socket = "/run/portcullis/agent.sock".to_owned();
    let deadline = Duration::from_millis(1500);
    let broken = "connection refused\n".to_owned();
    for (unavailable, code, line) in [
        (
            Unavailable::AgentUnreachable {
                socket: socket.clone(),
                deadline,
                cause: broken,
            },
            Code::AgentUnreachable,
            "portcullis: undecided [agent-unreachable] socket '/run/portcullis/agent.sock': \
             expected an answer within 1500 ms, found 'connection refused\\n'; \
             run 'systemctl start portcullis-agent'; ref=8d21c0aa",
        ),
        (
            Unavailable::AgentPeerUntrusted {
                socket,
                found: "uid 1000".to_owned(),
            },
            Code::AgentPeerUntrusted,
            "portcullis: undecided [agent-peer-untrusted] socket '/run/portcullis/agent.sock': \
             expected owner and peer root, writable by nobody else, found 'uid 1000'; \
             run 'systemctl restart portcullis-agent'; ref=8d21c0aa",
        ),
        (
            Unavailable::AnswerMalformed {
                reason: "no member 'live'".to_owned(),
            },
            Code::AgentAnswerMalformed,
            "portcullis: undecided [agent-answer-malformed] answer of the agent: expected the \
             reply of 'dev.portcullis.Agent.Snapshot', found 'no member \\'live\\''; \
             install matching versions of agent and shim; ref=8d21c0aa",
        ),
    ] {
        assert_undecided(&unavailable, code, line);
    }
}

#[test]
fn each_way_in_which_the_tpm_fails_has_a_code() {
    let deadline = Duration::from_millis(1500);
    for (unavailable, code, line) in [
        (
            Unavailable::TpmTimeout { deadline },
            Code::TpmTimeout,
            "portcullis: undecided [tpm-timeout] TPM of this node: expected an answer within \
             1500 ms, found none; retry, or raise 'snapshot_deadline='; ref=8d21c0aa",
        ),
        (
            Unavailable::TpmUnreachable {
                reason: "no such device".to_owned(),
            },
            Code::TpmUnreachable,
            "portcullis: undecided [tpm-unreachable] TPM of this node: expected a TPM 2.0 that \
             answers, found 'no such device'; check 'tcti=' and 'portcullis status'; ref=8d21c0aa",
        ),
        (
            Unavailable::TpmFailed {
                reason: "TPM_RC_FAILURE".to_owned(),
            },
            Code::TpmError,
            "portcullis: undecided [tpm-error] TPM of this node: expected a live reading, found \
             'TPM_RC_FAILURE'; run 'portcullis status'; ref=8d21c0aa",
        ),
        (
            Unavailable::TpmBusy {
                deadline,
                reason: "TPM_RC_RETRY".to_owned(),
            },
            Code::TpmBusy,
            "portcullis: undecided [tpm-busy] TPM of this node: expected an answer within \
             1500 ms, found 'TPM_RC_RETRY'; retry, or raise 'snapshot_deadline='; ref=8d21c0aa",
        ),
        (
            Unavailable::TpmAnswerMalformed {
                reason: "cannot decode".to_owned(),
            },
            Code::TpmAnswerMalformed,
            "portcullis: undecided [tpm-answer-malformed] TPM of this node: expected a whole \
             answer, found 'cannot decode'; run 'portcullis status'; ref=8d21c0aa",
        ),
    ] {
        assert_undecided(&unavailable, code, line);
    }
}

fn assert_undecided(unavailable: &Unavailable, code: Code, line: &str) {
    let mut launch = launch();
    let decision = decide(
        &launch.policy,
        &launch.keys,
        &launch.request,
        Err(unavailable),
        &mut launch.moment,
    );
    let Decision::Undecided(refusals) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(refusals.first().code, code);
    assert_eq!(refusals.exit_code(), 2);
    assert_eq!(refusals.line(&RecordId([0x8d, 0x21, 0xc0, 0xaa])), line);
}

#[test]
fn no_verdict_is_undecided() {
    let mut launch = launch();
    let refusal = reason(launch.decide_as_is());
    assert_eq!(
        (refusal.code, refusal.kind()),
        (Code::VerdictMissing, Kind::Undecided)
    );
}
