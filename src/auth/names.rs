//! Users' names in few bytes: what most names are made of takes less room than their letters do, and what many users' names
//! have in common is kept once.
//!
//! ```text
//!   "anna-katharina.meier.2@example.com"    ─► "anna-katharina.meier.2"     and the form: Lower, "" + "@example.com"
//!   "google-oauth2|103547991597142817347"   ─► "103547991597142817347"      and the form: Hex, "google-oauth2|" + ""
//!   "0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4"  ─► its 16 bytes                 and the form: Uuid
//! ```
//!
//! A name has exactly one packing: the shortest that there is of all of it, else of what stands before its host, else of what
//! stands behind a prefix. The few that have none (of many letters of many kinds) are kept as they are by whoever keeps
//! them; this file keeps nothing.

use std::{fmt, ops::Deref};

/// Of a packed name, at most.
pub(super) const PACKED_BYTES: usize = 25;
/// The longest name that is packed.
const UNPACKED_BYTES_MAX: usize = 63;

/// A packed name, without what its form says. Zeros at its end say nothing, so that it can be as long as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Packed {
    bytes: Letters,
    len: u8,
}

type Letters = [u8; PACKED_BYTES];

/// What packed names have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    alphabet: Alphabet,
    prefix: Box<str>,
    suffix: Box<str>,
}

/// A user's name, as it is looked at.
#[derive(Clone, Copy)]
pub struct Name<'a>(Text<'a>);

#[derive(Clone, Copy)]
enum Text<'a> {
    Kept(&'a str),
    Unpacked([u8; UNPACKED_BYTES_MAX], u8),
}

/// How the bytes of a packed name are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Alphabet {
    /// As they are, up to the first zero.
    Bytes,
    /// The number of RFC 9562, in lower case or in upper case.
    Uuid,
    UuidUpper,
    /// Three of [`LOWER`] in two bytes.
    Lower,
    /// Four of [`MIXED`] in three bytes.
    Mixed,
    /// Four of [`MAIL`] in three bytes.
    Mail,
    /// How many hexadecimal digits there are, and two in each byte.
    Hex,
}

impl Alphabet {
    /// Of two that make a name equally short the first counts.
    const ALL: [Self; 7] =
        [Self::Bytes, Self::Uuid, Self::UuidUpper, Self::Lower, Self::Mixed, Self::Mail, Self::Hex];
}

/// Each stands for its place plus one; 0 is the end.
const LOWER: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz0123456789._-";
const MIXED: &[u8; 63] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";
const MAIL: &[u8; 45] = b"abcdefghijklmnopqrstuvwxyz0123456789@._-+:|/=";
const LOWER_BASE: u16 = LOWER.len() as u16 + 1;
const LOWER_CHARS_MAX: usize = PACKED_BYTES / 2 * 3;
const SIX_BITS_CHARS_MAX: usize = PACKED_BYTES / 3 * 4;
const HEX_CHARS_MAX: usize = (PACKED_BYTES - 1) * 2;
/// Where a UUID has dashes, and how long it is.
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];
const UUID_CHARS: usize = 36;

/// Packs a name, if it can be.
pub(super) fn pack(name: &str) -> Option<(Form, Packed)> {
    if name.len() > UNPACKED_BYTES_MAX {
        return None;
    }
    let with = |prefix: &str, rest: &str, suffix: &str| {
        // What is all of a name nobody shares.
        (!rest.is_empty() || name.is_empty()).then_some(())?;
        let packed = Alphabet::ALL.iter().filter_map(|one| Some((*one, Packed::of(one.pack(rest)?))));
        let (alphabet, packed) = packed.min_by_key(|(_, packed)| packed.len)?;
        Some((Form { alphabet, prefix: prefix.into(), suffix: suffix.into() }, packed))
    };
    let whole = with("", name, "");
    let of_a_host = || name.rfind('@').and_then(|at| with("", &name[..at], &name[at..]));
    // The shortest of what may stand before many names is the one that most of them share.
    let of_a_kind = || prefixes(name).find_map(|at| with(&name[..at], &name[at..], ""));
    whole.or_else(of_a_host).or_else(of_a_kind)
}

