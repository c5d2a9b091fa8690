//! `fanout`.

use clap::Args;

use super::{
    Load,
    checks::{content, transport},
    shared::rival_publish,
};
use crate::{
    endpoint::Endpoint,
    error::{Error, Result},
    host::server::Server,
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
  roadstead-bench fanout --url ws://127.0.0.1:8080/channels/x --publish http://127.0.0.1:8080/channels/x --rate 20 \\
      --against ws://127.0.0.1:9001/ --against-publish ws://127.0.0.1:9001/
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
    /// Where publications go on the server of --against.
    #[arg(long, value_name = "URL", requires = "against")]
    against_publish: Option<Target>,
    /// Subscribers.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    subscribers: u64,
    /// What publications are made of, @FILE for a file's; it is repeated or cut to --bytes, behind the stamp.
    #[arg(long, value_name = "TEXT")]
    content: Option<String>,
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
        self.load.agents.refuse(
            "echo, http, connect or storm: deliveries are timed by one clock, and machines have one each",
        )?;
        let endpoint = self.load.shared.endpoint(&self.url, transport(&self.url, self.transport)?)?;
        let server = self.load.shared.server(endpoint.address)?;
        self.plan_of(endpoint, &self.publish, server)
    }

    /// The same for the server of `--against`.
    pub fn rival(&self) -> Result<Option<FanoutPlan>> {
        let rounds = &self.load.trial.rounds;
        let Some(url) = &rounds.against else { return Ok(None) };
        let Some(publish) = rival_publish(Some(&self.publish), url, self.against_publish.as_ref())? else {
            return Ok(None);
        };
        let endpoint = self.load.shared.endpoint(url, transport(url, self.transport)?)?;
        self.plan_of(endpoint, publish, rounds.rival()?).map(Some)
    }

    fn plan_of(&self, endpoint: Endpoint, publish: &Target, server: Option<Server>) -> Result<FanoutPlan> {
        let Load { threads, pacing, shared, .. } = &self.load;
        let publishing = match publish.scheme {
            Scheme::Tcp => Transport::Tcp,
            Scheme::WebSocket => Transport::Ws,
            Scheme::Http => Transport::Poll,
        };
        Ok(FanoutPlan {
            publish: shared.endpoint(publish, publishing)?,
            channels: self.channels(&endpoint.target, publish)?,
            shares: threads.share_out(self.subscribers, endpoint.address)?,
            message: content(self.content.as_deref(), "x", self.bytes as usize)?.into_bytes(),
            burst: self.burst as usize,
            pace: pacing.pace(RATE_USUAL)?,
            timing: pacing.timing()?,
            server,
            endpoint,
        })
    }

    /// How many channels the URLs make. `{n}` in the subscribers' alone is who they are, not what they hear.
    fn channels(&self, url: &Target, publish: &Target) -> Result<u64> {
        match (url.numbering(), publish.numbering()) {
            (Numbering::Same | Numbering::Each, Numbering::Same) => Ok(1),
            (Numbering::Each, Numbering::Each) => Ok(self.subscribers),
            (Numbering::Modulo(channels), Numbering::Modulo(published))
                if channels == published && channels <= self.subscribers =>
            {
                Ok(channels)
            }
            _ => Err(Error::Argument {
                flag: "--publish",
                value: publish.to_string(),
                accepted: format!(
                    "the {{n}} or {{n%K}} that {} has, K being at most the {} subscribers: what is published \
                     into a channel is expected of its subscribers and of no others",
                    url, self.subscribers
                ),
            }),
        }
    }
}
