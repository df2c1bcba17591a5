//! Cross-origin resource sharing: decides which web pages may call this node.

use axum::http::{HeaderMap, HeaderValue, header};

/// The settings `cors_allowed_…` of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Origins such as `https://example.com`; one `*` in each matches any text. Empty: no page of another origin.
    pub origins: Vec<String>,
    /// HTTP methods that these pages may use.
    pub methods: Vec<String>,
    /// Headers that these pages may send.
    pub headers: Vec<String>,
}

impl Cors {
    /// Returns true if this origin is allowed.
    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|pattern| match pattern.split_once('*') {
            None => pattern.eq_ignore_ascii_case(origin),
            Some((head, tail)) => {
                origin.len() >= head.len() + tail.len() && origin.starts_with(head) && origin.ends_with(tail)
            }
        })
    }

    /// Returns true if the request may do what browsers send without a preflight: open a WebSocket, or post text as a
    /// form does. Programs send no origin and may do both.
    pub fn may_act(&self, request: &HeaderMap) -> bool {
        let Some(origin) = request.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let host = request.get(header::HOST).and_then(|host| host.to_str().ok());
        self.allows(origin) || origin.split_once("://").map(|(_, of_page)| of_page) == host
    }

    /// Adds the headers that make the browser pass the response to the page.
    pub fn mark(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        response.insert(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request.get(header::ORIGIN) else { return };
        if !origin.to_str().is_ok_and(|origin| self.allows(origin)) {
            return;
        }
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            for (name, values) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            ] {
                if let Ok(value) = HeaderValue::from_str(&values.join(", ")) {
                    response.insert(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:26657"));
        headers
    }

    #[test]
    fn only_allowed_origins_are_marked() {
        let cors = Cors { origins: vec!["https://*.example.com".into(), "http://localhost".into()], ..Cors::default() };
        let marked = |origin| {
            let mut response = HeaderMap::new();
            cors.mark(&request(origin), &mut response);
            response.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        };
        assert!(marked("https://a.example.com") && marked("http://localhost"));
        assert!(!marked("https://example.com") && !marked("https://evil.test") && !marked("https://.example.com.evil"));
    }

    #[test]
    fn a_foreign_page_opens_no_websocket_and_posts_nothing() {
        let closed = Cors::default();
        assert!(closed.may_act(&HeaderMap::new()), "programs send no origin");
        assert!(closed.may_act(&request("http://127.0.0.1:26657")));
        assert!(!closed.may_act(&request("http://evil.test")) && !closed.may_act(&request("null")));
        assert!(Cors { origins: vec!["*".into()], ..closed }.may_act(&request("http://evil.test")));
    }
}
