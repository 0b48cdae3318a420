use serde_json::json;

use super::*;

const RECORDED: &str =
    include_str!("../../../crates/hardening/tests/data/cri-1.6.20-no-security-context.json");
const RECORDED_SANDBOX: &str =
    include_str!("../../../crates/hardening/tests/data/cri-1.6.20-sandbox.json");

fn workload(text: &str) -> Workload {
    let given = Given::default();
    let documents = parse(text.as_bytes()).unwrap();
    let places = pods(&documents).unwrap();
    let place = places.first().unwrap();
    Workload::of_pod(&documents[place.document], place, &given).unwrap()
}

fn tree(subject: &Subject) -> Value {
    Value::Object(subject.config.as_map().clone())
}

/// What the recorded containers were asked for with.
const WEB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  containers:
  - name: default
    image: docker.io/library/busybox:local
    resources: {limits: {memory: 128Mi, cpu: 500m}}
";

/// Paths at which `made` and `recorded` differ.
fn differences(made: &Value, recorded: &Value, at: &str, all: &mut Vec<String>) {
    match (made, recorded) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one
                .keys()
                .chain(other.keys().filter(|key| !one.contains_key(*key)))
            {
                let null = Value::Null;
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(null.clone())
                };
                differences(&of(one), &of(other), &format!("{at}/{key}"), all);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(one, other, &format!("{at}/{index}"), all);
            }
        }
        _ if made == recorded => {}
        _ => all.push(at.to_owned()),
    }
}

/// By destination, so that order does not count.
fn mounts(config: &Value) -> Value {
    let mounts = config["mounts"].as_array().unwrap();
    let by = |mount: &Value| {
        let mut mount = mount.clone();
        let destination = mount["destination"].as_str().unwrap().to_owned();
        // Names that are made anew for each pod, and the order of options, which does not count.
        mount["source"] = match mount["source"].as_str().unwrap() {
            path if path.contains("/pods/") => "kubelet".into(),
            path if path.contains("/sandboxes/") => "sandbox".into(),
            path => path.into(),
        };
        let mut options: Vec<String> = serde_json::from_value(mount["options"].take()).unwrap();
        options.sort();
        mount["options"] = json!(options);
        (destination, mount)
    };
    mounts
        .iter()
        .map(by)
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_iter()
        .collect()
}

fn kinds(config: &Value) -> Vec<(String, bool)> {
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    let mut kinds: Vec<(String, bool)> = namespaces
        .iter()
        .map(|it| {
            (
                it["type"].as_str().unwrap().to_owned(),
                it["path"].is_string(),
            )
        })
        .collect();
    kinds.sort();
    kinds
}

/// Paths at which our configuration of `subject` differs from a recorded one, mounts and namespaces
/// apart, which are alike.
fn compared(subject: &Subject, recorded: &str) -> Vec<String> {
    let (mut made, mut recorded) = (
        tree(subject),
        serde_json::from_str::<Value>(recorded).unwrap(),
    );
    assert_eq!(mounts(&made), mounts(&recorded));
    for config in [&mut made, &mut recorded] {
        config["mounts"] = Value::Null;
    }
    let mut found = Vec::new();
    differences(&made, &recorded, "", &mut found);
    found.sort();
    found
}

/// What no pod of ours can have, and no rule looks at.
const NOT_JUDGED: [&str; 5] = [
    "/annotations/io.kubernetes.cri.sandbox-id",
    "/annotations/io.kubernetes.cri.sandbox-uid",
    "/linux/cgroupsPath",
    "/ociVersion",
    "/process/args",
];

