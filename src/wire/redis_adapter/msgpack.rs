//! MessagePack as JavaScript's notepack writes it, to JSON with attachments, and back.
//!
//! It is read where it lies and written at once: nothing is made of a length that is only claimed.

use std::io::Write;

use rmp::{Marker, encode};

use super::AdapterError;
use crate::{
    limits::JSON_DEPTH_MAX,
    model::Arguments,
    wire::{
        json::{Members, Raw, push_string},
        socketio::{attachment_of, encode_placeholder},
    },
};

/// The largest whole number up to which JavaScript knows all.
const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;

/// What a value is where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Value,
    /// It is `undefined`: `null` has been written.
    Undefined,
}

struct Reader<'a> {
    bytes: &'a [u8],
    json: Vec<u8>,
    attachments: Vec<Box<[u8]>>,
    /// Bytes of JSON there may be.
    json_max: usize,
}

/// Makes JSON of one value in msgpack, its bytes being attachments. `json_max` bounds what is made.
pub(super) fn read(bytes: &[u8], json_max: usize) -> Result<Arguments, AdapterError> {
    let json = Vec::with_capacity(bytes.len().min(json_max));
    let mut reader = Reader { bytes, json, attachments: Vec::new(), json_max };
    reader.value(0)?;
    if !reader.bytes.is_empty() {
        return Err(AdapterError::Msgpack);
    }
    if reader.json.len() > json_max {
        return Err(AdapterError::TooLarge);
    }
    let json = String::from_utf8(reader.json).expect("JSON is written as UTF-8");
    Ok(Arguments { json: json.into(), attachments: reader.attachments.into() })
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], AdapterError> {
        let (taken, left) = self.bytes.split_at_checked(count).ok_or(AdapterError::Msgpack)?;
        self.bytes = left;
        Ok(taken)
    }

    /// A whole number of so many bytes, the highest first.
    fn number(&mut self, bytes: usize) -> Result<u64, AdapterError> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, AdapterError> {
        Ok(self.number(bytes)? as usize)
    }

    fn value(&mut self, depth: usize) -> Result<Seen, AdapterError> {
        if self.json.len() > self.json_max {
            return Err(AdapterError::TooLarge);
        }
        let marker = Marker::from_u8(self.take(1)?[0]);
        match marker {
            Marker::Null => self.json.extend_from_slice(b"null"),
            Marker::True => self.json.extend_from_slice(b"true"),
            Marker::False => self.json.extend_from_slice(b"false"),
            Marker::FixPos(number) => self.whole(number.into()),
            Marker::FixNeg(number) => self.whole(number.into()),
            Marker::U8 => self.sized(1)?,
            Marker::U16 => self.sized(2)?,
            Marker::U32 => self.sized(4)?,
            Marker::U64 => self.sized(8)?,
            Marker::I8 => self.signed(1)?,
            Marker::I16 => self.signed(2)?,
            Marker::I32 => self.signed(4)?,
            Marker::I64 => self.signed(8)?,
            Marker::F32 => {
                let number = f32::from_bits(self.number(4)? as u32);
                self.float(number.into());
            }
            Marker::F64 => {
                let number = f64::from_bits(self.number(8)?);
                self.float(number);
            }
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 => self.text_of(1)?,
            Marker::Str16 => self.text_of(2)?,
            Marker::Str32 => self.text_of(4)?,
            Marker::Bin8 => self.binary(1)?,
            Marker::Bin16 => self.binary(2)?,
            Marker::Bin32 => self.binary(4)?,
            Marker::FixArray(count) => self.list(count.into(), depth)?,
            Marker::Array16 => self.list_of(2, depth)?,
            Marker::Array32 => self.list_of(4, depth)?,
            Marker::FixMap(count) => self.map(count.into(), depth)?,
            Marker::Map16 => self.map_of(2, depth)?,
            Marker::Map32 => self.map_of(4, depth)?,
            Marker::FixExt1 => return self.fixed(1),
            Marker::FixExt2 => return self.fixed(2),
            Marker::FixExt4 => return self.fixed(4),
            Marker::FixExt8 => return self.fixed(8),
            Marker::FixExt16 => return self.fixed(16),
            Marker::Ext8 => self.extended(1)?,
            Marker::Ext16 => self.extended(2)?,
            Marker::Ext32 => self.extended(4)?,
            Marker::Reserved => return Err(AdapterError::Msgpack),
        }
        Ok(Seen::Value)
    }

    fn whole(&mut self, number: i64) {
        write!(self.json, "{number}").expect("memory takes it");
    }

    fn sized(&mut self, bytes: usize) -> Result<(), AdapterError> {
        let number = self.number(bytes)?;
        write!(self.json, "{number}").expect("memory takes it");
        Ok(())
    }

    fn signed(&mut self, bytes: usize) -> Result<(), AdapterError> {
        let unused = 64 - 8 * bytes as u32;
        let number = (self.number(bytes)? << unused).cast_signed() >> unused;
        self.whole(number);
        Ok(())
    }

    /// As JavaScript writes it: what is whole has no point, what is no number is `null`.
    fn float(&mut self, number: f64) {
        match number {
            _ if !number.is_finite() => self.json.extend_from_slice(b"null"),
            _ if number.fract() == 0.0 && number.abs() <= WHOLE_MAX => self.whole(number as i64),
            _ => serde_json::to_writer(&mut self.json, &number).expect("memory takes it"),
        }
    }

    fn text_of(&mut self, bytes: usize) -> Result<(), AdapterError> {
        let length = self.length(bytes)?;
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<(), AdapterError> {
        let text = self.take(length)?;
        push_string(&mut self.json, &String::from_utf8_lossy(text));
        Ok(())
    }

    fn binary(&mut self, bytes: usize) -> Result<(), AdapterError> {
        let length = self.length(bytes)?;
        let bytes = self.take(length)?;
        self.attach(bytes);
        Ok(())
    }

    fn attach(&mut self, bytes: &[u8]) {
        encode_placeholder(&mut self.json, self.attachments.len() as u32);
        self.attachments.push(bytes.into());
    }

    fn list_of(&mut self, bytes: usize, depth: usize) -> Result<(), AdapterError> {
        let count = self.length(bytes)?;
        self.list(count, depth)
    }

    fn list(&mut self, count: usize, depth: usize) -> Result<(), AdapterError> {
        let depth = deeper(depth)?;
        self.json.push(b'[');
        for at in 0..count {
            if at > 0 {
                self.json.push(b',');
            }
            self.value(depth)?;
        }
        self.json.push(b']');
        Ok(())
    }

    fn map_of(&mut self, bytes: usize, depth: usize) -> Result<(), AdapterError> {
        let count = self.length(bytes)?;
        self.map(count, depth)
    }

    fn map(&mut self, count: usize, depth: usize) -> Result<(), AdapterError> {
        let depth = deeper(depth)?;
        self.json.push(b'{');
        let mut is_first = true;
        for _ in 0..count {
            let before = self.json.len();
            if !is_first {
                self.json.push(b',');
            }
            self.key()?;
            self.json.push(b':');
            match self.value(depth)? {
                Seen::Value => is_first = false,
                Seen::Undefined => self.json.truncate(before),
            }
        }
        self.json.push(b'}');
        Ok(())
    }

    /// A key is text; languages that have others write whole numbers, too.
    fn key(&mut self) -> Result<(), AdapterError> {
        let start = self.json.len();
        let is_number = match Marker::from_u8(*self.bytes.first().ok_or(AdapterError::Msgpack)?) {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => false,
            Marker::FixPos(_) | Marker::FixNeg(_) => true,
            Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => true,
            Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => true,
            _ => return Err(AdapterError::Shape),
        };
        self.value(0)?;
        if is_number {
            self.json.insert(start, b'"');
            self.json.push(b'"');
        }
        Ok(())
    }

    /// An extension of a fixed length: a date, or `undefined` as notepack 2 wrote it.
    fn fixed(&mut self, length: usize) -> Result<Seen, AdapterError> {
        let (kind, data) = (self.take(1)?[0].cast_signed(), self.take(length)?);
        match (kind, length) {
            (0, 1) => {
                self.json.extend_from_slice(b"null");
                return Ok(Seen::Undefined);
            }
            // Milliseconds, as notepack 2 wrote them.
            (0, 8) => self.date(i64::from_be_bytes(data.try_into().expect("so many bytes")).into()),
            _ => self.timestamp(kind, data)?,
        }
        Ok(Seen::Value)
    }

    /// An extension that says its length: a date far away, or an ArrayBuffer as notepack 2 wrote it.
    fn extended(&mut self, bytes: usize) -> Result<(), AdapterError> {
        let length = self.length(bytes)?;
        let (kind, data) = (self.take(1)?[0].cast_signed(), self.take(length)?);
        match kind {
            0 => self.attach(data),
            _ => self.timestamp(kind, data)?,
        }
        Ok(())
    }

    /// The timestamp of msgpack's specification: seconds of 32, of 34 with nanoseconds of 30, or of 64 bits.
    fn timestamp(&mut self, kind: i8, data: &[u8]) -> Result<(), AdapterError> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (seconds, nanoseconds) = match (kind, data.len()) {
            (-1, 4) => (number(data).cast_signed(), 0),
            (-1, 8) => ((number(data) & ((1 << 34) - 1)).cast_signed(), number(data) >> 34),
            (-1, 12) => (number(&data[4..]).cast_signed(), number(&data[..4])),
            _ => return Err(AdapterError::Msgpack),
        };
        self.date(i128::from(seconds) * 1000 + i128::from(nanoseconds / 1_000_000));
        Ok(())
    }

    /// A time as JavaScript writes it in JSON; one that JavaScript does not have is `null`.
    fn date(&mut self, unix_ms: i128) {
        const DAY_MS: i64 = 86_400_000;
        let Some(unix_ms) =
            i64::try_from(unix_ms).ok().filter(|ms| ms.unsigned_abs() <= 8_640_000_000_000_000)
        else {
            return self.json.extend_from_slice(b"null");
        };
        let (days, ms) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
        let (year, month, day) = date_of(days);
        let sign = match year {
            0..=9999 => "",
            10_000.. => "+",
            _ => "-",
        };
        let (digits, year) = (if sign.is_empty() { 4 } else { 6 }, year.abs());
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(
            self.json,
            "\"{sign}{year:0digits$}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z\"",
            ms % 1000
        )
        .expect("memory takes it");
    }
}

