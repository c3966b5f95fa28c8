//! TLS of the public listener: certificate and key, and how they are renewed while the gateway runs.
//!
//! Owns the settings of new connections; existing ones keep theirs. A certificate that cannot be used never replaces one that can.
//! The handshake is driven by tokio-rustls on the HTTP thread, what comes after it by the shards (`shard/link.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a certificate and key cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file cannot be read, or is no PEM.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The file holds something else.
    #[error("{}: no certificate in it", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// They do not fit together, or are of a kind that is not known.
    #[error("tls.certificate and tls.key: {0}")]
    Unusable(#[from] rustls::Error),
}

/// When the two files were written last, and how long they are.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// Certificate and key in force.
#[derive(Debug)]
pub struct Tls {
    files: TlsConfig,
    current: RwLock<Arc<ServerConfig>>,
    /// Of the files that were tried last.
    stamp: Mutex<Stamp>,
    reloads: [AtomicU64; 2],
    /// Whether the files that were tried last cannot be used.
    unusable: AtomicBool,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(files: &TlsConfig) -> Result<Self, TlsError> {
        let stamp = stamp(files);
        let current = RwLock::new(Arc::new(read(files)?));
        let (reloads, unusable) = Default::default();
        Ok(Self { files: files.clone(), current, stamp: Mutex::new(stamp), reloads, unusable })
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read()))
    }

    /// Reads the files again. When they cannot be used, what is in force stays so.
    pub fn reload(&self) {
        *self.stamp.lock() = stamp(&self.files);
        let config = read(&self.files);
        // Relaxed: bare counts and a flag.
        self.unusable.store(config.is_err(), Ordering::Relaxed);
        match config {
            Ok(config) => {
                *self.current.write() = Arc::new(config);
                self.reloads[0].fetch_add(1, Ordering::Relaxed);
                tracing::info!("certificate and key were read again");
            }
            Err(error) => {
                self.reloads[1].fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the new certificate cannot be used, the old one stays");
            }
        }
    }

    /// Reloads, and attempts to, that failed.
    #[must_use]
    pub fn reloads(&self) -> [u64; 2] {
        self.reloads.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Whether the files as they are cannot be used; others are in force then.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        self.unusable.load(Ordering::Relaxed)
    }

    /// Reloads whenever one of the files changes, for ever.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let changed = stamp(&self.files) != *self.stamp.lock();
            if changed {
                self.reload();
            }
        }
    }
}

fn stamp(files: &TlsConfig) -> Stamp {
    let one = |path: &Path| -> io::Result<(SystemTime, u64)> {
        let file = fs::metadata(path)?;
        Ok((file.modified()?, file.len()))
    };
    [&files.certificate, &files.key].map(|path| one(path).ok())
}

fn read(files: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::File { path, error }
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&files.certificate).map_err(wrong(&files.certificate))?.collect();
    let chain = chain.map_err(wrong(&files.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: files.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(wrong(&files.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // The defaults are TLS 1.2 and 1.3.
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
