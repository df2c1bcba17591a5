//! Writes `docs/rpc.md` from the table of methods.

use std::fmt::Write;

use crate::{
    error::Kind,
    events,
    methods::{Absent, Form, METHODS, Method, Param, Shape},
    rounds,
};

const INTRODUCTION: &str = "\
# The RPC

`cairn manual rpc` generates this page from the table by which the server finds its methods and reads their arguments; a test checks that
both agree. [openapi.json](openapi.json) is the same for programs (`cairn manual openapi`). The methods are CometBFT's, version v0.38;
`account`, `ready` and `tx_status` are Cairn's own, and `unconfirmed_tx` is of CometBFT v1. The address is `rpc.laddr`, port 26657 by default; `GET /` lists the methods.

| call | form | answer |
|---|---|---|
| POST | JSON-RPC 2.0 to `/`: one call, or a batch of at most `rpc.max_request_batch_size` | 200, also with an error |
| GET | `/method?name=value` | 200; 500 for an error; 404 for an unknown method |
| WebSocket | JSON-RPC 2.0 at `/websocket`; the only way to subscribe | a frame for each answer and each event |

```sh
curl -s 'localhost:26657/block?height=5'
curl -s localhost:26657 -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"block\",\"params\":{\"height\":\"5\"}}'
```

An answer is `{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{…}}`, or with `\"error\":{\"code\":…,\"message\":…,\"data\":…}` in place of the result; `data` is
a sentence with the value that was wrong and what to do. Parameters have names, or in a POST also places, in the order of the tables
below. Null and an empty value count as absent; unknown names are ignored. Numbers of 64 bits are strings of decimal digits in answers.

The server answers 403 to a foreign host name or web page (`rpc.allowed_hosts`, `rpc.cors_allowed_origins`), 429 to an address over its
budget (`rpc.max_client_bytes_per_second`, `rpc.max_client_cpu_percent`) or, when all clients together ask for too much, over its share
(`rpc.max_cpu_percent`), and 503 when all connections are taken.
";

/// Returns the whole page as Markdown.
pub fn manual() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Forms of arguments\n\n| type | in JSON | in a URI |\n|---|---|---|\n");
    for form in Form::ALL {
        let _ = writeln!(page, "| {} | {} | {} |", form.name(), form.in_json(), form.in_uri());
    }
    page.push_str("\n## Errors of every method\n\n| code | message | when |\n|---|---|---|\n");
    for kind in Kind::ALL {
        let _ = writeln!(page, "| {} | {} | {} |", kind as i32, kind.message(), kind.when());
    }
    page.push_str(
        "\nThe code of a refused transaction is in the result and not an error: [transactions.md](transactions.md#codes).\n",
    );
    let mut names: Vec<&str> = events::NAMES.iter().chain(&rounds::NAMES).copied().collect();
    names.sort_unstable();
    let _ =
        write!(page, "\n## Events\n\n`subscribe` takes a query by `tm.event`, which is one of: {}.\n", code(&names));
    page.push_str("`Tx` also has the tags `tx.hash`, `tx.height` and the attributes of the transaction's events, such as `transfer.recipient`.\n");
    page.push_str("\n## Methods\n");
    for method in METHODS {
        add(&mut page, method);
    }
    page
}