/// Where a prefix may end that other users have, too.
fn prefixes(name: &str) -> impl Iterator<Item = usize> {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
    name.bytes().enumerate().filter_map(move |(at, byte)| match byte {
        b':' | b'|' | b'/' => Some(at + 1),
        b'_' if is_word(&name[..at]) => Some(at + 1),
        _ => None,
    })
}

impl Packed {
    fn of(bytes: Letters) -> Self {
        let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Self { bytes, len: len as u8 }
    }

    /// Without the zeros at its end.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }

    /// Whether these bytes are it, which may have more zeros at their end.
    pub(super) fn is(&self, kept: &[u8]) -> bool {
        let rest = kept.strip_prefix(self.bytes());
        rest.is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
    }
}

impl Form {
    /// The name that was packed so; there may be zeros at the end, or not.
    pub(super) fn unpack(&self, kept: &[u8]) -> Name<'static> {
        let mut packed: Letters = [0; PACKED_BYTES];
        packed[..kept.len()].copy_from_slice(kept);
        let mut out = Out { bytes: [0; UNPACKED_BYTES_MAX], len: 0 };
        out.put(self.prefix.as_bytes());
        self.alphabet.unpack(&packed, &mut out);
        out.put(self.suffix.as_bytes());
        Name(Text::Unpacked(out.bytes, out.len as u8))
    }
}

struct Out {
    bytes: [u8; UNPACKED_BYTES_MAX],
    len: usize,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_digit(&mut self, nibble: u8, digits: &[u8; 16]) {
        self.put(&[digits[usize::from(nibble & 15)]]);
    }
}

impl Alphabet {
    /// What it has, where each letter stands for a number.
    fn letters(self) -> &'static [u8] {
        match self {
            Self::Lower => LOWER,
            Self::Mixed => MIXED,
            Self::Mail => MAIL,
            Self::Bytes | Self::Uuid | Self::UuidUpper | Self::Hex => &[],
        }
    }

    fn pack(self, text: &str) -> Option<Letters> {
        let (text, mut packed) = (text.as_bytes(), [0; PACKED_BYTES]);
        match self {
            Self::Bytes if text.len() <= PACKED_BYTES && !text.contains(&0) => {
                packed[..text.len()].copy_from_slice(text);
            }
            Self::Lower if text.len() <= LOWER_CHARS_MAX => {
                for (three, out) in text.chunks(3).zip(packed.chunks_mut(2)) {
                    let mut number = 0;
                    for place in 0..3 {
                        number = number * LOWER_BASE + u16::from(digit(three.get(place), self.letters())?);
                    }
                    out.copy_from_slice(&number.to_be_bytes());
                }
            }
            Self::Mixed | Self::Mail if text.len() <= SIX_BITS_CHARS_MAX => {
                for (four, out) in text.chunks(4).zip(packed.chunks_mut(3)) {
                    let mut number = 0;
                    for place in 0..4 {
                        number = number << 6 | u32::from(digit(four.get(place), self.letters())?);
                    }
                    out.copy_from_slice(&number.to_be_bytes()[1..]);
                }
            }
            Self::Hex if text.len() <= HEX_CHARS_MAX => {
                packed[0] = text.len() as u8;
                for (at, byte) in text.iter().enumerate() {
                    packed[1 + at / 2] |= nibble(*byte, b'a')? << (4 * (1 - at % 2));
                }
            }
            Self::Uuid => return pack_uuid(text, b'a'),
            Self::UuidUpper => return pack_uuid(text, b'A'),
            Self::Bytes | Self::Lower | Self::Mixed | Self::Mail | Self::Hex => return None,
        }
        Some(packed)
    }

    fn unpack(self, packed: &Letters, out: &mut Out) {
        match self {
            Self::Bytes => out.put(packed.split(|byte| *byte == 0).next().unwrap_or_default()),
            Self::Lower => {
                for two in packed.chunks_exact(2) {
                    let number = u16::from_be_bytes([two[0], two[1]]);
                    let places = [
                        number / (LOWER_BASE * LOWER_BASE),
                        number / LOWER_BASE % LOWER_BASE,
                        number % LOWER_BASE,
                    ];
                    places.iter().for_each(|place| out.put(letter((*place).into(), self.letters())));
                }
            }
            Self::Mixed | Self::Mail => {
                for three in packed.chunks_exact(3) {
                    let number = u32::from_be_bytes([0, three[0], three[1], three[2]]);
                    let places = [number >> 18, number >> 12 & 63, number >> 6 & 63, number & 63];
                    places.iter().for_each(|place| out.put(letter(*place as usize, self.letters())));
                }
            }
            Self::Hex => {
                for at in 0..usize::from(packed[0]) {
                    out.put_digit(packed[1 + at / 2] >> (4 * (1 - at % 2)), b"0123456789abcdef");
                }
            }
            Self::Uuid => unpack_uuid(packed, out, b"0123456789abcdef"),
            Self::UuidUpper => unpack_uuid(packed, out, b"0123456789ABCDEF"),
        }
    }
}

