//! Making a connection: TCP and TLS, or whatever a test puts in their place.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::tls;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on its way.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Makes connections.
pub trait Dial: Send + Sync + 'static {
    /// Begins one; the caller bounds how long it may take.
    fn dial(&self, address: &Address) -> Dialing;
}

/// TCP, and TLS on it where it is wanted.
pub struct Tcp {
    /// `None` for plain connections.
    pub tls: Option<TlsConnector>,
}

impl Dial for Tcp {
    fn dial(&self, address: &Address) -> Dialing {
        let (host, port) = (address.host().to_owned(), address.port());
        let tls = self.tls.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            // Requests are small and wait for nobody.
            stream.set_nodelay(true)?;
            Ok(match tls {
                None => Box::new(stream) as Box<dyn Stream>,
                Some(tls) => Box::new(tls.connect(tls::server_name(), stream).await?),
            })
        })
    }
}