fn code(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn add(page: &mut String, method: &Method) {
    let _ = write!(page, "\n### {}\n\n{}\n", method.name, method.about);
    if !method.params.is_empty() {
        page.push_str("\n| parameter | type | default | meaning |\n|---|---|---|---|\n");
    }
    for Param { name, form, absent, bounds, about, .. } in method.params {
        let _ = writeln!(page, "| `{name}` | {}{} | {} | {about} |", form.name(), range(*bounds), text(*absent));
    }
    match method.result {
        [] => page.push_str("\nResult: an empty object.\n"),
        _ => page.push_str("\nResult:\n\n| field | type | meaning |\n|---|---|---|\n"),
    }
    for field in method.result {
        let _ = writeln!(page, "| `{}` | {} | {} |", field.name, field.shape.name(), field.about);
    }
    if !method.errors.is_empty() {
        page.push_str("\nErrors:\n\n");
    }
    for case in method.errors {
        let _ = writeln!(page, "- {}: {}", case.kind as i32, case.when);
    }
    let _ = match method.is_websocket() {
        true => write!(page, "\nSend to `ws://localhost:26657/websocket`:\n\n```json\n{}\n```\n", method.message()),
        false => write!(page, "\n```sh\n{}\n```\n", method.curl()),
    };
}

fn range(bounds: Option<(i64, i64)>) -> String {
    match bounds {
        None => String::new(),
        Some((low, i64::MAX)) => format!(", from {low}"),
        Some((low, high)) => format!(", {low} to {high}"),
    }
}

fn text(absent: Absent) -> String {
    match absent {
        Absent::Fails => "required".to_owned(),
        Absent::False => "false".to_owned(),
        Absent::Number(number) => number.to_string(),
        Absent::Means(what) => what.to_owned(),
    }
}

impl Method {
    /// Returns a shell line that calls the method; its variables stand for values of the chain.
    fn curl(&self) -> String {
        let given: Vec<(&Param, &str)> = self.params.iter().filter_map(|param| Some((param, param.example?))).collect();
        if let [(Param { name, form: Form::Json, .. }, value)] = given[..] {
            return format!("curl -sG localhost:26657/{} --data-urlencode \"{name}={value}\"", self.name);
        }
        let pairs: Vec<String> = given.iter().map(|(param, value)| format!("{}={value}", param.name)).collect();
        let query = pairs.join("&");
        let query = if query.is_empty() { query } else { format!("?{query}") };
        let url = format!("localhost:26657/{}{query}", self.name);
        match (url.contains('$'), query.is_empty()) {
            (_, true) => format!("curl -s {url}"),
            (true, _) => format!("curl -s \"{}\"", url.replace('"', "\\\"")),
            (false, _) => format!("curl -s '{url}'"),
        }
    }

    /// Returns the message that calls the method over a WebSocket.
    fn message(&self) -> String {
        let params = if self.params.is_empty() { "{}" } else { "{\"query\":\"tm.event = 'NewBlock'\"}" };
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\",\"params\":{params}}}", self.name)
    }
}

impl Form {
    /// All forms, in the order of the page.
    pub const ALL: [Self; 8] =
        [Self::Number, Self::Boolean, Self::Text, Self::Texts, Self::Bytes, Self::Hex, Self::Hash, Self::Json];

    /// Returns the name of the form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Text => "string",
            Self::Texts => "list",
            Self::Bytes => "bytes",
            Self::Hex => "hex bytes",
            Self::Hash => "hash",
            Self::Json => "JSON",
        }
    }

    /// Describes the values in the JSON of a POST.
    pub fn in_json(self) -> &'static str {
        match self {
            Self::Number => "`5`, `\"5\"`",
            Self::Boolean => "`true`, `\"true\"`",
            Self::Text => "`\"abc\"`",
            Self::Texts => "`[\"a\",\"b\"]`",
            Self::Bytes => "base64",
            Self::Hex => "hexadecimal digits, with or without `0x`",
            Self::Hash => "64 hexadecimal digits, with or without `0x`, or base64",
            Self::Json => "any value",
        }
    }

    /// Describes the values in the URI of a GET.
    pub fn in_uri(self) -> &'static str {
        match self {
            Self::Number => "`5`, `\"5\"`",
            Self::Boolean => "`true`, `\"true\"`",
            Self::Text => "`\"abc\"`, `abc`",
            Self::Texts => "`[\"a\",\"b\"]`, or `\"a,b\"`",
            Self::Bytes => "`0x` and hexadecimal digits, or `\"raw text\"`",
            Self::Hex => "`0x` and hexadecimal digits, or `\"raw text\"`",
            Self::Hash => "64 hexadecimal digits, with or without `0x`, or base64",
            Self::Json => "the JSON, percent-encoded",
        }
    }
}

impl Shape {
    /// Returns the name of the JSON type.
    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::ObjectOrNull => "object or null",
            Self::List => "list",
            Self::ListOrNull => "list or null",
            Self::Text => "string",
            Self::Decimal => "decimal string",
            Self::Integer => "number",
            Self::Boolean => "boolean",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_describes_itself_completely() {
        for method in METHODS {
            let sentence = |text: &str| text.ends_with('.') && text.starts_with(|c: char| c.is_uppercase() || c == '`');
            assert!(sentence(method.about), "{}", method.name);
            let of = method.params.iter().map(|param| param.about);
            let of = of
                .chain(method.result.iter().map(|field| field.about))
                .chain(method.errors.iter().map(|case| case.when));
            for about in of {
                assert!(sentence(about) || about.starts_with("0 if"), "{}: {about}", method.name);
            }
            for param in method.params.iter().filter(|param| param.absent == Absent::Fails && !method.is_websocket()) {
                assert!(param.example.is_some(), "{}: {} has no example", method.name, param.name);
            }
        }
    }
}
