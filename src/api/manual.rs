//! `/manual`: the pages of [`crate::manual`], on the admin listener and where the demo is served.

use std::{cell::RefCell, rc::Rc};

use rustc_hash::FxHashMap;

use crate::{
    app::{Body, Response},
    manual::{self, DESCRIPTIONS, Description, Page},
};

/// The pages that have been asked for on this shard.
#[derive(Debug, Default)]
pub(super) struct Manual(RefCell<FxHashMap<&'static str, Rc<[u8]>>>);

/// What a page may load: its own style and icon.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Something that is served below `/manual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    /// `/manual`, from which addresses of pages would lead astray.
    WithoutSlash,
    /// The list of pages.
    Index,
    /// One of them.
    Page(&'static str),
    /// What programs read.
    Description(&'static Description),
}

impl Leaf {
    /// What this path names.
    pub(super) fn find(path: &str) -> Option<Self> {
        match path.strip_prefix("/manual")? {
            "" => Some(Self::WithoutSlash),
            "/" => Some(Self::Index),
            below => {
                let name = below.strip_prefix('/')?;
                let description = || DESCRIPTIONS.iter().find(|description| description.name == name);
                let page = Page::find(name).map(|page| Self::Page(page.name));
                page.or_else(|| description().map(Self::Description))
            }
        }
    }
}

impl Manual {
    pub(super) fn answer(&self, leaf: Leaf) -> Response {
        match leaf {
            Leaf::WithoutSlash => Response::empty(308).with_field("Location", "manual/"),
            Leaf::Description(description) => {
                let mut response = Response::text(200, description.text);
                response.content_type = description.media_type.into();
                response
            }
            Leaf::Index => self.html("", manual::index),
            Leaf::Page(name) => self.html(name, || {
                manual::page(Page::find(name).expect("the name was found when the path was read"))
            }),
        }
    }

    fn html(&self, name: &'static str, write: impl FnOnce() -> String) -> Response {
        let mut written = self.0.borrow_mut();
        let body = written.entry(name).or_insert_with(|| write().into_bytes().into());
        page(body, POLICY)
    }
}

/// A page of HTML, and what it may load.
pub(super) fn page(html: &Rc<[u8]>, policy: &str) -> Response {
    let mut response = Response::empty(200)
        .with_field("Content-Security-Policy", policy)
        .with_field("X-Content-Type-Options", "nosniff");
    response.content_type = "text/html; charset=utf-8".into();
    response.body = Body::Shared(Rc::clone(html));
    response
}
