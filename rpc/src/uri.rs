//! Parses calls in the form of a URI: `GET /block?height=5`.

use axum::{extract::Query, http::Uri};

use crate::error::Error;

/// Returns the name of the method and the pairs of the query, percent-decoded.
///
/// Errors: the query is not UTF-8 once decoded.
#[allow(clippy::type_complexity, reason = "a name and its arguments, used once")]
pub fn parse(uri: &Uri) -> Result<(&str, Vec<(String, String)>), Error> {
    let method = uri.path().trim_start_matches('/');
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|e| Error::invalid_params(format_args!("the query part of the URI is unreadable: {e}")))?;
    Ok((method, pairs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
        let table: &[Row<'_>] = &[
            ("/health", "health", &[]),
            ("/block?height=5", "block", &[("height", "5")]),
            ("/block?height=%225%22", "block", &[("height", "\"5\"")]),
            ("/tx?hash=0xAB&prove=true", "tx", &[("hash", "0xAB"), ("prove", "true")]),
            ("/abci_query?path=%22%2Faccount%22&data=", "abci_query", &[("path", "\"/account\""), ("data", "")]),
            ("/block?height", "block", &[("height", "")]),
            ("/block?&&=&height=1", "block", &[("", ""), ("height", "1")]),
            ("/block?a+b=c%20d", "block", &[("a b", "c d")]),
        ];
        for (text, method, pairs) in table {
            let uri: Uri = text.parse().unwrap();
            let (got, got_pairs) = parse(&uri).unwrap();
            let got_pairs: Vec<_> = got_pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!((got, &got_pairs[..]), (*method, *pairs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic(query in "[ -~]{0,60}") {
            if let Ok(uri) = format!("/block?{query}").parse::<Uri>() {
                let _ = parse(&uri);
            }
        }
    }
}
