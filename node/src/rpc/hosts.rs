//! By which names clients may address this node.
//!
//! A page of `evil.example` may let that name point to 127.0.0.1 once it is loaded; the browser then takes this node for the page's
//! own server (DNS rebinding) and lets the page read all answers. Such a request names the foreign host. So a host is taken that no
//! stranger can own: an IP address, a name without a dot, as containers have, a name under a suffix that is not for sale, or a name
//! that the operator lists in `rpc.allowed_hosts`.

use axum::http::{HeaderMap, Uri, header};

/// Suffixes of names that exist in local networks only (RFC 6761, RFC 6762, ICANN's reservation of `internal`).
const LOCAL_SUFFIXES: [&str; 3] = [".localhost", ".local", ".internal"];

/// The name that a foreign request gives; `None` when the name is this node's, or there is none, as in HTTP/1.0.
pub fn foreign<'a>(uri: &'a Uri, headers: &'a HeaderMap, allowed: &[String]) -> Option<&'a str> {
    let given = match (uri.authority(), headers.get(header::HOST)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or("(not text)"),
        (None, None) => return None,
    };
    (!is_ours(name_of(given), allowed)).then_some(given)
}

/// The name in `name:port`, `name` or `[address]:port`.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_ours(name: &str, allowed: &[String]) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    !name.contains('.')
        || name.parse::<std::net::IpAddr>().is_ok()
        || LOCAL_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_stranger_can_own_are_foreign_unless_the_operator_lists_them() {
        let is_foreign = |host: &str, allowed: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            foreign(&Uri::from_static("/status"), &headers, &allowed).is_some()
        };
        for ours in [
            "127.0.0.1:26657",
            "[::1]:26657",
            "::1",
            "localhost",
            "LOCALHOST:1",
            "node0:26657",
            "a.local",
            "rpc.internal.",
        ] {
            assert!(!is_foreign(ours, &[]), "{ours}");
        }
        for theirs in ["evil.example", "evil.example:26657", "127.0.0.1.evil.example", "1.2.3.4.5", "notlocal.com"] {
            assert!(is_foreign(theirs, &["other.example"]), "{theirs}");
            assert!(!is_foreign(theirs, &["*"]), "{theirs}");
        }
        assert!(!is_foreign("Rpc.Example.org:443", &["rpc.example.org"]));
        assert!(foreign(&Uri::from_static("/"), &HeaderMap::new(), &[]).is_none(), "HTTP/1.0 names none");
        let proxied = Uri::from_static("http://evil.example/status");
        assert_eq!(foreign(&proxied, &HeaderMap::new(), &[]), Some("evil.example"));
    }
}
