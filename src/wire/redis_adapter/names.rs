//! The channels of Redis by which a cluster speaks.

/// How the channels of a cluster are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    key: Box<str>,
}

/// What is said on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus<'a> {
    /// Events to the sockets of a namespace; those of one room alone stand on a channel of the room.
    Events {
        /// The namespace.
        namespace: &'a str,
    },
    /// Requests to every member.
    Requests {
        /// The namespace.
        namespace: &'a str,
    },
    /// Answers to them.
    Answers {
        /// The namespace.
        namespace: &'a str,
    },
}

impl Names {
    /// Of the cluster with this key, which is `socket.io` unless somebody has said otherwise.
    pub fn new(key: &str) -> Self {
        Self { key: key.into() }
    }

    /// Where an event to these rooms is said.
    pub fn events(&self, namespace: &str, rooms: &[Box<str>]) -> String {
        match rooms {
            [room] => format!("{}#{namespace}#{room}#", self.key),
            _ => format!("{}#{namespace}#", self.key),
        }
    }

    /// The pattern of all channels on which events to a namespace are said.
    pub fn pattern(&self, namespace: &str) -> String {
        let mut pattern = String::new();
        for letter in self.key.chars().chain(['#']).chain(namespace.chars()) {
            if "*?[]\\".contains(letter) {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern + "#*"
    }

    /// Where requests are said.
    pub fn requests(&self, namespace: &str) -> String {
        format!("{}-request#{namespace}#", self.key)
    }

    /// Where answers are said.
    pub fn answers(&self, namespace: &str) -> String {
        format!("{}-response#{namespace}#", self.key)
    }

    /// Where answers to one member are said by those who say them to nobody else.
    pub fn answers_to(&self, namespace: &str, uid: &str) -> String {
        format!("{}-response#{namespace}#{uid}#", self.key)
    }

    /// What is said on a channel, if it is one of the cluster's.
    pub fn read<'a>(&self, channel: &'a [u8]) -> Option<Bus<'a>> {
        let rest = std::str::from_utf8(channel).ok()?.strip_prefix(&*self.key)?;
        let (kind, rest) = rest.split_once('#')?;
        let (namespace, rest) = rest.split_once('#')?;
        match kind {
            "" => Some(Bus::Events { namespace }),
            "-request" if rest.is_empty() => Some(Bus::Requests { namespace }),
            "-response" => Some(Bus::Answers { namespace }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_as_the_adapter_names_them_and_read_back() {
        let names = Names::new("socket.io");
        let rooms = |rooms: &[&str]| rooms.iter().map(|room| Box::from(*room)).collect::<Vec<_>>();
        assert_eq!(names.events("/", &[]), "socket.io#/#");
        assert_eq!(names.events("/game", &rooms(&["a#b"])), "socket.io#/game#a#b#");
        assert_eq!(names.events("/", &rooms(&["a", "b"])), "socket.io#/#");
        assert_eq!(names.pattern("/g[1]*"), "socket.io#/g\\[1\\]\\*#*");
        assert_eq!(names.answers_to("/", "abc"), "socket.io-response#/#abc#");
        for (channel, bus) in [
            ("socket.io#/#", Some(Bus::Events { namespace: "/" })),
            ("socket.io#/game#a#b#", Some(Bus::Events { namespace: "/game" })),
            ("socket.io-request#/#", Some(Bus::Requests { namespace: "/" })),
            ("socket.io-response#/#", Some(Bus::Answers { namespace: "/" })),
            ("socket.io-response#/#abc#", Some(Bus::Answers { namespace: "/" })),
            ("socket.io", None),
            ("socket.io#/", None),
            ("socket.io-other#/#", None),
            ("other#/#", None),
        ] {
            assert_eq!(names.read(channel.as_bytes()), bus, "{channel}");
        }
        assert_eq!(names.read(b"socket.io#\xff#"), None);
    }
}
