//! Patterns of channels, by segments.
//!
//! ```text
//!   news:*        one more segment          news:world         but not news:world:europe, nor news
//!   news:**       the rest, at the end      news:world:europe  but not news
//!   user:{sub}    the asker's own           user:42            for the user 42 alone
//! ```
//!
//! A segment ends at `:`, `/`, or `#`, which stands between a Socket.IO namespace and its room. A wildcard is a whole
//! segment, and never an empty one. There are no regular expressions: a pattern is matched in one walk over the name.

use std::fmt::{self, Write};

/// A pattern of channels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    segments: Box<[(Option<char>, Segment)]>,
}

/// One segment; what stands before it is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    /// `*`
    One,
    /// `**`
    Rest,
    /// `{sub}`
    Subject,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// There is nothing.
    Empty,
    /// It is longer than any channel's name.
    TooLong,
    /// `**` stands before something else.
    RestNotLast,
    /// A wildcard is only a part of its segment.
    PartOfSegment,
    /// `{sub}` in a token, which knows its subject.
    Subject,
}

/// How a channel fits a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Not at all.
    None,
    /// But for `{sub}`, which is somebody else.
    OfAnother,
    /// In every segment.
    Whole,
}

/// No channel has a longer name.
const BYTES_MAX: usize = 255;

const SEPARATORS: [char; 3] = [':', '/', '#'];

impl Pattern {
    /// A pattern of the configuration.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let mut segments = Vec::new();
        let (mut separator, mut rest) = (None, Some(text));
        while let Some(left) = rest {
            let end = left.find(SEPARATORS);
            segments.push((separator, Segment::parse(&left[..end.unwrap_or(left.len())])?));
            separator = end.and_then(|end| left[end..].chars().next());
            rest = end.map(|end| &left[end + 1..]);
        }
        let rests = segments.iter().rev().skip(1).filter(|(_, segment)| *segment == Segment::Rest);
        match rests.count() {
            0 => Ok(Self { segments: segments.into() }),
            _ => Err(PatternError::RestNotLast),
        }
    }

    /// A pattern that stands for itself, without `{sub}`.
    pub fn without_subject(text: &str) -> Result<Self, PatternError> {
        let pattern = Self::new(text)?;
        let is_subject = |(_, segment): &(_, Segment)| *segment == Segment::Subject;
        if pattern.segments.iter().any(is_subject) { Err(PatternError::Subject) } else { Ok(pattern) }
    }

    /// Every channel.
    pub fn every() -> Self {
        Self { segments: [(None, Segment::Rest)].into() }
    }

    /// Whether it is every channel.
    pub fn is_every(&self) -> bool {
        matches!(&*self.segments, [(None, Segment::Rest)])
    }

    /// Whether a channel fits, asked by nobody in particular.
    pub fn fits(&self, channel: &str) -> bool {
        self.fit(channel, None) == Fit::Whole
    }

    /// Whether a channel is one of it, whosever it is.
    pub fn is_about(&self, channel: &str) -> bool {
        self.fit(channel, None) != Fit::None
    }

    /// How a channel fits, asked by `subject`.
    pub(super) fn fit(&self, channel: &str, subject: Option<&str>) -> Fit {
        let (mut rest, mut is_own) = (channel, true);
        for (separator, segment) in &self.segments {
            if let Some(separator) = separator {
                let Some(left) = rest.strip_prefix(*separator) else { return Fit::None };
                rest = left;
            }
            let (part, left) = match segment {
                Segment::Rest => (rest, ""),
                _ => rest.split_at(rest.find(SEPARATORS).unwrap_or(rest.len())),
            };
            let fits = match segment {
                Segment::Literal(text) => **text == *part,
                Segment::One | Segment::Rest => !part.is_empty(),
                Segment::Subject => {
                    is_own &= subject == Some(part);
                    !part.is_empty()
                }
            };
            if !fits {
                return Fit::None;
            }
            rest = left;
        }
        match (rest.is_empty(), is_own) {
            (false, _) => Fit::None,
            (true, false) => Fit::OfAnother,
            (true, true) => Fit::Whole,
        }
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text {
            "*" => Ok(Self::One),
            "**" => Ok(Self::Rest),
            "{sub}" => Ok(Self::Subject),
            text if text.contains(['*', '{', '}']) => Err(PatternError::PartOfSegment),
            text => Ok(Self::Literal(text.into())),
        }
    }
}