/// What stands for a letter; none is the end.
fn digit(letter: Option<&u8>, alphabet: &[u8]) -> Option<u8> {
    let Some(letter) = letter else { return Some(0) };
    Some(alphabet.iter().position(|one| one == letter)? as u8 + 1)
}

fn letter(digit: usize, alphabet: &[u8]) -> &[u8] {
    digit.checked_sub(1).and_then(|at| alphabet.get(at..=at)).unwrap_or_default()
}

fn nibble(digit: u8, a: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        _ if (a..a + 6).contains(&digit) => Some(digit - a + 10),
        _ => None,
    }
}

fn pack_uuid(text: &[u8], a: u8) -> Option<Letters> {
    if text.len() != UUID_CHARS {
        return None;
    }
    let (mut packed, mut digits) = ([0; PACKED_BYTES], 0);
    for (at, byte) in text.iter().enumerate() {
        if UUID_DASHES.contains(&at) {
            (*byte == b'-').then_some(())?;
            continue;
        }
        packed[digits / 2] |= nibble(*byte, a)? << (4 * (1 - digits % 2));
        digits += 1;
    }
    Some(packed)
}

fn unpack_uuid(packed: &Letters, out: &mut Out, digits: &[u8; 16]) {
    let begun = out.len;
    for byte in &packed[..16] {
        if UUID_DASHES.contains(&(out.len - begun)) {
            out.put(b"-");
        }
        out.put_digit(*byte >> 4, digits);
        out.put_digit(*byte, digits);
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self(Text::Kept(name))
    }
}

