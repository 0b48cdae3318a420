use portcullis_attestation::break_glass::TokenId;

use super::*;

const NOW: u64 = 1_000_000;
const IMAGE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
const POLICY: BreakGlassPolicy = BreakGlassPolicy {
    allow: true,
    allow_host_trust: true,
    max_lifetime: Duration::from_hours(4),
};

fn ueid() -> Ueid {
    Ueid::of_endorsement_key(b"a key")
}

fn token() -> BreakGlass {
    BreakGlass {
        issuer: "night shift".to_owned(),
        id: TokenId::new([0xa5; 16]),
        issued_at_s: NOW - 10,
        not_before_s: NOW - 10,
        expires_s: NOW + 3600,
        node: "w7".to_owned(),
        ueid: None,
        namespace: "shop".to_owned(),
        pod: Some("web".to_owned()),
        container: None,
        image: None,
        grant: Grant::Rules(vec!["non-root".to_owned(), "capabilities".to_owned()]),
        reason: "it is night".to_owned(),
        ticket: "INC-7".to_owned(),
    }
}

fn launching(ueid: &Ueid) -> Launching<'_> {
    Launching {
        node: "w7",
        ueid: Some(ueid),
        namespace: "shop",
        pod: Some("web"),
        container: Some("app"),
        image: Some(IMAGE),
    }
}

fn judged(token: BreakGlass, policy: &BreakGlassPolicy, need: Need<'_>) -> Result<(), Hindrance> {
    let ueid = ueid();
    let found = [Found {
        file: "a.jws".to_owned(),
        token: Ok(token),
    }];
    let (fits, hindrance) = fitting(&found, policy, &launching(&ueid), need, NOW);
    match hindrance {
        None => {
            assert_eq!(fits.len(), 1);
            Ok(())
        }
        Some(hindrance) => {
            assert_eq!(fits, [] as [&BreakGlass; 0]);
            Err(hindrance)
        }
    }
}

fn with(change: impl FnOnce(&mut BreakGlass)) -> BreakGlass {
    let mut token = token();
    change(&mut token);
    token
}

fn refused(rule: Option<Rule>, code: Code) -> Refusal {
    let mut refusal = Refusal::new(code, "x", "y", "z");
    refusal.rule = rule;
    refusal
}

const RULES: Need<'_> = Need::Rules(&[Rule::NonRoot]);

#[test]
fn a_token_for_this_launch_fits() {
    judged(token(), &POLICY, RULES).expect("for the pod");
    let both = Need::Rules(&[Rule::Capabilities, Rule::NonRoot]);
    judged(token(), &POLICY, both).expect("for both rules");
    let narrow = with(|token| {
        token.container = Some("app".to_owned());
        token.image = Some(IMAGE.to_owned());
        token.ueid = Some(ueid());
        token.not_before_s = NOW;
        token.expires_s = NOW + 1;
    });
    judged(narrow, &POLICY, RULES).expect("for the container");
    let trust = with(|token| token.grant = Grant::HostTrust);
    judged(trust, &POLICY, Need::HostTrust).expect("for the host");
}

#[test]
fn a_name_in_a_pod_is_no_container_id() {
    let alone = || with(|it| (it.pod, it.container) = (None, Some("app".to_owned())));
    let hindrance = judged(alone(), &POLICY, RULES).unwrap_err();
    assert_eq!(hindrance.expected, "a container of no pod");
    let ueid = ueid();
    let launching = Launching {
        pod: None,
        ..launching(&ueid)
    };
    judge(&alone(), &POLICY, &launching, RULES, NOW).expect("for the container");
}

