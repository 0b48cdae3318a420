//! The calling conventions of system calls that one kernel serves.

use std::fmt;

/// A calling convention, by its name in OCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Abi(&'static str);

/// All of OCI runtime-spec, "Seccomp", `SCMP_ARCH_…`, with the bits of an argument and the name that
/// Go, and so a profile file of a container engine, has for it.
const KNOWN: [(&str, u16, &str); 23] = [
    ("SCMP_ARCH_X86_64", 64, "amd64"),
    ("SCMP_ARCH_AARCH64", 64, "arm64"),
    ("SCMP_ARCH_X86", 32, "386"),
    ("SCMP_ARCH_X32", 64, ""),
    ("SCMP_ARCH_ARM", 32, "arm"),
    ("SCMP_ARCH_MIPS", 32, "mips"),
    ("SCMP_ARCH_MIPS64", 64, "mips64"),
    ("SCMP_ARCH_MIPS64N32", 32, ""),
    ("SCMP_ARCH_MIPSEL", 32, "mipsle"),
    ("SCMP_ARCH_MIPSEL64", 64, "mips64le"),
    ("SCMP_ARCH_MIPSEL64N32", 32, ""),
    ("SCMP_ARCH_PPC", 32, "ppc"),
    ("SCMP_ARCH_PPC64", 64, "ppc64"),
    ("SCMP_ARCH_PPC64LE", 64, "ppc64le"),
    ("SCMP_ARCH_S390", 32, ""),
    ("SCMP_ARCH_S390X", 64, "s390x"),
    ("SCMP_ARCH_PARISC", 32, ""),
    ("SCMP_ARCH_PARISC64", 64, ""),
    ("SCMP_ARCH_RISCV64", 64, "riscv64"),
    ("SCMP_ARCH_LOONGARCH64", 64, "loong64"),
    ("SCMP_ARCH_M68K", 32, ""),
    ("SCMP_ARCH_SH", 32, ""),
    ("SCMP_ARCH_SHEB", 32, ""),
];

// === impl Abi ===

impl Abi {
    /// 64-bit x86.
    pub const X86_64: Self = Self("SCMP_ARCH_X86_64");
    /// 64-bit ARM.
    pub const AARCH64: Self = Self("SCMP_ARCH_AARCH64");
    /// Those whose calls are known by number.
    pub const NATIVE: [Self; 2] = [Self::X86_64, Self::AARCH64];

    /// The ABI with this name in OCI.
    pub fn from_oci(name: &str) -> Option<Self> {
        KNOWN
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(known, ..)| Self(known))
    }

    /// The ABI of programs on a processor, as Rust and the kernel name it: `x86_64`, `aarch64`.
    pub fn from_machine(machine: &str) -> Option<Self> {
        match machine {
            "x86_64" | "amd64" => Some(Self::X86_64),
            "aarch64" | "arm64" => Some(Self::AARCH64),
            _ => None,
        }
    }

    /// The name in OCI.
    pub const fn oci(self) -> &'static str {
        self.0
    }

    /// How many bits of an argument filters of this ABI see.
    pub(crate) fn argument_bits(self) -> u16 {
        self.known().map_or(64, |(_, bits, _)| *bits)
    }

    /// The name that Go has for the processor.
    pub(crate) fn go(self) -> &'static str {
        self.known().map_or("", |(.., go)| *go)
    }

    fn known(self) -> Option<&'static (&'static str, u16, &'static str)> {
        KNOWN.iter().find(|(known, ..)| *known == self.0)
    }
}

impl fmt::Display for Abi {
    /// As `uname -m` would say: `x86_64`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.trim_start_matches("SCMP_ARCH_");
        formatter.write_str(&name.to_ascii_lowercase())
    }
}
