//! The address of a node's RPC.

/// Default RPC address of a node.
pub const DEFAULT_NODE: &str = "http://127.0.0.1:26657";

/// Address of an HTTP server, with a path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Host and port, as `host:port`.
    authority: String,
    /// Prefix of every path: empty, or `/like/this`.
    prefix: String,
}

impl NodeAddress {
    /// Parses `http://HOST:PORT`, `tcp://HOST:PORT` or `HOST:PORT`, each with or without a path.
    ///
    /// Errors: a sentence that quotes the text and shows the right form, when it is not such an address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("tcp://")).unwrap_or(text);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |text: &str| text.bytes().all(|c| c.is_ascii_graphic() && !b"@?#".contains(&c));
        let port = authority.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        let bad = |why: &str| Err(format!("{text:?} is no address of a node ({why}): write it like {DEFAULT_NODE}"));
        if rest.contains("://") {
            return bad("only http is supported");
        }
        if port.is_none() {
            return bad("host and port are needed");
        }
        if !is_plain(authority) || !is_plain(path) {
            return bad("it has characters that an address cannot have");
        }
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { authority: authority.to_owned(), prefix })
    }

    /// Returns host and port as `host:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns a path on this server, with the prefix before it.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Returns the URL of a path on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{}", self.authority, self.path(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_several_ways() {
        for text in ["http://127.0.0.1:1", "tcp://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/"] {
            let address = NodeAddress::parse(text).unwrap();
            assert_eq!((address.authority(), address.path("/").as_str()), ("127.0.0.1:1", "/"));
            assert_eq!(address.url(""), "http://127.0.0.1:1");
        }
        let address = NodeAddress::parse("http://host:80/a/b/").unwrap();
        assert_eq!(address.path("/metrics"), "/a/b/metrics");
        assert_eq!(address.url("/"), "http://host:80/a/b/");
        assert_eq!(NodeAddress::parse("[::1]:80").unwrap().url("/"), "http://[::1]:80/");
        for bad in ["https://127.0.0.1:1", "127.0.0.1", "", "http://", "a b:1", "unix:///x:1", "h:99999", "u@h:1"] {
            assert!(NodeAddress::parse(bad).unwrap_err().contains(DEFAULT_NODE), "{bad}");
        }
    }
}
