//! How many are sold: a number that everybody sees move, and that nobody has to keep. `cargo run --example sold`, then open
//! http://localhost:8080/ in several windows.
//!
//! There is no code here: the number is a counter of the channel `shop`, which the page follows and counts up. It is exact
//! whoever counts, told at most twenty times a second however many do, and on disk before a sale is acknowledged.

use roadstead::{api::program, config::Config, supervisor::serve};

/// What is at `/`.
pub const PAGE: &str = include_str!("sold.html");

/// What the shop needs, kept in a folder.
pub fn config(folder: &str) -> Config {
    let mut config = Config::default();
    config.storage.path = folder.to_owned();
    config.storage.synced = vec!["shop".to_owned()];
    config
}

/// `sold [ADDRESS [FOLDER]]`
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    let mut config = config(&arguments.next().unwrap_or_else(|| "sold".to_owned()));
    if let Some(address) = address {
        config.server.listen = vec![address.parse()?];
    }
    let handlers = program(&config, PAGE, |_io| ())?;
    serve(config, handlers)?;
    Ok(())
}