fn with(more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = NOT_JUDGED
        .iter()
        .chain(more)
        .map(|it| (*it).to_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn a_container_becomes_what_containerd_has_written() {
    let workload = workload(WEB);
    let made = &workload.subjects[1];
    assert_eq!(
        kinds(&tree(made)),
        kinds(&serde_json::from_str(RECORDED).unwrap())
    );
    let expected = with(&[
        // The same, in another order and with the process of a sandbox that there was.
        "/linux/namespaces/0/type",
        "/linux/namespaces/1/path",
        "/linux/namespaces/1/type",
        "/linux/namespaces/2/path",
        "/linux/namespaces/2/type",
        "/linux/namespaces/3/path",
        "/linux/namespaces/3/type",
        "/linux/namespaces/4/path",
        "/linux/namespaces/4/type",
        // A kubelet, which that client of CRI was not, gives paths to hide, and scores.
        "/linux/maskedPaths",
        "/linux/readonlyPaths",
        "/process/oomScoreAdj",
        // Left out there, where it is false.
        "/process/noNewPrivileges",
        "/process/terminal",
        "/root/readonly",
        // From the image, which is not known.
        "/process/env",
        "/process/user/additionalGids",
    ]);
    let found = compared(made, RECORDED);
    let unexpected: Vec<&String> = found.iter().filter(|it| !expected.contains(it)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(
        !found
            .iter()
            .any(|it| it.starts_with("/process/capabilities"))
    );
    assert!(!found.iter().any(|it| it.starts_with("/linux/resources")));
}

#[test]
fn a_sandbox_becomes_what_containerd_has_written() {
    let workload = workload(WEB);
    let expected = with(&[
        "/annotations/io.kubernetes.cri.sandbox-log-directory",
        // The same in another order; containerd joins the network that its plugin made.
        "/linux/namespaces/0/type",
        "/linux/namespaces/1/type",
        "/linux/namespaces/2/type",
        "/linux/namespaces/3/type",
        "/linux/namespaces/4/path",
        // What containerd 2 sets unless told otherwise; this was 1.6.
        "/linux/sysctl",
        // The pause image there was busybox, and the daemon did not lower scores.
        "/process/env",
        "/process/oomScoreAdj",
        "/process/user/uid",
        "/process/user/gid",
        "/process/user/additionalGids",
    ]);
    let found = compared(&workload.subjects[0], RECORDED_SANDBOX);
    let unexpected: Vec<&String> = found.iter().filter(|it| !expected.contains(it)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

fn process(text: &str) -> Value {
    tree(&workload(text).subjects[1])["process"].clone()
}

/// A pod with one container whose security context is `own`, in a pod with the security context
/// `pod`.
fn secured(pod: &str, own: &str) -> String {
    format!(
        "kind: Pod\napiVersion: v1\nspec:\n  securityContext: {{{pod}}}\n  containers:\n  - name: a\n    \
         securityContext: {{{own}}}\n"
    )
}

#[test]
fn what_a_container_says_comes_before_what_its_pod_says() {
    for (pod, own, uid, gid) in [
        ("runAsUser: 7", "", 7, 0),
        ("runAsUser: 7, runAsGroup: 8", "runAsUser: 9", 9, 8),
        ("", "runAsUser: 0, runAsGroup: 1", 0, 1),
        ("runAsNonRoot: true", "", 65_534, 65_534),
    ] {
        let made = process(&secured(pod, own));
        assert_eq!(made["user"]["uid"], uid, "{pod} {own}");
        assert_eq!(made["user"]["gid"], gid, "{pod} {own}");
    }
    let groups = "supplementalGroups: [5, 6], fsGroup: 7";
    let made = process(&secured(groups, ""));
    assert_eq!(made["user"]["additionalGids"], json!([5, 6, 7]));
}

#[test]
fn only_an_image_that_may_be_root_leaves_the_user_open() {
    let open = |text: &str| workload(text).subjects[1].image_user.clone();
    let expected = "/spec/containers/0/securityContext/runAsUser".to_owned();
    assert_eq!(open(&secured("", "")), Some(expected));
    assert_eq!(open(&secured("runAsUser: 1", "")), None);
    assert_eq!(open(&secured("", "runAsNonRoot: true")), None);
}

#[test]
fn capabilities_are_added_and_dropped_as_containerd_does() {
    let names = |own: &str| process(&secured("", own))["capabilities"]["bounding"].clone();
    let count = |own: &str| names(own).as_array().unwrap().len();
    assert_eq!(count(""), 14);
    assert_eq!(names("capabilities: {drop: [ALL]}"), json!([]));
    let both = "capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}";
    assert_eq!(names(both), json!(["CAP_NET_BIND_SERVICE"]));
    assert_eq!(count("capabilities: {add: [ALL], drop: [SYS_ADMIN]}"), 40);
    assert_eq!(count("capabilities: {drop: [net_raw]}"), 13);
    assert_eq!(count("privileged: true"), 41);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one pod with all kinds of volumes")]
fn volumes_lie_where_the_kubelet_has_them() {
    let text = "
kind: Pod
apiVersion: v1
spec:
  automountServiceAccountToken: false
  volumes:
  - {name: a, emptyDir: {}}
  - {name: b, configMap: {name: x}}
  - {name: c, hostPath: {path: /srv}}
  - {name: d, persistentVolumeClaim: {claimName: x}}
  - {name: e, image: {reference: x}}
  - {name: f}
  containers:
  - name: one
    volumeMounts:
    - {name: a, mountPath: /a}
    - {name: b, mountPath: /etc/hosts, subPath: hosts, readOnly: true}
    - {name: c, mountPath: /c/deep, mountPropagation: Bidirectional}
    - {name: d, mountPath: /d, readOnly: true, recursiveReadOnly: Enabled}
    - {name: e, mountPath: /e}
    - {name: f, mountPath: /dev/shm}
";
    let workload = workload(text);
    let container = &workload.subjects[1];
    let made = tree(container);
    let mounts = made["mounts"].as_array().unwrap();
    let place = |destination: &str| {
        let mut all = mounts.iter();
        all.position(|mount| mount["destination"] == destination)
            .unwrap()
    };
    let pod = "/var/lib/kubelet/pods/pod-uid";
    for (destination, source, options) in [
        (
            "/a",
            format!("{pod}/volumes/kubernetes.io~empty-dir/a"),
            json!(["rbind", "rprivate", "rw"]),
        ),
        (
            "/etc/hosts",
            format!("{pod}/volume-subpaths/b/one/1"),
            json!(["rbind", "rprivate", "ro"]),
        ),
        (
            "/c/deep",
            "/srv".to_owned(),
            json!(["rbind", "rshared", "rw"]),
        ),
        (
            "/d",
            format!("{pod}/volumes/kubernetes.io~csi/d/mount"),
            json!(["rbind", "rprivate", "rro"]),
        ),
        (
            "/dev/shm",
            format!("{pod}/volumes/kubernetes.io~empty-dir/f"),
            json!(["rbind", "rprivate", "rw"]),
        ),
    ] {
        let mount = &mounts[place(destination)];
        assert_eq!(mount["source"], source);
        assert_eq!(mount["options"], options, "{destination}");
    }
    let twice = |destination: &str| {
        mounts
            .iter()
            .filter(|it| it["destination"] == destination)
            .count()
    };
    assert_eq!((twice("/dev/shm"), twice("/etc/hosts")), (1, 1));
    assert!(
        place("/c/deep") > place("/d"),
        "what lies deeper comes later"
    );
    assert_eq!(made["linux"]["rootfsPropagation"], "rshared");
    let source = format!("/mounts/{}/source", place("/c/deep"));
    assert_eq!(
        container.origins.of(&source, ""),
        Some("/spec/volumes/2/hostPath/path")
    );
    let options = format!("/mounts/{}/options", place("/c/deep"));
    assert_eq!(
        container.origins.of(&options, "rshared"),
        Some("/spec/containers/0/volumeMounts/2/mountPropagation")
    );
}

#[test]
fn a_manifest_that_kubernetes_would_not_take_is_refused_with_the_field() {
    for (text, expected) in [
        (
            "spec: {}",
            "cannot read manifest at '/spec/containers': expected at least one container, found nothing",
        ),
        (
            "spec: []",
            "cannot read manifest at '/spec': expected an object, found a list",
        ),
        (
            "metadata: {}",
            "cannot read manifest at '/spec': expected the specification of a pod, found nothing",
        ),
        (
            "spec: {hostPID: 1, containers: [{name: a}]}",
            "cannot read manifest at '/spec/hostPID': expected true or false, found a number",
        ),
        (
            "spec: {containers: [{image: a}]}",
            "cannot read manifest at '/spec/containers/0/name': expected a text, found nothing",
        ),
        (
            "spec: {containers: [{name: a, resources: {limits: {memory: much}}}]}",
            "cannot read manifest at '/spec/containers/0/resources/limits/memory': expected a quantity, found a text",
        ),
        (
            "spec: {containers: [{name: a, volumeMounts: [{name: x, mountPath: /x}]}]}",
            "cannot read manifest at '/spec/containers/0/volumeMounts/0/name': expected the name of a volume of the pod, found a text",
        ),
        (
            "spec: {os: {name: windows}, containers: [{name: a}]}",
            "cannot read manifest at '/spec/os/name': expected 'linux': other systems have other containers, found a text",
        ),
    ] {
        let documents = parse(format!("kind: Pod\n{text}\n").as_bytes()).unwrap();
        let place = &pods(&documents).unwrap()[0];
        let error = Workload::of_pod(&documents[0], place, &Given::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
