//! What had to be taken for granted, because a manifest does not tell.

use serde_json::{Value, json};

/// What an assumption is about; the names are part of the output for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// What admission controllers and limit ranges add.
    Admission,
    /// Which uid the image asks for.
    ImageUser,
    /// Which directories the image has.
    ImageDirectories,
    /// A host path that is not there.
    HostPath,
    /// What a claim is bound to.
    VolumeClaim,
    /// What a device plugin adds.
    DevicePlugin,
    /// What containerd's own seccomp list says.
    SeccompList,
    /// How containerd labels containers.
    SelinuxLabel,
    /// Which ids the kubelet gives to a user namespace.
    UserNamespace,
    /// What the host's directory gives to a privileged container.
    HostDevices,
}

/// One thing taken for granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assumption {
    pub(crate) about: About,
    /// Where the manifest would say it, or leaves it open; empty if nowhere.
    pub(crate) pointer: String,
    /// What is assumed, as a clause.
    pub(crate) text: String,
}

// === impl About ===

impl About {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::ImageUser => "image-user",
            Self::ImageDirectories => "image-directories",
            Self::HostPath => "host-path",
            Self::VolumeClaim => "volume-claim",
            Self::DevicePlugin => "device-plugin",
            Self::SeccompList => "seccomp-list",
            Self::SelinuxLabel => "selinux-label",
            Self::UserNamespace => "user-namespace",
            Self::HostDevices => "host-devices",
        }
    }
}

// === impl Assumption ===

impl Assumption {
    pub(super) fn new(about: About, pointer: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            about,
            pointer: pointer.into(),
            text: text.into(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "about": self.about.as_str(),
            "manifest_pointer": self.pointer,
            "text": self.text,
        })
    }
}
