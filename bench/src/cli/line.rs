//! How connections are made, as it is asked for.

use std::{fs, path::PathBuf};

use clap::Args;

use crate::{
    endpoint::Line,
    error::{Doing, Result},
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
    /// The same with the files read.
    pub fn line(&self) -> Result<Line> {
        let ca = self.ca.as_ref().map(fs::read_to_string).transpose().doing("read the file of --ca")?;
        Ok(Line {
            unix_socket: self.unix_socket.clone(),
            ca,
            server_name: self.server_name.clone(),
            insecure: self.insecure,
        })
    }
}
