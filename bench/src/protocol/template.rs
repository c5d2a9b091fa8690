//! A request that is made again and again, with something of its own each time: paths in turn, `{n}` for the request's
//! number, `{stamp}` for a mark that this program's subscribers recognise.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{manners::Manners, stamp::Stamp};
use crate::target::Target;

/// What `http` sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The method; without one `POST` where there is a body and else `GET`.
    pub method: Option<String>,
    /// Paths, requested in turn; without any the URL's.
    pub paths: Vec<String>,
    /// The body.
    pub body: Option<String>,
}

/// Requests ready to be sent.
#[derive(Clone, Debug)]
pub enum Requests {
    /// The same bytes each time.
    Same(Rc<[u8]>),
    /// Made each time.
    Each(Box<Template>),
}

/// What requests are made of.
#[derive(Clone, Debug)]
pub struct Template {
    request: Request,
    target: Target,
    manners: Manners,
}

impl Request {
    /// The method it is sent with.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or(if self.body.is_some() { "POST" } else { "GET" })
    }

    /// Whether it may be sent again when nobody knows what became of it (RFC 9110 §9.2.2).
    pub fn is_repeatable(&self) -> bool {
        ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&self.method())
    }

    /// The bytes of the body, where it is the same each time.
    pub fn body_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, String::len)
    }

    /// The requests to `target`.
    pub fn to(&self, target: &Target, manners: &Manners) -> Requests {
        let template = Template { request: self.clone(), target: target.clone(), manners: manners.clone() };
        let texts = self.paths.iter().chain(&self.body).chain([&target.path]);
        let is_same = self.paths.len() < 2 && manners.is_same_for_all();
        if is_same && texts.into_iter().all(|text| !text.contains("{n") && !text.contains("{stamp}")) {
            return Requests::Same(template.encode(0, 0).into());
        }
        Requests::Each(Box::new(template))
    }
}

impl Template {
    /// The `number`th request, meant to be sent at this time.
    pub fn encode(&self, number: u64, intended_ns: u64) -> Vec<u8> {
        let paths = &self.request.paths;
        let path = match paths.len() as u64 {
            0 => &self.target.path,
            count => &paths[(number % count) as usize],
        };
        let mut target = self.target.clone();
        target.path.clone_from(path);
        let target = target.numbered(number);
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.request.method(), target.path, target.authority);
        let body = self.request.body.as_ref().map(|body| fill(body, number, intended_ns));
        if let Some(body) = &body {
            text += &format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        text += body.as_deref().unwrap_or_default();
        self.manners.dress(text.into_bytes(), number)
    }
}

fn fill(body: &str, number: u64, intended_ns: u64) -> String {
    let body = body.replace("{n}", &number.to_string());
    if !body.contains("{stamp}") {
        return body;
    }
    let stamp = Stamp { sequence: number, sent_ns: intended_ns }.encode(0);
    body.replace("{stamp}", &String::from_utf8_lossy(&stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(request: &Request) -> [String; 3] {
        let requests = request.to(&"http://h:1/x/{n%2}".parse().unwrap(), &Manners::default());
        [0, 1, 2].map(|number| match &requests {
            Requests::Same(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Requests::Each(template) => String::from_utf8(template.encode(number, 9)).unwrap(),
        })
    }

    #[test]
    fn paths_come_in_turn_and_numbers_count_up() {
        let request = Request { paths: vec!["/a".to_owned(), "/b/{n}".to_owned()], ..Request::default() };
        let first = |texts: [String; 3]| texts.map(|text| text.lines().next().unwrap().to_owned());
        assert_eq!(first(texts(&request)), ["GET /a HTTP/1.1", "GET /b/1 HTTP/1.1", "GET /a HTTP/1.1"]);
        assert_eq!(
            first(texts(&Request::default())),
            ["GET /x/0 HTTP/1.1", "GET /x/1 HTTP/1.1", "GET /x/0 HTTP/1.1"]
        );
    }

    #[test]
    fn a_body_is_filled_and_its_length_told() {
        let body = Some("{\"id\":{n},\"mark\":\"{stamp}\"}".to_owned());
        let request = Request { method: Some("PUT".to_owned()), body, ..Request::default() };
        let texts = texts(&request);
        assert!(
            texts[2].starts_with("PUT /x/0 ") && texts[2].contains("\r\nContent-Length: 54\r\n"),
            "{}",
            texts[2]
        );
        let mut found = Vec::new();
        Stamp::find_all(texts[2].as_bytes(), |stamp| found.push(stamp));
        assert_eq!(found, [Stamp { sequence: 2, sent_ns: 9 }]);
        assert!(
            request.is_repeatable()
                && !Request { body: Some(String::new()), ..Request::default() }.is_repeatable()
        );
    }
}