#[test]
fn every_limit_of_a_token_is_kept_and_said() {
    let some = |text: &str| Some(text.to_owned());
    let off = BreakGlassPolicy {
        allow: false,
        ..POLICY
    };
    let untrusting = BreakGlassPolicy {
        allow_host_trust: false,
        ..POLICY
    };
    let short = BreakGlassPolicy {
        max_lifetime: Duration::from_mins(1),
        ..POLICY
    };
    let trust = || with(|token| token.grant = Grant::HostTrust);
    let more = Need::Rules(&[Rule::NonRoot, Rule::Hooks]);
    for (token, policy, need, said) in [
        (
            with(|it| it.node = "w8".to_owned()),
            &POLICY,
            RULES,
            "node 'w8'",
        ),
        (
            with(|it| it.namespace = "a".to_owned()),
            &POLICY,
            RULES,
            "namespace 'a'",
        ),
        (with(|it| it.pod = some("db")), &POLICY, RULES, "pod 'db'"),
        (
            with(|it| it.container = some("b")),
            &POLICY,
            RULES,
            "container 'b'",
        ),
        (
            with(|it| it.image = some("sha256:ff")),
            &POLICY,
            RULES,
            "image sha256:ff",
        ),
        (
            with(|it| it.ueid = Some(Ueid::of_endorsement_key(b"another"))),
            &POLICY,
            RULES,
            "TPM ",
        ),
        (
            with(|it| it.not_before_s = NOW + 1),
            &POLICY,
            RULES,
            "counts in 1 s",
        ),
        (
            with(|it| it.expires_s = NOW),
            &POLICY,
            RULES,
            "expired 0 s ago",
        ),
        (token(), &POLICY, more, "'hooks' too"),
        (
            with(|it| it.grant = Grant::Rules(vec!["no-such-rule".to_owned()])),
            &POLICY,
            RULES,
            "'non-root' too",
        ),
        (token(), &off, RULES, "'break_glass.allow = true'"),
        (token(), &short, RULES, "at most 60 s"),
        // The two sorts never stand in for each other.
        (token(), &POLICY, Need::HostTrust, "waives rules"),
        (trust(), &POLICY, RULES, "'host_trust'"),
        (trust(), &untrusting, Need::HostTrust, "allow_host_trust"),
        (trust(), &off, Need::HostTrust, "break_glass.allow "),
    ] {
        let hindrance = judged(token, policy, need).expect_err(said);
        let refusals = hindrance.told(refused(None, Code::RootUserDenied).into());
        let own = refusals.iter().last().expect("two");
        assert_eq!(own.code, Code::BreakGlassUnusable);
        let text = format!("{} {}", own.expected, own.found);
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn names_that_nobody_vouches_for_match_nothing() {
    let found = |token| {
        [Found {
            file: "a.jws".to_owned(),
            token: Ok(token),
        }]
    };
    let ueid = ueid();
    let nameless = Launching {
        pod: None,
        container: None,
        image: None,
        ueid: None,
        ..launching(&ueid)
    };
    for token in [
        token(),
        with(|it| (it.pod, it.container) = (None, Some("app".to_owned()))),
    ] {
        let found = found(token);
        let (fits, hindrance) = fitting(&found, &POLICY, &nameless, RULES, NOW);
        assert_eq!(fits, [] as [&BreakGlass; 0]);
        assert!(hindrance.is_some());
    }
    let sandbox = Launching {
        container: None,
        image: None,
        ..launching(&ueid)
    };
    let narrow = with(|it| {
        it.container = Some("app".to_owned());
        it.image = Some(IMAGE.to_owned());
        it.grant = Grant::HostTrust;
    });
    let found = found(narrow);
    let (fits, _) = fitting(&found, &POLICY, &sandbox, Need::HostTrust, NOW);
    assert_eq!(fits.len(), 1, "a container needs its sandbox");
}

#[test]
fn the_nearest_token_is_told_and_the_line_is_left_alone_for_strangers() {
    let file = |token: Result<BreakGlass, String>| Found {
        file: "a.jws".to_owned(),
        token,
    };
    let over = file(Ok(with(|it| it.expires_s = NOW - 60)));
    let foreign = file(Ok(with(|it| it.pod = Some("db".to_owned()))));
    let unsigned = file(Err("cannot verify signature".to_owned()));
    let ueid = ueid();
    let told = |found: &[Found]| {
        let (_, hindrance) = fitting(found, &POLICY, &launching(&ueid), RULES, NOW);
        let refusal = refused(Some(Rule::NonRoot), Code::RootUserDenied);
        hindrance.expect("one").told(refusal.into())
    };
    let all = told(&[unsigned.clone(), over, foreign.clone()]);
    assert_eq!(all.count(), 2);
    let remedy = &all.first().remedy;
    assert!(remedy.contains("a5a5a5a5 does not help"), "{remedy}");
    assert!(remedy.contains("expired 60 s ago"), "{remedy}");
    assert_eq!(all.first().code, Code::RootUserDenied);
    for strange in [unsigned, foreign] {
        let all = told(&[strange]);
        assert_eq!(all.count(), 2);
        assert_eq!(all.first().remedy, Code::RootUserDenied.remedy());
    }
    let used = Hindrance::used(&token(), "pod sandbox 'b'");
    let all = used.told(refused(None, Code::RootUserDenied).into());
    assert!(all.first().remedy.contains("used by pod sandbox 'b'"));
}

#[test]
fn only_rules_are_waived_as_rules_and_only_the_host_as_the_host() {
    let mut refusals = Refusals::from(refused(Some(Rule::NonRoot), Code::RootUserDenied));
    refusals.push(refused(Some(Rule::NonRoot), Code::CapabilityExcess));
    refusals.push(refused(Some(Rule::Hooks), Code::HookDenied));
    let rules = vec![Rule::NonRoot, Rule::Hooks];
    assert_eq!(rules_of(&refusals), Some(rules));
    refusals.push(refused(None, Code::RootFilesystemDenied));
    assert_eq!(rules_of(&refusals), None);
    let root = refused(Some(Rule::RootFilesystem), Code::RootFilesystemDenied);
    assert_eq!(rules_of(&root.into()), None);
    let fault = refused(Some(Rule::NonRoot), Code::OciConfigMalformed);
    assert_eq!(rules_of(&fault.into()), None);

    let waived = |code| are_of_host(&refused(None, code).into());
    for code in Code::ALL.iter().filter(|code| code.kind() == Kind::Fault) {
        assert!(!waived(*code), "{code}");
    }
    for code in [
        Code::HostQuarantined,
        Code::AgentUnreachable,
        Code::AgentPeerUntrusted,
        Code::AgentAnswerMalformed,
        Code::RecordFailed,
        Code::PrivilegedDenied,
        Code::RuntimeUntrusted,
    ] {
        assert!(!waived(code), "{code}");
    }
    for code in [
        Code::TpmTimeout,
        Code::VerdictMissing,
        Code::VerdictLatched,
        Code::PcrDrift,
        Code::AssetTagMismatch,
    ] {
        assert!(waived(code), "{code}");
    }
    let mut mixed = Refusals::from(refused(None, Code::PcrDrift));
    assert!(are_of_host(&mixed));
    mixed.push(refused(None, Code::HostQuarantined));
    assert!(!are_of_host(&mixed));
}

#[test]
fn a_token_has_one_state() {
    let state = |token: Result<BreakGlass, String>, policy: &BreakGlassPolicy, was_used| {
        let found = Found {
            file: "a.jws".to_owned(),
            token,
        };
        found.state(policy, "w7", NOW, was_used)
    };
    let off = BreakGlassPolicy {
        allow: false,
        ..POLICY
    };
    assert_eq!(state(Ok(token()), &POLICY, false), TokenState::Open);
    assert_eq!(state(Ok(token()), &POLICY, true), TokenState::Used);
    assert_eq!(state(Ok(token()), &off, false), TokenState::Disallowed);
    let foreign = with(|it| it.node = "w8".to_owned());
    assert_eq!(state(Ok(foreign), &POLICY, false), TokenState::Foreign);
    let early = with(|it| it.not_before_s = NOW + 1);
    assert_eq!(state(Ok(early), &POLICY, false), TokenState::Premature);
    let late = with(|it| it.expires_s = NOW);
    assert_eq!(state(Ok(late), &POLICY, false), TokenState::Expired);
    let unsigned = state(Err("x".to_owned()), &POLICY, false);
    assert_eq!(unsigned, TokenState::Unverified);
    let words: std::collections::BTreeSet<&str> =
        TokenState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(words.len(), TokenState::ALL.len());
}
