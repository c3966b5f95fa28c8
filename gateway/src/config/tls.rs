//! Settings of TLS.
//!
//! Owns their defaults and what is wrong with them; that the files can be used is seen at the start.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where clients connect over TLS; off without a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsConfig {
    /// Address of the listener with TLS 1.2 and 1.3, which serves the same as the public one. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// PEM file of the certificate and those that vouch for it. Read again when it or the key changes, and on SIGHUP.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

impl Default for TlsConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8443));
        Self { listen, certificate: PathBuf::new(), key: PathBuf::new() }
    }
}

impl TlsConfig {
    /// Whether there is a listener with TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let holds = self.is_on() != self.key.as_os_str().is_empty();
        let problem = "tls.certificate and tls.key must be given together";
        if holds { Vec::new() } else { vec![problem.to_owned()] }
    }
}