fn deeper(depth: usize) -> Result<usize, AdapterError> {
    match depth < JSON_DEPTH_MAX {
        true => Ok(depth + 1),
        false => Err(AdapterError::TooDeep),
    }
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar, whose years begin in March here so that
/// the day that not all have is the last (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes a value of JSON that has been checked, its members in their order; placeholders are the attachments they stand for.
/// What is half a character in JSON cannot be written.
pub(super) fn write(
    out: &mut Vec<u8>,
    value: Raw<'_>,
    attachments: &[Box<[u8]>],
) -> Result<(), AdapterError> {
    if let Some(items) = value.elements() {
        write_list(out, items.clone().count() as u32);
        for item in items {
            write(out, item, attachments)?;
        }
    } else if let Some(members) = value.members() {
        if let Some(bytes) = stands_for(members.clone(), attachments) {
            encode::write_bin(out, bytes).expect("memory takes it");
            return Ok(());
        }
        write_map(out, members.clone().count() as u32);
        for member in members {
            let (key, value) = member.map_err(|_| AdapterError::Json)?;
            write_text(out, &key);
            write(out, value, attachments)?;
        }
    } else if let Some(text) = value.text() {
        write_text(out, &text.map_err(|_| AdapterError::Json)?);
    } else if let Some(truth) = value.as_bool() {
        write_truth(out, truth);
    } else if value.is_number() {
        write_number(out, value.as_str());
    } else {
        write_nothing(out);
    }
    Ok(())
}

/// The attachment that an object stands for.
fn stands_for<'a>(members: Members<'_>, attachments: &'a [Box<[u8]>]) -> Option<&'a [u8]> {
    let (mut is_placeholder, mut number) = (false, None);
    // Mostly there are none.
    for (key, value) in members.take_while(|_| !attachments.is_empty()).flatten() {
        match &*key {
            "_placeholder" => is_placeholder = value.as_bool() == Some(true),
            "num" => number = value.as_str().parse().ok().and_then(attachment_of),
            _ => {}
        }
    }
    attachments.get(number.filter(|_| is_placeholder)? as usize).map(|bytes| &**bytes)
}

fn write_number(out: &mut Vec<u8>, number: &str) {
    if let Ok(number) = number.parse() {
        encode::write_sint(out, number).expect("memory takes it");
    } else if let Ok(number) = number.parse() {
        encode::write_uint(out, number).expect("memory takes it");
    } else {
        encode::write_f64(out, number.parse().unwrap_or_default()).expect("memory takes it");
    }
}

/// Writes text.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    encode::write_str(out, text).expect("memory takes it");
}

