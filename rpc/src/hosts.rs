//! Decides by which host names clients may address this node.
//!
//! A page of `evil.example` can point that name to 127.0.0.1 after it was loaded. The browser then takes this node for
//! the page's own server (DNS rebinding) and lets the page read all answers. Such a request has the foreign host name.
//! Therefore only names that no third party can own are accepted: an IP address, a name without a dot, as containers
//! have, a name under a suffix that cannot be bought, or a name that the operator lists in `rpc.allowed_hosts`.

use axum::http::{HeaderMap, Uri, header};

/// Suffixes of names that exist in local networks only (RFC 6761, RFC 6762, ICANN's reservation of `internal`).
const LOCAL_SUFFIXES: [&str; 3] = [".localhost", ".local", ".internal"];

/// Returns the host name of a request if it is foreign; `None` if the name is accepted, or absent as in HTTP/1.0.
pub fn foreign<'a>(uri: &'a Uri, headers: &'a HeaderMap, allowed: &[String]) -> Option<&'a str> {
    let given = match (uri.authority(), headers.get(header::HOST)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or("(not text)"),
        (None, None) => return None,
    };
    (!is_ours(name_of(given), allowed)).then_some(given)
}

/// Returns the name in `name:port`, `name` or `[address]:port`.
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
    fn host_names_are_foreign_unless_local_or_listed_by_the_operator() {
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
