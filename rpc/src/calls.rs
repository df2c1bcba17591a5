//! Answers the calls of one body, which came by POST or over a WebSocket.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use futures::{StreamExt, stream};
use tokio::task::yield_now;

use crate::{
    args::Args,
    clients::{Client, Room},
    error::Error,
    jsonrpc::{self, Body, Message},
    methods::{self, Answer, Server},
};

/// Maximum bytes of the answers to one batch; the remaining calls are refused.
const BATCH_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Answers a body; `None` if no element of it needs an answer.
///
/// The calls of a batch are started and answered in order: one after the other, or concurrently if all of them only
/// wait for other tasks, as submissions of transactions do. Each call waits until the address is within its budget; when one
/// would wait for too long, it and the remaining ones are refused.
pub async fn answers(server: &Arc<Server>, client: &Arc<Client>, body: Body) -> Option<Answers> {
    let messages = match body {
        Body::Single(message) => return answer(server, client, message).await,
        Body::Batch(messages) => messages,
    };
    let waits = |message: &Message| match message {
        Message::Call(call) => methods::find(&call.method).is_ok_and(methods::Method::waits),
        Message::Notification | Message::Bad(..) => true,
    };
    let together = if messages.iter().all(waits) { messages.len() } else { 1 };
    let (mut json, mut lasting, mut rooms) = (String::from("["), true, Vec::new());
    let (answered, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let one = async |message| {
        // What the call before took is charged now, and whether the client has left is seen.
        yield_now().await;
        let refused = if answered.load(Relaxed) > BATCH_ANSWER_BYTES_MAX {
            Some(Error::server(format_args!(
                "the answers to this batch exceed {BATCH_ANSWER_BYTES_MAX} bytes: send this call in another one"
            )))
        } else if is_over.load(Relaxed) || !client.is_within_budget().await {
            is_over.store(true, Relaxed);
            Some(over_budget())
        } else {
            None
        };
        match (message, refused) {
            (Message::Call(call), Some(error)) => {
                Some(Answers { json: jsonrpc::answer(&call.id, &Err(error)), lasting: false, rooms: vec![] })
            }
            (message, _) => answer(server, client, message).await,
        }
    };
    let mut replies = pin!(stream::iter(messages).map(one).buffered(together.max(1)));
    while let Some(reply) = replies.next().await {
        if let Some(reply) = reply {
            json.reserve_exact(reply.json.len() + 2); // an answer that grows to twice its size would take bytes that are not counted
            json.push_str(if json.len() == 1 { "" } else { "," });
            json.push_str(&reply.json);
            answered.store(json.len(), Relaxed);
            lasting &= reply.lasting;
            rooms.extend(reply.rooms);
        }
    }
    if json.len() == 1 {
        return None;
    }
    json.push(']');
    Some(Answers { json, lasting, rooms })
}

/// The text of an answer, or of the answers to a batch.
pub struct Answers {
    /// The answers as JSON.
    pub json: String,
    /// True if the answer may be cached.
    pub lasting: bool,
    /// Guards that count the bytes until the client has read them.
    pub rooms: Vec<Room>,
}

async fn answer(server: &Arc<Server>, client: &Arc<Client>, message: Message) -> Option<Answers> {
    let (id, result) = match message {
        Message::Notification => return None,
        Message::Bad(id, error) => (id, Err(error)),
        Message::Call(call) => {
            let called = async {
                let method = methods::find(&call.method)?;
                let Answer { json, lasting } =
                    methods::call(server, client, method, Args::of_json(&call.params, method.params)?).await?;
                let room = client.room_for_answer(json.len()).ok_or_else(no_room)?;
                Ok((json, lasting, room))
            };
            (call.id, called.await)
        }
    };
    let (result, lasting, rooms) = match result {
        Ok((json, lasting, room)) => (Ok(json), lasting, vec![room]),
        Err(error) => (Err(error), false, vec![]),
    };
    Some(Answers { json: jsonrpc::answer(&id, &result), lasting, rooms })
}

/// Returns the error for an address over its budget.
pub fn over_budget() -> Error {
    Error::server(
        "your address asks for more work than it may (rpc.max_client_bytes_per_second, rpc.max_client_cpu_percent), or than its \
         share of what all may (rpc.max_cpu_percent): wait a few seconds, and send less at once",
    )
}

/// Returns the error for an answer that has no room beside those that wait to be read.
pub fn no_room() -> Error {
    Error::server(
        "busy: too many answers wait to be read by clients: read the answers that you have asked for, then try again",
    )
}
