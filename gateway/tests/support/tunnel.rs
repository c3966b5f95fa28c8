//! TLS for tests: certificates made on the spot, and a tunnel that gives plain clients a way to a gateway that speaks TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use gateway::config::Config;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use super::gateway::Gateway;

/// Certificate and key in files, and what a client needs to trust them.
#[derive(Debug)]
pub struct Credentials {
    folder: tempfile::TempDir,
    pub certificate: CertificateDer<'static>,
}

impl Credentials {
    pub fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = write(folder.path());
        Self { folder, certificate }
    }

    /// Makes others and puts them into the same files.
    pub fn renew(&mut self) {
        self.certificate = write(self.folder.path());
    }

    pub fn certificate_path(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    pub fn key_path(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Gives them to a gateway, with a listener of their own on a free port.
    pub fn put_into(&self, config: &mut Config) {
        config.tls.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        (config.tls.certificate, config.tls.key) = (self.certificate_path(), self.key_path());
    }

    /// A client's settings that trust it, for one version of TLS or all of them.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("they are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// Each file is replaced as a whole, as whoever renews certificates does; the certificate last.
fn write(folder: &Path) -> CertificateDer<'static> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a key");
    for (name, text) in [("key.pem", made.signing_key.serialize_pem()), ("certificate.pem", made.cert.pem())]
    {
        let draft = folder.join("draft");
        fs::write(&draft, text).expect("room for it");
        fs::rename(&draft, folder.join(name)).expect("the same folder");
    }
    made.cert.der().clone()
}

/// Takes plain connections and carries each to the gateway over TLS.
#[derive(Debug)]
pub struct Tunnel {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Tunnel {
    /// A way to a gateway that was given credentials, in any version of TLS.
    pub fn to(gateway: &Gateway, credentials: &Credentials) -> Self {
        Self::open(gateway.tls.expect("it is switched on"), credentials.client(rustls::ALL_VERSIONS))
    }

    pub fn open(to: SocketAddr, client: Arc<ClientConfig>) -> Self {
        Self::open_from(1, to, client)
    }

    /// One whose connections come from the n-th address of 127.0.0.0/24.
    pub fn open_from(n: u8, to: SocketAddr, client: Arc<ClientConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it may be");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let listener = TcpListener::from_std(listener).expect("a runtime is there");
                tokio::select! {
                    _ = stopped => {}
                    () = carry_all(n, listener, to, client) => {}
                }
            });
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }
}

async fn carry_all(n: u8, listener: TcpListener, to: SocketAddr, client: Arc<ClientConfig>) {
    loop {
        let (plain, _) = listener.accept().await.expect("there are descriptors");
        tokio::task::spawn_local(carry(n, plain, to, Arc::clone(&client)));
    }
}

/// Whatever goes wrong ends the plain connection, which its client sees.
async fn carry(n: u8, mut plain: TcpStream, to: SocketAddr, client: Arc<ClientConfig>) {
    let socket = TcpSocket::new_v4().expect("a descriptor");
    socket.bind(SocketAddr::from(([127, 0, 0, n], 0))).expect("an address of this machine");
    let Ok(stream) = socket.connect(to).await else { return };
    let name = ServerName::try_from("localhost").expect("a name");
    if let Ok(mut secure) = TlsConnector::from(client).connect(name, stream).await {
        let _ = tokio::io::copy_bidirectional(&mut plain, &mut secure).await;
    }
}
