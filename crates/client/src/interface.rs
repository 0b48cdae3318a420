//! The interface definitions, exactly as the agent serves them.

/// Name of the agent's interface.
pub const INTERFACE_NAME: &str = "dev.portcullis.Agent";

/// Definition text of the agent's interface.
///
/// # Source
///
/// Varlink, "Interface Definition".
pub const INTERFACE: &str = include_str!("../dev.portcullis.Agent.varlink");

/// Name of the interface every Varlink service offers.
pub const SERVICE_INTERFACE_NAME: &str = "org.varlink.service";

/// Definition text of the interface every Varlink service offers.
///
/// # Source
///
/// Varlink, "Service".
pub const SERVICE_INTERFACE: &str = include_str!("../org.varlink.service.varlink");
