//! `fanout`.

use clap::Args;

use super::{Load, checks::transport};
use crate::{
    error::{Error, Result},
    protocol::{stamp::STAMP_BYTES, subscriber::Transport},
    scenario::fanout::FanoutPlan,
    target::{Numbering, Scheme, Target},
};

/// Publications per second without --rate.
const RATE_USUAL: f64 = 10.0;

/// `fanout`.
#[derive(Args)]
#[command(after_help = "Examples:
  roadstead-bench fanout --url ws://127.0.0.1:8080/channels/x --publish http://127.0.0.1:8080/channels/x \\
      --subscribers 2000 --rate 50
  roadstead-bench fanout --url ws://127.0.0.1:9001/ --publish ws://127.0.0.1:9001/ --closed-loop --burst 16
  roadstead-bench fanout --url 'ws://127.0.0.1:8080/channels/room-{n%100}' \\
      --publish 'http://127.0.0.1:8080/channels/room-{n%100}' --rate 500
  roadstead-bench fanout --url 'http://127.0.0.1:3000/socket.io/?room=news' --transport socketio \\
      --publish 'http://127.0.0.1:3000/publish?room=news' --burst 16 --rate 160
  A foreign server that sends what one WebSocket says to all others needs nothing but its URL, twice.
  {n%100} in both URLs makes 100 channels: each is published into in turn, and each subscriber should hear its own.")]
pub struct FanoutArgs {
    /// Where subscribers connect: ws://…, http://… (with --transport), or tcp://… for `floor fanout`. In a URL for
    /// Socket.IO, `namespace` and `room` are for the client: http://HOST:PORT/socket.io/?namespace=/chat&room=news
    /// enters the namespace, emits `join` with the room's name, and is served when that is acknowledged.
    #[arg(long)]
    url: Target,
    /// How to receive; without it the URL's scheme decides (http: sse).
    #[arg(long)]
    transport: Option<Transport>,
    /// Where publications go: http://… (one POST each), ws://… (one frame each), or tcp://… (bare).
    #[arg(long)]
    publish: Target,
    /// Subscribers.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    subscribers: u64,
    /// Payload of a publication; its stamp takes 36.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(STAMP_BYTES as i64..=1_048_576))]
    bytes: u32,
    /// Publications written together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    burst: u32,
    /// What every load takes.
    #[command(flatten)]
    pub load: Load,
}

impl FanoutArgs {
    /// Checks the arguments and makes them a plan.
    pub fn plan(&self) -> Result<FanoutPlan> {
        let Load { threads, pacing, shared, .. } = &self.load;
        let endpoint = shared.endpoint(&self.url, transport(&self.url, self.transport)?)?;
        let publishing = match self.publish.scheme {
            Scheme::Tcp => Transport::Tcp,
            Scheme::WebSocket => Transport::Ws,
            Scheme::Http => Transport::Poll,
        };
        let address = endpoint.address;
        Ok(FanoutPlan {
            endpoint,
            publish: shared.endpoint(&self.publish, publishing)?,
            channels: self.channels()?,
            shares: threads.share_out(self.subscribers, address)?,
            message_bytes: self.bytes as usize,
            burst: self.burst as usize,
            pace: pacing.pace(RATE_USUAL)?,
            timing: pacing.timing()?,
            server: shared.server(address)?,
        })
    }

    /// The same for the server of `--against`, which publishes where it subscribes.
    pub fn rival(&self) -> Result<Option<FanoutPlan>> {
        let trial = &self.load.trial;
        match &trial.against {
            None => Ok(None),
            Some(url) => Err(Error::Argument {
                flag: "--against",
                value: url.to_string(),
                accepted: "one URL, and a fan-out has two: compare files of --repeat --json with `report`"
                    .to_owned(),
            }),
        }
    }

    /// How many channels the URLs make. `{n}` in the subscribers' alone is who they are, not what they hear.
    fn channels(&self) -> Result<u64> {
        match (self.url.numbering(), self.publish.numbering()) {
            (Numbering::Same | Numbering::Each, Numbering::Same) => Ok(1),
            (Numbering::Each, Numbering::Each) => Ok(self.subscribers),
            (Numbering::Modulo(channels), Numbering::Modulo(published))
                if channels == published && channels <= self.subscribers =>
            {
                Ok(channels)
            }
            _ => Err(Error::Argument {
                flag: "--publish",
                value: self.publish.to_string(),
                accepted: format!(
                    "the {{n}} or {{n%K}} that --url {} has, K being at most the {} subscribers: what is published \
                     into a channel is expected of its subscribers and of no others",
                    self.url, self.subscribers
                ),
            }),
        }
    }
}