/// Writes `null`.
pub(super) fn write_nothing(out: &mut Vec<u8>) {
    encode::write_nil(out).expect("memory takes it");
}

/// Writes a whole number.
pub(super) fn write_whole(out: &mut Vec<u8>, number: u32) {
    encode::write_uint(out, number.into()).expect("memory takes it");
}

/// Writes whether something is so.
pub(super) fn write_truth(out: &mut Vec<u8>, truth: bool) {
    encode::write_bool(out, truth).expect("memory takes it");
}

/// Begins a map of so many members.
pub(super) fn write_map(out: &mut Vec<u8>, members: u32) {
    encode::write_map_len(out, members).expect("memory takes it");
}

/// Begins a list of so many items.
pub(super) fn write_list(out: &mut Vec<u8>, items: u32) {
    encode::write_array_len(out, items).expect("memory takes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        digits.chunks(2).map(|pair| byte(pair).expect("two digits")).collect()
    }

    #[track_caller]
    fn check(bytes: &str, json: &str, attachments: &[&[u8]]) {
        let bytes = hex(bytes);
        let read_back = read(&bytes, 10_000).expect(json);
        let read_attachments: Vec<&[u8]> = read_back.attachments.iter().map(|one| &**one).collect();
        assert_eq!((&*read_back.json, &read_attachments[..]), (json, attachments));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end], 10_000), Err(AdapterError::Msgpack), "{end} bytes of {json}");
        }
        let longer = [&bytes[..], &[0xc0]].concat();
        assert_eq!(read(&longer, 10_000), Err(AdapterError::Msgpack), "more behind {json}");
    }

    #[test]
    fn every_kind_of_value_is_read() {
        check("c0", "null", &[]);
        check("93 c2 c3 c0", "[false,true,null]", &[]);
        check(
            "9b 00 7f cc80 cdffff ce00010000 cf0020000000000000 e0 d080 d18000 d280000000 d38000000000000000",
            "[0,127,128,65535,65536,9007199254740992,-32,-128,-32768,-2147483648,-9223372036854775808]",
            &[],
        );
        check(
            "94 cb3ff8000000000000 ca3fc00000 cb4014000000000000 cb3fb999999999999a",
            "[1.5,1.5,5,0.1]",
            &[],
        );
        check("93 cb7ff8000000000000 cb7ff0000000000000 cbfff0000000000000", "[null,null,null]", &[]);
        check("95 a0 a3c3a422 d901 0a da000161 db0000000162", r#"["","ä\"","\n","a","b"]"#, &[]);
        check("82 a161 81 a162 90 a163 80", r#"{"a":{"b":[]},"c":{}}"#, &[]);
        check("dc0002 01 de0001 a16b df00000001 07dd00000001 02", r#"[1,{"k":{"7":[2]}}]"#, &[]);
    }

    #[test]
    fn bytes_of_every_kind_are_attachments() {
        check(
            "93 c403010203 c500010a c6000000020b0c",
            r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]"#,
            &[&[1, 2, 3], &[10], &[11, 12]],
        );
        check(
            "92 c70800 0102030405060708 c8000100 09",
            r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            &[&[1, 2, 3, 4, 5, 6, 7, 8], &[9]],
        );
    }

    #[test]
    fn dates_are_text_and_what_is_undefined_is_left_out() {
        check("d7ff003d090000000000", "\"1970-01-01T00:00:00.001Z\"", &[]);
        check("d6ff65920080", "\"2024-01-01T00:00:00.000Z\"", &[]);
        check("c70cff 00000000 ffffffffffffffff", "\"1969-12-31T23:59:59.000Z\"", &[]);
        check("c70cff 00000000 0000003afff44180", "\"+010000-01-01T00:00:00.000Z\"", &[]);
        check("c70cff 00000000 7fffffffffffffff", "null", &[]);
        check("d700 0000018cc251f400", "\"2024-01-01T00:00:00.000Z\"", &[]);
        check("83 a161 d40000 a162 01 a163 d40000", r#"{"b":1}"#, &[]);
        check("92 d40000 01", "[null,1]", &[]);
        for (days, date) in
            [(0, (1970, 1, 1)), (-1, (1969, 12, 31)), (11_016, (2000, 2, 29)), (-719_528, (0, 1, 1))]
        {
            assert_eq!(date_of(days), date);
        }
    }

    #[test]
    fn what_is_no_value_too_deep_or_too_large_is_refused() {
        let read = |bytes: &str| read(&hex(bytes), 100).map(|said| said.json);
        for bytes in
            ["", "c1", "dd ffffffff", "df ffffffff", "db ffffffff 61", "c6 ffffffff", "d6 05 00000000"]
        {
            assert_eq!(read(bytes), Err(AdapterError::Msgpack), "{bytes}");
        }
        assert_eq!(read("81 c0 01"), Err(AdapterError::Shape), "a key that is none");
        assert_eq!(read("81 90 01"), Err(AdapterError::Shape), "a key that is none");
        let nested = |depth: usize| [&vec![0x91; depth][..], &[0xc0]].concat();
        assert!(super::read(&nested(JSON_DEPTH_MAX), 1000).is_ok());
        assert_eq!(super::read(&nested(JSON_DEPTH_MAX + 1), 1000), Err(AdapterError::TooDeep));
        assert_eq!(super::read(&nested(1_000_000), 1000), Err(AdapterError::TooDeep));
        let long = [&[0xdc, 0x01, 0x00][..], &[0xc0; 256]].concat();
        assert_eq!(super::read(&long, 100), Err(AdapterError::TooLarge));
    }

    #[test]
    fn json_is_written_so_that_it_is_read_back() {
        let write = |json: &str, attachments: &[Box<[u8]>]| {
            let mut out = Vec::new();
            write(&mut out, Raw::check(json, JSON_DEPTH_MAX).expect("JSON"), attachments).map(|()| out)
        };
        let json =
            r#"{"z":[null,true,1,-1,1.5,18446744073709551615,"ä"],"b":{"_placeholder":true,"num":0},"a":{}}"#;
        let out = write(json, &[[1, 2].into()]).expect("it can be written");
        let said = read(&out, 1000).expect("msgpack");
        assert_eq!((&*said.json, &*said.attachments), (json, &[[1, 2].into()][..]));
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let said = read(&write(placeholder, &[]).expect("it can be written"), 1000).expect("msgpack");
        assert_eq!((&*said.json, said.attachments.len()), (placeholder, 0));
        assert_eq!(write(" [ 1e999 , \"\\u00e4\" ]", &[]), Ok(hex("92 cb7ff0000000000000 a2c3a4")));
        assert_eq!(write(r#"["\ud83d"]"#, &[]), Err(AdapterError::Json), "half a character");
    }
}