impl fmt::Display for Pattern {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (separator, segment) in &self.segments {
            separator.iter().try_for_each(|separator| f.write_char(*separator))?;
            f.write_str(match segment {
                Segment::Literal(text) => text,
                Segment::One => "*",
                Segment::Rest => "**",
                Segment::Subject => "{sub}",
            })?;
        }
        Ok(())
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a pattern cannot be empty; ** is every channel",
            Self::TooLong => "a pattern has at most 255 bytes, as a channel's name has",
            Self::RestNotLast => "** is the rest of a name and stands at the end, as in news:**",
            Self::PartOfSegment => {
                "*, ** and {sub} are whole segments between : / and #, as in news:* or user:{sub}"
            }
            Self::Subject => "{sub} stands in [[namespace]] only; here write the name itself",
        })
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_a_whole_segment_and_never_empty() {
        let cases = [
            ("news", "news", true),
            ("news", "news:a", false),
            ("news", "new", false),
            ("news:*", "news:a", true),
            ("news:*", "news:", false),
            ("news:*", "news", false),
            ("news:*", "news/a", false),
            ("news:*", "news:a:b", false),
            ("news:*", "xnews:a", false),
            ("news:**", "news:a", true),
            ("news:**", "news:a:b/c#d", true),
            ("news:**", "news:", false),
            ("news:**", "news", false),
            ("**", "a/b", true),
            ("*", "a", true),
            ("*", "a:b", false),
            ("*:*", "a:b", true),
            ("*:state", "game7:state", true),
            ("*:state", "game7:states", false),
            ("a::b", "a::b", true),
            ("a:*:b", "a::b", false),
            ("/", "/", true),
            ("/", "/game", false),
            ("/*", "/game", true),
            ("/*", "/", false),
            ("/game#*", "/game#lobby", true),
            ("/game#*", "/game", false),
            ("/*", "/game#lobby", false),
            ("ä:*", "ä:ö", true),
        ];
        for (pattern, channel, fits) in cases {
            let fitting = Pattern::new(pattern).expect("a pattern").fits(channel);
            assert_eq!(fitting, fits, "{pattern} on {channel}");
        }
    }

    #[test]
    fn a_subject_fits_its_own_segment_and_nobody_elses() {
        let pattern = Pattern::new("user:{sub}:**").expect("a pattern");
        for (channel, subject, fit) in [
            ("user:42:inbox", Some("42"), Fit::Whole),
            ("user:42:inbox", Some("4"), Fit::OfAnother),
            ("user:42:inbox", None, Fit::OfAnother),
            ("user:42", Some("42"), Fit::None),
            ("user::inbox", Some(""), Fit::None),
            ("user:a:b:inbox", Some("a:b"), Fit::OfAnother),
            ("user:*:inbox", Some("42"), Fit::OfAnother),
        ] {
            assert_eq!(pattern.fit(channel, subject), fit, "{channel} for {subject:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for (text, error) in [
            ("", PatternError::Empty),
            (&"x".repeat(256), PatternError::TooLong),
            ("**:a", PatternError::RestNotLast),
            ("news*", PatternError::PartOfSegment),
            ("***", PatternError::PartOfSegment),
            ("user:{id}", PatternError::PartOfSegment),
            ("user:x{sub}", PatternError::PartOfSegment),
        ] {
            assert_eq!(Pattern::new(text), Err(error), "{text}");
        }
        assert_eq!(Pattern::without_subject("user:{sub}"), Err(PatternError::Subject));
        assert!(
            Pattern::without_subject("**").expect("a pattern").is_every() && Pattern::every().fits("a:b")
        );
    }
}
