//! JSON-RPC 2.0: parses bodies into calls and formats answers.

use serde_json::{Map, Value, json};

use crate::error::Error;

/// Maximum bytes of a call's id. It is kept with a subscription, and sent with each of its events.
const ID_BYTES_MAX: usize = 256;

/// One element of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A call that is answered.
    Call(Call),
    /// A call without an id, which is not answered. As in CometBFT it is not executed either: a client that needs an
    /// effect also needs its result.
    Notification,
    /// An element that is not a call, with its id, or null if the id cannot be read.
    Bad(Value, Error),
}

/// One call of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The id, a string or number, which is returned unchanged.
    pub id: Value,
    /// The name of the method.
    pub method: String,
    /// The arguments of the call as JSON text. As values they take many times as much memory, and a call may wait.
    pub params: String,
}

/// The content of a request body.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One element, which is answered by an object.
    Single(Message),
    /// Several elements, which are answered by a list.
    Batch(Vec<Message>),
}

/// Parses the body of a request.
///
/// Errors: the body is not JSON, or a batch is empty or has more than `batch_calls_max` calls.
pub fn parse(bytes: &[u8], batch_calls_max: usize) -> Result<Body, Error> {
    let value = serde_json::from_slice(bytes).map_err(|e| Error::parse(format_args!("the body is not JSON: {e}")))?;
    match value {
        Value::Array(elements) if elements.is_empty() => {
            Err(Error::invalid_request("the batch is empty: send at least one call"))
        }
        Value::Array(elements) if elements.len() > batch_calls_max => Err(Error::invalid_request(format_args!(
            "a batch of {} calls, at most {batch_calls_max} are allowed (rpc.max_request_batch_size): send several batches",
            elements.len()
        ))),
        Value::Array(elements) => Ok(Body::Batch(elements.into_iter().map(message).collect())),
        value => Ok(Body::Single(message(value))),
    }
}

fn message(value: Value) -> Message {
    let bad = |id, reason: &str| Message::Bad(id, Error::invalid_request(reason));
    let Value::Object(mut fields) = value else {
        return bad(Value::Null, "a call is an object with jsonrpc, id, method and params");
    };
    let id = match fields.remove("id") {
        None | Some(Value::Null) => return Message::Notification,
        Some(Value::String(id)) if id.len() > ID_BYTES_MAX => {
            return bad(Value::Null, &format!("id has {} bytes, at most {ID_BYTES_MAX} are allowed", id.len()));
        }
        Some(id @ (Value::String(_) | Value::Number(_))) => id,
        Some(_) => return bad(Value::Null, "id is neither text nor a number"),
    };
    if fields.get("jsonrpc").is_some_and(|version| version != "2.0") {
        return bad(id, "jsonrpc is not \"2.0\"");
    }
    match take_method(&mut fields) {
        Some(method) => {
            let params = fields.remove("params").unwrap_or_default().to_string();
            Message::Call(Call { id, method, params })
        }
        None => bad(id, "method is missing or not text"),
    }
}

fn take_method(fields: &mut Map<String, Value>) -> Option<String> {
    match fields.remove("method")? {
        Value::String(method) if !method.is_empty() => Some(method),
        _ => None,
    }
}

/// Formats the answer to a call. `result` must be JSON.
pub fn answer(id: &Value, result: &Result<String, Error>) -> String {
    match result {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.to_json() }).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn single(body: &str) -> Message {
        match parse(body.as_bytes(), 10).unwrap() {
            Body::Single(message) => message,
            Body::Batch(_) => panic!("a batch"),
        }
    }

    #[test]
    fn a_call_keeps_its_id() {
        for id in [json!("3fa8-uuid"), json!(7), json!(-1), json!("")] {
            let body = json!({"jsonrpc": "2.0", "id": id, "method": "status", "params": null}).to_string();
            assert_eq!(
                single(&body),
                Message::Call(Call { id: id.clone(), method: "status".into(), params: "null".into() })
            );
            let reply: Value = serde_json::from_str(&answer(&id, &Ok("{}".into()))).unwrap();
            assert_eq!(reply, json!({"jsonrpc": "2.0", "id": id, "result": {}}));
        }
        assert!(
            matches!(single(r#"{"id":1,"method":"status"}"#), Message::Call(_)),
            "jsonrpc and params may be missing"
        );
    }

    #[test]
    fn arguments_that_wait_take_as_much_memory_as_their_text() {
        let values = vec![r#"{"":0}"#; 2_000].join(",");
        let Message::Call(call) = single(&format!(r#"{{"id":1,"method":"status","params":[{values}]}}"#)) else {
            panic!("a call")
        };
        assert_eq!(call.params, format!("[{values}]"));
        assert!(call.params.capacity() <= 2 * call.params.len(), "{}", call.params.capacity());
    }

    #[test]
    fn malformed_bodies_are_refused_with_the_codes_of_json_rpc() {
        let code = |body: &str| parse(body.as_bytes(), 2).map_err(|error| error.kind as i32);
        assert_eq!(code(""), Err(-32700));
        assert_eq!(code("{"), Err(-32700));
        assert_eq!(code("{}{}"), Err(-32700));
        assert_eq!(code(&"[".repeat(10_000)), Err(-32700));
        assert_eq!(code("[]"), Err(-32600));
        assert_eq!(code("[1,2,3]"), Err(-32600));
        assert!(parse(b"\xFF", 2).is_err());
        for bad in [
            "1",
            "null",
            r#""x""#,
            r#"{"id":1}"#,
            r#"{"id":1,"method":5}"#,
            r#"{"id":1,"method":""}"#,
            r#"{"id":{},"method":"status"}"#,
            r#"{"id":true,"method":"status"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"status"}"#,
            &format!(r#"{{"id":"{}","method":"status"}}"#, "x".repeat(ID_BYTES_MAX + 1)),
        ] {
            let Message::Bad(_, error) = single(bad) else { panic!("{bad} is a call") };
            assert_eq!(error.to_json()["code"], -32600, "{bad}");
        }
    }

    #[test]
    fn a_request_without_an_id_is_not_answered() {
        assert_eq!(single(r#"{"jsonrpc":"2.0","method":"status"}"#), Message::Notification);
        assert_eq!(single(r#"{"jsonrpc":"2.0","id":null,"method":"status"}"#), Message::Notification);
        let Body::Batch(batch) = parse(br#"[{"method":"a"},{"id":1,"method":"b"},5]"#, 10).unwrap() else { panic!() };
        assert!(matches!(&batch[..], [Message::Notification, Message::Call(_), Message::Bad(..)]));
    }

    proptest! {
        #[test]
        fn parsers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:a-z0-9 ]{0,80}") {
            let _ = (parse(&bytes, 3), parse(text.as_bytes(), 3));
        }
    }
}
