//! Every reason for which a container is not started, with a name that never changes.

/// What sort of answer a refusal is; see `docs/refusals.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The check ran and said no.
    Refused,
    /// The check could not run, so nothing may start.
    Undecided,
    /// The program, its settings or the request is broken.
    Fault,
}

impl Kind {
    /// The word printed in front of the code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Undecided => "undecided",
            Self::Fault => "fault",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What an emitter need not say again: everything about a code that never varies.
struct Entry {
    name: &'static str,
    kind: Kind,
    meaning: &'static str,
    spec: &'static str,
    remedy: &'static str,
}

macro_rules! codes {
    ($($variant:ident $name:literal $kind:ident $spec:literal, $meaning:literal => $remedy:literal;)+) => {
        /// A stable name for one cause. Names are kebab-case, *thing-defect*, and are never
        /// renamed: scripts, dashboards and alerts match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`: ", $meaning, ".")] $variant,)+
        }

        impl Code {
            /// All codes, in the order of `docs/refusals.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            const fn entry(self) -> Entry {
                match self {
                    $(Self::$variant => Entry {
                        name: $name,
                        kind: Kind::$kind,
                        meaning: $meaning,
                        spec: $spec,
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

codes! {
    // Carriers: no snapshot could be had.
    AgentUnreachable "agent-unreachable" Undecided "NIST SP 800-190 4.3.5",
        "the agent's socket gave no answer in time" => "run 'systemctl start portcullis-agent'";
    AgentPeerUntrusted "agent-peer-untrusted" Undecided "NIST SP 800-190 4.3.5",
        "the socket, its directory or the process behind it does not belong to root" => "run 'systemctl restart portcullis-agent'";
    AgentAnswerMalformed "agent-answer-malformed" Undecided "NIST SP 800-190 4.3.5",
        "the agent's answer is not one that this version understands" => "install matching versions of agent and shim";
    TpmTimeout "tpm-timeout" Undecided "NIST SP 800-190 4.6",
        "the TPM did not answer before the deadline" => "retry, or raise 'snapshot_deadline='";
    TpmBusy "tpm-busy" Undecided "NIST SP 800-190 4.6",
        "the TPM asked to be asked again, or worked on something longer for the agent, until the deadline" => "retry, or raise 'snapshot_deadline='";
    TpmSessionsExhausted "tpm-sessions-exhausted" Undecided "NIST SP 800-190 4.6",
        "no new verdict could be signed, because all sessions of the TPM are taken" => "end the program that holds them, then 'portcullis attest'";
    TpmUnreachable "tpm-unreachable" Undecided "NIST SP 800-190 4.6",
        "there is no TPM, or the agent cannot open it" => "check 'tcti=' and 'portcullis status'";
    TpmError "tpm-error" Undecided "NIST SP 800-190 4.6",
        "the TPM answered with an error" => "run 'portcullis status'";
    TpmAnswerMalformed "tpm-answer-malformed" Undecided "NIST SP 800-190 4.6",
        "an answer of the TPM is cut short or cannot be read" => "run 'portcullis status'";
    RecordFailed "record-failed" Undecided "NIST SP 800-190 4.4.5",
        "the ledger did not take the record, and a launch without a record does not happen" => "free space in /var/lib/portcullis, run 'portcullis status'";

    // The verdict.
    VerdictMissing "verdict-missing" Undecided "RFC 9334 8.4",
        "the agent has no verdict about this host" => "run 'portcullis attest'";
    VerdictWithheld "verdict-withheld" Refused "RFC 9334 8.4",
        "there is no verdict, because the host is not in a state in which its TPM signs one" => "run 'portcullis status' and boot an approved state";
    VerdictMalformed "verdict-malformed" Refused "draft-ietf-rats-ear-04",
        "the verdict is too large, or a claim of it is missing or cannot be read" => "run 'portcullis attest'";
    VerdictClaimsDuplicated "verdict-claims-duplicated" Refused "RFC 7519 4",
        "the verdict holds a claim, or its header a parameter, twice" => "run 'portcullis attest'";
    VerdictDialectsMixed "verdict-dialects-mixed" Refused "draft-ietf-rats-ear-04",
        "the verdict mixes the claim names of two drafts" => "correct the verifier that signed it";
    VerdictBindingMissing "verdict-binding-missing" Refused "RFC 9334 10",
        "the verdict lacks a claim that binds it to a TPM, a boot, PCRs or an asset tag" => "correct the verifier that signed it";
    VerdictStatusContradicted "verdict-status-contradicted" Refused "draft-ietf-rats-ear-04",
        "a status of the verdict is better than what it is made of" => "correct the verifier that signed it";
    VerdictAlgorithmRefused "verdict-algorithm-refused" Refused "RFC 8725 3.1",
        "the verdict asks for another signature algorithm than ES256, or for none" => "correct the verifier that signed it";
    VerdictSignatureInvalid "verdict-signature-invalid" Refused "draft-ietf-rats-ear-04",
        "the verdict is not signed by a key that is pinned on this host for verdicts" => "pin the key in /etc/portcullis/trust.d, or enroll again";
    VerdictProfileUnknown "verdict-profile-unknown" Refused "draft-ietf-rats-ear-04",
        "the verdict, or its part about the host, follows a profile that is not on the allow-list" => "install matching versions of agent and shim";
    VerdictPremature "verdict-premature" Refused "RFC 9334 10.1",
        "the verdict was issued in the future" => "set the clock, then run 'portcullis attest'";
    VerdictExpired "verdict-expired" Undecided "RFC 9334 10.1",
        "the verdict is past its end, or older than the node policy accepts" => "run 'portcullis attest'";
    VerdictReplayed "verdict-replayed" Refused "RFC 9334 10",
        "the verdict is older than one that was already seen, or answers a challenge again" => "run 'portcullis attest'";
    VerdictLatched "verdict-latched" Refused "RFC 9334 10",
        "an earlier attestation failed, and no operator has cleared that since" => "find the cause, then 'portcullis attest --clear-failure REASON'";
    VerdictSubjectMismatch "verdict-subject-mismatch" Refused "RFC 9711 4.2.1",
        "the verdict is about another node" => "run 'portcullis enroll', then 'portcullis attest'";

    VerdictPcrBankMismatch "verdict-pcr-bank-mismatch" Refused "NIST SP 800-190 4.6",
        "the verdict is about another bank of PCRs than the node's settings name" => "set 'pcr_bank=' as attested, or attest with it";
    VerdictPcrsIncomplete "verdict-pcrs-incomplete" Refused "NIST SP 800-190 4.6",
        "the verdict is about fewer PCRs than the node's settings name" => "have a verdict made of all in 'pcrs=', or shorten it";
    ClockRolledBack "clock-rolled-back" Refused "RFC 9334 10.1",
        "the verdict would be in date only because the clock was set back since it was first seen" => "set the clock, then run 'portcullis attest'";

    // The live state against the verdict.
    HostRebooted "host-rebooted" Refused "RFC 9334 10",
        "the host, or its TPM, was restarted after the verdict" => "run 'portcullis attest'";
    HostResumed "host-resumed" Refused "RFC 9334 10",
        "the TPM was resumed from suspend after the verdict" => "run 'portcullis attest'";
    PcrDrift "pcr-drift" Refused "NIST SP 800-190 4.6",
        "a PCR holds another value than the one that was attested" => "find what extended it, then reboot the node";
    PcrSelectionMismatch "pcr-selection-mismatch" Refused "NIST SP 800-190 4.6",
        "the live reading covers another bank or other PCRs than the verdict" => "set 'pcr_bank=' and 'pcrs=' as attested, then attest";
    HostQuarantined "host-quarantined" Refused "NIST SP 800-190 4.6",
        "an operator has put the host into quarantine" => "reboot the host";
    BootFuseBlown "boot-fuse-blown" Refused "RFC 9334 10",
        "the TPM does not hold the hash of this verdict: it was restarted, or another verdict was issued" => "run 'portcullis attest'";
    VectorWarning "vector-warning" Refused "draft-ietf-rats-ar4si",
        "a claim that the node policy requires is not affirming" => "run 'portcullis verdict show'";
    VectorContraindicated "vector-contraindicated" Refused "draft-ietf-rats-ar4si",
        "the verdict says that something about this host is known to be wrong" => "run 'portcullis verdict show'";

    // The asset tag.
    AssetTagMissing "asset-tag-missing" Refused "NIST IR 8320A",
        "the TPM, the verdict or the agent holds no asset tag where one is needed" => "write it with 'portcullis tag provision'";
    AssetTagTampered "asset-tag-tampered" Refused "NIST IR 8320A",
        "TPM slot, tag document and verdict do not agree" => "write it again with 'portcullis tag provision'";
    AssetTagReplayed "asset-tag-replayed" Refused "NIST IR 8320A",
        "the asset tag is not the latest that was issued for this TPM" => "provision the latest tag, or have one issued";
    AssetTagMalformed "asset-tag-malformed" Refused "NIST IR 8320A",
        "the tag document cannot be read" => "have a new tag issued and provision it";
    AssetTagSignatureInvalid "asset-tag-signature-invalid" Refused "NIST IR 8320A",
        "the tag document is not signed by a key that is pinned on this host for tags" => "pin the key in /etc/portcullis/trust.d, or sign again";
    AssetTagSubjectMismatch "asset-tag-subject-mismatch" Refused "NIST IR 8320A",
        "the tag document is about another TPM" => "provision the tag that was issued for this node";
    AssetTagExpired "asset-tag-expired" Refused "NIST IR 8320A",
        "the asset tag is not valid yet, or no longer" => "have a new tag issued and provision it";
    AssetTagMismatch "asset-tag-mismatch" Refused "NIST IR 8320A",
        "the host's tags do not meet the tag requirement of node, containerd namespace or pod" => "schedule it elsewhere, or have the tag changed";
    TagRequirementMalformed "tag-requirement-malformed" Fault "Kubernetes label selectors",
        "a tag requirement cannot be read" => "correct the expression";

    // Findings of an appraisal, as the agent reports them.
    EvidenceMalformed "evidence-malformed" Refused "RFC 9334 8.1",
        "the evidence cannot be read" => "run 'portcullis attest' again";
    NonceMismatch "nonce-mismatch" Refused "RFC 9334 10.2",
        "the evidence answers another challenge" => "run 'portcullis attest' again";
    AkUnknown "ak-unknown" Refused "RFC 9334 8.1",
        "the attestation key is not the one of this TPM, or not fit to attest" => "run 'portcullis enroll' on the node";
    QuoteSignatureInvalid "quote-signature-invalid" Refused "RFC 9334 8.1",
        "the quote is not signed by the attestation key" => "run 'portcullis enroll' on the node";
    QuoteSelectionShort "quote-selection-short" Refused "NIST SP 800-190 4.6",
        "the quote does not cover every PCR that the reference values name" => "add the PCRs to 'pcrs='";
    PcrBankMissing "pcr-bank-missing" Refused "NIST SP 800-190 4.6",
        "the quote is of another bank than the reference values" => "set 'pcr_bank=' as the reference values have it";
    PcrMismatch "pcr-mismatch" Refused "NIST SP 800-190 4.6",
        "a PCR holds a value that no reference value approves" => "boot an approved state, or sign this one as a reference value";
    PcrUncovered "pcr-uncovered" Refused "NIST SP 800-190 4.6",
        "a PCR is quoted about which the rules of a boot state say nothing" => "add it to the reference values, or take it out of 'pcrs='";
    EventLogMissing "event-log-missing" Refused "TCG PFP 10",
        "the kernel has no event log to hold against the rules of a boot state" => "see 'portcullis reference events', or sign exact PCR values";
    EventLogMalformed "event-log-malformed" Refused "TCG PFP 10",
        "the event log cannot be read" => "see 'portcullis reference events'";
    EventLogMismatch "event-log-mismatch" Refused "TCG PFP 10",
        "the event log does not give the value of a quoted PCR" => "find what extended the PCR, then reboot the node";
    EventUnexpected "event-unexpected" Refused "NIST SP 800-190 4.6",
        "something was measured that no rule of the boot state allows" => "boot an approved state, or sign this one as a reference value";
    EventMissing "event-missing" Refused "NIST SP 800-190 4.6",
        "something was not measured that the boot state asks for" => "boot an approved state, or sign this one as a reference value";
    SecureBootOff "secure-boot-off" Refused "NIST SP 800-190 4.6",
        "the firmware did not measure that Secure Boot is on" => "switch Secure Boot on in the firmware";
    SecureBootKeyUnknown "secure-boot-key-unknown" Refused "NIST SP 800-190 4.6",
        "Secure Boot rests on keys that no rule of the boot state allows" => "restore the keys, or sign these as reference values";
    KeylimeFailed "keylime-failed" Refused "RFC 9334 8.4",
        "the Keylime verifier found the node's evidence wrong" => "see 'keylime_tenant -c status', then mend the node";
    ImaListMissing "ima-list-missing" Refused "AR4SI executables",
        "the kernel has no IMA list to hold against the files of a boot state" => "boot with 'ima_policy=', or sign values without 'ima'";
    ImaListMalformed "ima-list-malformed" Refused "AR4SI executables",
        "the IMA list cannot be read" => "reboot the node";
    ImaListMismatch "ima-list-mismatch" Refused "AR4SI executables",
        "the IMA list does not give the quoted value of PCR 10" => "find what extended PCR 10, then reboot the node";
    ImaFileUnknown "ima-file-unknown" Refused "AR4SI executables",
        "a file was run or read that the boot state does not allow" => "remove the file and reboot, or sign it as a reference value";
    ImaViolation "ima-violation" Refused "AR4SI executables",
        "a file was changed while it was measured" => "find what writes to the file, then reboot the node";
    ReferenceValuesMissing "reference-values-missing" Undecided "RFC 9334 8.3",
        "there are no reference values to appraise with" => "sign some with 'portcullis reference sign'";
    ReferenceValuesUndersigned "reference-values-undersigned" Refused "NIST SP 800-53 AC-3(2)",
        "fewer pinned keys than 'reference_signatures=' asks for signed these reference values" => "have another one sign with 'portcullis reference cosign'";
    ReferenceValuesWithdrawn "reference-values-withdrawn" Refused "RFC 9334 8.3",
        "a newer document of the same provider has withdrawn these reference values" => "remove the file, or have a new document signed";
    ReferenceValuesMalformed "reference-values-malformed" Refused "RFC 9334 8.3",
        "reference values cannot be read" => "sign them again with 'portcullis reference sign'";
    ReferenceValuesSignatureInvalid "reference-values-signature-invalid" Refused "RFC 9334 8.3",
        "reference values are not signed by a key that is pinned for them" => "pin the key in /etc/portcullis/trust.d, or sign again";
    ReferenceValuesExpired "reference-values-expired" Refused "RFC 9334 8.3",
        "reference values are not valid yet, or no longer" => "sign them again with 'portcullis reference sign'";

    // The request.
    RestoreDenied "restore-denied" Refused "NIST SP 800-190 4.4.3",
        "a restore from a checkpoint would bring back unhardened credentials" => "start the container anew";
    ExecDenied "exec-denied" Refused "NIST SP 800-190 4.4.4",
        "the node policy does not allow further processes in a running container" => "set 'exec.allow=' on the node";
    UpdateDenied "update-denied" Refused "NIST SP 800-190 4.4.3",
        "an update of a running container would loosen it" => "create the container anew with the limits you need";
    ConfigChanged "config-changed" Refused "NIST SP 800-190 4.4.3",
        "config.json on disk is not the one that was hardened at create" => "delete the container, find who writes to the bundle";
    EnforcementMismatch "enforcement-mismatch" Refused "NIST SP 800-190 4.4.3",
        "the kernel does not hold of the container what its configuration says" => "update the OCI runtime, libseccomp or the kernel of the node";
    BundleUnhardened "bundle-unhardened" Refused "NIST SP 800-190 4.4.3",
        "the configuration was not hardened before it reached the hook" => "use runtime 'portcullis' or the OCI wrapper";
    RuntimeUntrusted "runtime-untrusted" Refused "NIST SP 800-190 4.4.1",
        "the OCI runtime is not the configured one, or others than root may change it" => "set 'runtime.binary=', owner root, mode 0755";
    OptionsUnknown "options-unknown" Fault "containerd runtime v2",
        "the runtime options are of an unknown type, or do not decode" => "correct the handler's options in containerd's configuration";
    OptionsDenied "options-denied" Refused "NIST SP 800-190 4.4.3",
        "the runtime options switch off what confines a container" => "take the option out of containerd's configuration";
    ProfileUnknown "profile-unknown" Fault "NIST SP 800-190 4.4.3",
        "no hardening profile has that name" => "use 'baseline', 'restricted' or 'strict'";
    OciConfigMalformed "oci-config-malformed" Fault "OCI runtime-spec 1.2",
        "config.json is not valid, or two readers could read it differently" => "correct the program that wrote it";
    ExecSpecMalformed "exec-spec-malformed" Fault "OCI runtime-spec 1.2",
        "the process specification is not valid, or two readers could read it differently" => "correct the program that wrote it";
    ResourcesMalformed "resources-malformed" Fault "OCI runtime-spec 1.2",
        "the resources of an update are not valid, or two readers could read them differently" => "correct the program that wrote them";
    HookStateMalformed "hook-state-malformed" Fault "OCI runtime-spec 1.2",
        "the state on the hook's standard input is not valid" => "install the hook as a createRuntime hook";

    // Hardening: what somebody asked for and does not get.
    PrivilegedDenied "privileged-denied" Refused "Kubernetes PSS: privileged",
        "a privileged container was asked for" => "drop 'privileged: true'";
    CapabilityExcess "capability-excess" Refused "Kubernetes PSS: capabilities",
        "a capability outside the profile was asked for" => "drop it in securityContext.capabilities";
    HostNamespaceDenied "host-namespace-denied" Refused "Kubernetes PSS: hostNamespaces",
        "a namespace of the host was asked for" => "drop hostNetwork, hostPID or hostIPC";
    MountDenied "mount-denied" Refused "NIST SP 800-190 4.5.5",
        "a mount type, option or host path that the profile does not allow was asked for" => "use a volume, or list the path in 'mounts.allow='";
    PropagationDenied "propagation-denied" Refused "CIS Docker 5.20",
        "shared mount propagation was asked for" => "set mountPropagation to None or HostToContainer";
    DeviceDenied "device-denied" Refused "CIS Docker 5.18",
        "a device that the profile does not allow was asked for" => "drop the device";
    SysctlDenied "sysctl-denied" Refused "Kubernetes PSS: sysctls",
        "a kernel parameter that the profile does not allow was asked for" => "drop it from securityContext.sysctls";
    AnnotationDenied "annotation-denied" Refused "NIST SP 800-190 4.4.3",
        "an annotation that changes how the runtime works was given" => "remove the annotation";
    HookDenied "hook-denied" Refused "NIST SP 800-190 4.4.3",
        "a hook that is not on the allow-list was asked for" => "remove the hook";
    RootUserDenied "root-user-denied" Refused "Kubernetes PSS: runAsNonRoot",
        "the process would run as uid 0 of the host" => "set runAsUser, or hostUsers: false";
    UserNamespaceMissing "user-namespace-missing" Refused "CIS Docker 5.31",
        "the profile requires a user namespace" => "set hostUsers: false";
    LsmLabelDenied "lsm-label-denied" Refused "Kubernetes PSS: AppArmor, SELinux",
        "an AppArmor or SELinux label that confines less than the profile was asked for" => "drop the label";
    OomScoreDenied "oom-score-denied" Refused "NIST SP 800-190 4.4.3",
        "an OOM score that puts the container before the host's own services was asked for" => "raise oomScoreAdj";
    SchedulerDenied "scheduler-denied" Refused "NIST SP 800-190 4.4.3",
        "a real-time scheduling or I/O class was asked for" => "drop the scheduling class";
    ResourceExcess "resource-excess" Refused "CIS Docker 5.11, 5.29",
        "a resource limit above the profile's, or none where one is required, was asked for" => "set limits within the profile";
    ResourceDenied "resource-denied" Refused "NIST SP 800-190 4.4.3",
        "a resource setting outside the allow-list was asked for" => "drop the setting";
    WorkingDirectoryDenied "working-directory-denied" Refused "NIST SP 800-190 4.4.1",
        "the working directory is not absolute or lies in /proc" => "use a directory of the image";
    RootFilesystemDenied "root-filesystem-denied" Refused "NIST SP 800-190 4.5.5",
        "the root file system of the container is not one that a bundle may use" => "use the rootfs of the bundle";
    OciFieldDenied "oci-field-denied" Refused "OCI runtime-spec 1.2",
        "a field of the OCI configuration that the profile does not allow is set" => "drop the field";

    // Where it comes from, and what it may run beside and on.
    ImageUnknown "image-unknown" Refused "NIST SP 800-190 4.1.5",
        "nobody who can be believed says which image the container is of" => "start it as a pod";
    ImageDigestMissing "image-digest-missing" Refused "NIST SP 800-190 4.2.2",
        "the image is named by a tag, which can be moved, and not by its digest" => "name it as 'NAME@sha256:…'";
    ImageRegistryDenied "image-registry-denied" Refused "NIST SP 800-190 4.1.5",
        "the image is not from a registry that the node policy approves" => "use an image of an approved registry";
    SensitivityUnknown "sensitivity-unknown" Refused "NIST SP 800-190 4.3.4",
        "the level of the workload, or that of the host, is not known or not one" => "set 'sensitivity=' of its namespace, or tag the host";
    SensitivityMismatch "sensitivity-mismatch" Refused "NIST SP 800-190 4.3.4",
        "the host is for workloads of another sensitivity" => "schedule it on a host of its level";
    RuntimeVersionDenied "runtime-version-denied" Refused "NIST SP 800-190 4.4.1",
        "the OCI runtime, or a library of it, is of a version that the node policy does not accept" => "update the OCI runtime";
    KernelVersionDenied "kernel-version-denied" Refused "NIST SP 800-190 4.5.3",
        "the kernel is of a version that the node policy does not accept" => "update the kernel and reboot";
    VersionUnknown "version-unknown" Undecided "NIST SP 800-190 4.4.1",
        "a version that the node policy has a rule for cannot be found out" => "run 'portcullis doctor'";

    // Settings.
    ConfigMissing "config-missing" Fault "NIST SP 800-190 4.4.3",
        "a file without which nothing can be decided is not there" => "install the package's own file";
    ConfigMalformed "config-malformed" Fault "NIST SP 800-190 4.4.3",
        "a settings file, key or value cannot be read" => "correct the value";
    ConfigKeyUnknown "config-key-unknown" Fault "NIST SP 800-190 4.4.3",
        "a settings file holds a key that is not known" => "correct the key";
    ConfigKeyMissing "config-key-missing" Fault "NIST SP 800-190 4.4.3",
        "a settings file lacks a key that it must have" => "add the key";
    ConfigMismatch "config-mismatch" Fault "NIST SP 800-190 4.4.3",
        "two settings contradict each other" => "remove one of the two";
    ConfigUntrusted "config-untrusted" Fault "NIST SP 800-190 4.5.5",
        "a settings file or its directory could be changed by others than root" => "set owner root and mode 0644 or stricter";
    TrustKeyMalformed "trust-key-malformed" Fault "RFC 7517",
        "a pinned key is not a usable public key" => "write it again with 'portcullis keys generate'";
    TrustKeyMismatch "trust-key-mismatch" Fault "RFC 7517",
        "two pinned keys contradict each other" => "remove one of the two files";

    // What is signed: policy bundles and break-glass tokens.
    PolicyMissing "policy-missing" Fault "NIST SP 800-53 CM-14",
        "the node starts nothing without a signed policy, and there is none" => "install the bundle in /etc/portcullis/policy.d";
    PolicySignatureInvalid "policy-signature-invalid" Fault "NIST SP 800-53 CM-14",
        "a policy bundle is not signed by a key that is pinned on this host for policies" => "pin the key in /etc/portcullis/trust.d, or sign again";
    PolicyMalformed "policy-malformed" Fault "NIST SP 800-53 CM-14",
        "a policy bundle cannot be read, or sets what only the node itself may set" => "correct it and sign it again with 'portcullis policy sign'";
    PolicyPremature "policy-premature" Fault "RFC 7519 4.1.5",
        "no policy bundle counts yet" => "set the clock, or keep the bundle before it until then";
    PolicyExpired "policy-expired" Fault "RFC 7519 4.1.4",
        "the policy bundle is past its end, and past the time that the node adds to that" => "install a newer bundle";
    PolicyRolledBack "policy-rolled-back" Fault "NIST SP 800-53 CM-14",
        "the policy bundle is older than one that was used on this host" => "install the newest bundle";
    BreakGlassUnusable "break-glass-unusable" Refused "NIST SP 800-53 AC-3(10)",
        "a break-glass token is there and does not apply to this launch" => "see 'portcullis break-glass list'";

    // The host.
    HostUnreadable "host-unreadable" Fault "NIST SP 800-190 4.5.5",
        "something that the gate must know about the host cannot be read" => "see the journal of the node";
}

impl Code {
    /// The name in kebab-case, as printed between brackets.
    pub const fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// Whether this code refuses, is undecided, or is a fault. It never varies.
    pub const fn kind(self) -> Kind {
        self.entry().kind
    }

    /// One clause that says what happened, without a final period.
    pub const fn meaning(self) -> &'static str {
        self.entry().meaning
    }

    /// The document, and its clause where it has one, that asks for the check.
    pub const fn spec(self) -> &'static str {
        self.entry().spec
    }

    /// What to do if the place that refuses knows nothing better.
    pub const fn remedy(self) -> &'static str {
        self.entry().remedy
    }

    /// The code with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Whether the caller's request, not the host, is at fault: a shim answers such a fault with
    /// `INVALID_ARGUMENT`, every other fault with `INTERNAL`.
    pub const fn is_bad_request(self) -> bool {
        matches!(
            self,
            Self::OciConfigMalformed
                | Self::ExecSpecMalformed
                | Self::ResourcesMalformed
                | Self::HookStateMalformed
                | Self::OptionsUnknown
                | Self::ProfileUnknown
                | Self::TagRequirementMalformed
        )
    }

    /// The exit code of a hook or command that ends with this refusal: 1 refused, 2 undecided,
    /// 64 for a fault of usage or settings, 70 for any other fault. 0 means permitted, nothing else.
    pub const fn exit_code(self) -> u8 {
        match self.kind() {
            Kind::Refused => 1,
            Kind::Undecided => 2,
            Kind::Fault => match self {
                Self::HostUnreadable => 70,
                _ => 64,
            },
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use portcullis_attestation::finding;

    use super::{Code, Kind};

    #[test]
    fn names_are_kebab_case_unique_and_read_back() {
        for (position, code) in Code::ALL.iter().enumerate() {
            let name = code.as_str();
            let plain = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(
                plain && !name.starts_with('-') && !name.ends_with('-'),
                "{name}"
            );
            assert_eq!(Code::from_name(name), Some(*code));
            assert!(
                !Code::ALL[..position]
                    .iter()
                    .any(|other| other.as_str() == name),
                "{name}"
            );
        }
        assert_eq!(Code::from_name("PcrDrift"), None);
    }

    #[test]
    fn a_variant_is_called_as_its_name() {
        for code in Code::ALL {
            let words = code.as_str().split('-').map(|word| {
                let (first, rest) = word.split_at(1);
                format!("{}{rest}", first.to_uppercase())
            });
            assert_eq!(format!("{code:?}"), words.collect::<String>());
        }
    }

    #[test]
    fn remedies_are_acts_and_meanings_are_clauses() {
        for code in Code::ALL {
            for text in [code.meaning(), code.remedy(), code.spec()] {
                assert!(
                    !text.is_empty() && !text.ends_with('.') && !text.contains('|'),
                    "{text}"
                );
            }
            assert!(
                code.remedy()
                    .starts_with(|first: char| first.is_ascii_lowercase()),
                "{code}"
            );
            assert!(code.remedy().len() <= 80, "{code}: {}", code.remedy());
        }
    }

    #[test]
    fn exit_codes_tell_the_kinds_apart_and_none_is_zero() {
        for code in Code::ALL {
            let expected: &[u8] = match code.kind() {
                Kind::Refused => &[1],
                Kind::Undecided => &[2],
                Kind::Fault => &[64, 70],
            };
            assert!(expected.contains(&code.exit_code()), "{code}");
            assert!(!code.is_bad_request() || code.exit_code() == 64, "{code}");
        }
    }

    #[test]
    fn every_finding_of_an_appraisal_has_a_code() {
        for name in finding::CODES {
            assert!(Code::from_name(name).is_some(), "{name}");
        }
    }
}
