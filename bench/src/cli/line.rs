//! How connections are made: through which file, and within which TLS.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;

use crate::{
    endpoint::Endpoint,
    engine::tls::{Tls, Trust},
    error::{Doing, Error, Result},
    target::Target,
};

/// How connections are made.
#[derive(Args)]
pub struct LineArgs {
    /// Connect to this socket file instead of the URL's address.
    #[arg(long, value_name = "PATH")]
    unix_socket: Option<PathBuf>,
    /// For wss:// and https://: trust the certificates of this PEM file instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// For wss:// and https://: the server's name in its certificate, if it is not the URL's.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// For wss:// and https:// on this machine only: believe any certificate.
    #[arg(long)]
    insecure: bool,
}

impl LineArgs {
    /// Where a URL leads, when it is ours to load.
    pub fn address(&self, url: &Target, owned: bool) -> Result<SocketAddr> {
        match self.unix_socket {
            // A file is on this machine; what the URL says is only told to the server.
            Some(_) => Ok(SocketAddr::from(([127, 0, 0, 1], 0))),
            None => Ok(url.resolve(owned)?),
        }
    }

    /// An endpoint whose connections are made so.
    pub fn lead_to(&self, endpoint: Endpoint) -> Result<Endpoint> {
        let unix = self.unix_socket.clone().map(Arc::from);
        let tls = if endpoint.target.is_tls { Some(self.tls(&endpoint)?) } else { None };
        Ok(Endpoint { unix, tls, ..endpoint })
    }

    fn tls(&self, endpoint: &Endpoint) -> Result<Tls> {
        if self.insecure && !endpoint.address.ip().is_loopback() {
            return Err(Error::Argument {
                flag: "--insecure",
                value: endpoint.address.to_string(),
                accepted: "a server on this machine; give the certificate that signed the other's with --ca"
                    .to_owned(),
            });
        }
        let trust = match &self.ca {
            _ if self.insecure => Trust::All,
            Some(path) => Trust::File(path),
            None => Trust::System,
        };
        Tls::new(self.server_name.as_ref().unwrap_or(&endpoint.target.host), trust).doing("set up TLS")
    }

    /// The arguments as another process takes them.
    pub fn to_arguments(&self) -> Vec<String> {
        let path = |flag: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| format!("{flag}={}", path.display()))
        };
        let name = self.server_name.as_ref().map(|name| format!("--server-name={name}"));
        let insecure = self.insecure.then(|| "--insecure".to_owned());
        [path("--unix-socket", &self.unix_socket), path("--ca", &self.ca), name, insecure]
            .into_iter()
            .flatten()
            .collect()
    }
}
