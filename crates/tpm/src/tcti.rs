//! Which TPM to talk to.

use std::ffi::CStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A TCTI: the way commands travel to the TPM.
///
/// It comes from the configuration and never from the environment. Only two forms exist, and
/// neither has defaults: `device:/dev/tpmrm0` and `swtpm:host=127.0.0.1,port=2321`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tcti {
    /// A character device, normally the kernel's resource manager `/dev/tpmrm0`.
    Device(PathBuf),
    /// A software TPM's TCP server. It has its control channel on the next port.
    Swtpm(SocketAddr),
}

/// A text that names no TPM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot accept TCTI '{}': expected 'device:/dev/tpmrm0' or \
     'swtpm:host=127.0.0.1,port=2321', found {reason}", .found.escape_debug()
)]
pub struct TctiMalformed {
    /// The text.
    pub found: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

// === impl Tcti ===

impl Tcti {
    /// The part of tpm2-tss that talks to it, by the name under which its loader asks for it.
    pub(crate) const fn library(&self) -> &'static CStr {
        match self {
            Self::Device(_) => c"libtss2-tcti-device.so.0",
            Self::Swtpm(_) => c"libtss2-tcti-swtpm.so.0",
        }
    }
}

impl FromStr for Tcti {
    type Err = TctiMalformed;

    /// ```text
    /// device:/dev/tpmrm0
    /// swtpm:host=127.0.0.1,port=2321
    /// ```
    fn from_str(text: &str) -> Result<Self, TctiMalformed> {
        let malformed = |reason| TctiMalformed {
            found: text.to_owned(),
            reason,
        };
        match text.split_once(':') {
            Some(("device", path)) => parse_device(path).map_err(malformed),
            Some(("swtpm", options)) => parse_swtpm(options).map_err(malformed),
            Some(_) | None => Err(malformed("another kind")),
        }
    }
}

fn parse_device(path: &str) -> Result<Tcti, &'static str> {
    if !path.starts_with('/') {
        return Err("no absolute path");
    }
    // tpm2-tss hands the string on to C.
    if path.contains(char::is_control) {
        return Err("a control character in the path");
    }
    Ok(Tcti::Device(PathBuf::from(path)))
}

fn parse_swtpm(options: &str) -> Result<Tcti, &'static str> {
    let (mut host, mut port) = (None, None);
    for option in options.split(',') {
        let (slot, value) = match option.split_once('=') {
            Some(("host", value)) => (&mut host, value),
            Some(("port", value)) => (&mut port, value),
            Some(_) | None => return Err("an option other than 'host=' and 'port='"),
        };
        if slot.replace(value).is_some() {
            return Err("an option given twice");
        }
    }
    let host = match host.ok_or("no 'host='")? {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address.parse().map_err(|_bad| "no IP address in 'host='")?,
    };
    let port: u16 = port
        .ok_or("no 'port='")?
        .parse()
        .map_err(|_bad| "no port in 'port='")?;
    // The control channel is one above.
    if port == 0 || port == u16::MAX {
        return Err("a port outside 1 to 65534");
    }
    Ok(Tcti::Swtpm(SocketAddr::new(host, port)))
}

/// The form that [`Tcti::from_str`] reads.
impl fmt::Display for Tcti {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(formatter, "device:{}", path.display()),
            Self::Swtpm(at) => write!(formatter, "swtpm:host={},port={}", at.ip(), at.port()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back() {
        for text in [
            "device:/dev/tpmrm0",
            "swtpm:host=127.0.0.1,port=2321",
            "swtpm:host=::1,port=1",
        ] {
            assert_eq!(text.parse::<Tcti>().unwrap().to_string(), text);
        }
        let swapped: Tcti = "swtpm:port=7,host=localhost".parse().unwrap();
        assert_eq!(swapped.to_string(), "swtpm:host=127.0.0.1,port=7");
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "device",
            "device:",
            "device:tpmrm0",
            "device:/dev/\u{0}",
            "mssim:host=::1,port=1",
            "swtpm",
            "swtpm:",
            "swtpm:host=127.0.0.1",
            "swtpm:port=1",
            "swtpm:host=a.example,port=1",
            "swtpm:host=::1,port=0",
            "swtpm:host=::1,port=65535",
            "swtpm:host=::1,port=65536",
            "swtpm:host=::1,port=1,port=2",
            "swtpm:host=::1,port=1,path=/x",
            "Device:/dev/tpm0",
        ] {
            assert!(text.parse::<Tcti>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_text_on_one_line() {
        let refused = "swtpm:host=::1\n,port=1".parse::<Tcti>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            r"cannot accept TCTI 'swtpm:host=::1\n,port=1': expected 'device:/dev/tpmrm0' or 'swtpm:host=127.0.0.1,port=2321', found no IP address in 'host='"
        );
    }
}