impl Deref for Name<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Kept(name) => name,
            Text::Unpacked(bytes, len) => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default()
            }
        }
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> Option<(Alphabet, String, String)> {
        let (form, packed) = pack(name)?;
        assert_eq!(*form.unpack(packed.bytes()), *name);
        assert_eq!(*form.unpack(&packed.bytes), *name, "zeros at the end say nothing");
        Some((form.alphabet, form.prefix.into(), form.suffix.into()))
    }

    #[test]
    fn names_that_backends_give_are_packed_and_share_what_they_have_in_common() {
        use Alphabet::{Bytes, Hex, Lower, Mail, Mixed, Uuid, UuidUpper};
        for (name, alphabet, prefix, suffix) in [
            ("42", Bytes, "", ""),
            ("123", Lower, "", ""),
            ("12345678", Hex, "", ""),
            ("", Bytes, "", ""),
            ("anna.meier@example.com", Mail, "", ""),
            ("anna.meier+news@mail.example.org", Mail, "", ""),
            ("anna.meier+spam@mail1.example.org", Mail, "", "@mail1.example.org"),
            ("anna-katharina.meier.2@example.com", Lower, "", "@example.com"),
            ("Zoë+news@example.com", Bytes, "", ""),
            ("Zoë.Müller+news@example.com", Bytes, "", "@example.com"),
            ("a-name.with_30-letters-before.@mail.example.org", Lower, "", "@mail.example.org"),
            ("0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4", Uuid, "", ""),
            ("0B0E8C5E-9D1C-4F52-8C1B-0A6A3FFAB0D4", UuidUpper, "", ""),
            ("urn:uuid:0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4", Uuid, "urn:uuid:", ""),
            ("auth0|5f7c8ec7c33c6c004bbafe82", Mail, "", ""),
            ("google-oauth2|103547991597142817347", Hex, "google-oauth2|", ""),
            ("user_2NNEqL2nrIRdJ194ndJqAHwRfxC", Mixed, "user_", ""),
            ("yqYDAvRpAkZGLpcFTAXFbnLdWMZ2", Mixed, "", ""),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", Mixed, "", ""),
            (
                "https://login.example.com/users/2fd4e1c67a2d28fced849ee1bb76e73",
                Hex,
                "https://login.example.com/users/",
                "",
            ),
            ("2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", Hex, "", ""),
            (
                "https://id.example.com/7b1c6b1e-0a5e-4b57-8a3b-0d4f3e9a1c2d",
                Uuid,
                "https://id.example.com/",
                "",
            ),
        ] {
            assert_eq!(parts(name), Some((alphabet, prefix.into(), suffix.into())), "{name}");
        }
    }

    #[test]
    fn what_is_one_longer_or_has_another_letter_is_not_packed_wrongly() {
        for (alphabet, longest) in [
            (Alphabet::Bytes, "z".repeat(PACKED_BYTES)),
            (Alphabet::Lower, "z".repeat(LOWER_CHARS_MAX)),
            (Alphabet::Mixed, "Z".repeat(SIX_BITS_CHARS_MAX)),
            (Alphabet::Mail, "@".repeat(SIX_BITS_CHARS_MAX)),
            (Alphabet::Hex, "f".repeat(HEX_CHARS_MAX)),
        ] {
            assert!(alphabet.pack(&longest).is_some() && alphabet.pack(&format!("{longest}a")).is_none());
        }
        for (alphabet, strange) in [
            (Alphabet::Bytes, "a\0"),
            (Alphabet::Lower, "A"),
            (Alphabet::Mixed, "_"),
            (Alphabet::Mail, "A"),
            (Alphabet::Hex, "g"),
            (Alphabet::Hex, "A"),
            (Alphabet::Uuid, "0B0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4"),
            (Alphabet::Uuid, "0b0e8c5e09d1c-4f52-8c1b-0a6a3ffab0d4"),
            (Alphabet::Uuid, "0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d"),
        ] {
            assert_eq!(alphabet.pack(strange), None, "{alphabet:?} {strange}");
        }
        for whole in ["no such letters, and too many of them", &"a".repeat(64), "a\0"] {
            assert!(pack(whole).is_none(), "{whole}");
        }
    }

    #[test]
    fn any_name_that_is_packed_is_the_same_again_and_two_names_are_never_one() {
        let mut rng = fastrand::Rng::with_seed(13);
        let pieces = [
            "a",
            "Z",
            "0",
            "_",
            "-",
            "@",
            "|",
            "/",
            "é",
            "f",
            ".",
            "\u{1}",
            "user_",
            "0b0e8c5e-9d1c-4f52-8c1b-0a6a3ffab0d4",
        ];
        let mut seen = std::collections::HashMap::new();
        for _ in 0..50_000 {
            let kinds = rng.usize(1..=pieces.len());
            let name: String = (0..rng.usize(0..40)).map(|_| pieces[rng.usize(0..kinds)]).collect();
            if let Some(packed) = pack(&name) {
                assert_eq!(*packed.0.unpack(packed.1.bytes()), *name);
                let before = seen.insert(packed, name.clone());
                assert!(before.is_none_or(|before| before == name));
            }
        }
        assert!(seen.len() > 1000);
    }
}
