//! Methods that return decided blocks and their results.

use serde_json::json;
use storage::StoreError;
use types::{Hash, Height};

use super::shared::{Answer, Outcome, Server};
use crate::{args::Args, error::Error, json};

/// Maximum number of headers that `blockchain` returns.
const HEADERS_MAX: u64 = 20;

/// Returns a block by its height.
///
/// Errors: a bad argument, a height that is unknown or pruned, an unreadable row.
pub fn block(server: &Server, args: &Args) -> Outcome {
    let (height, given) = server.block_height(args)?;
    let store = &server.context.store;
    Ok(Answer::new(json::block_with_id(store.head(height)?.block_id, &store.block(height)?), given))
}

/// Returns a block by its header's hash; null if there is none, as in CometBFT.
///
/// Errors: a bad argument or an unreadable row.
pub fn block_by_hash(server: &Server, args: &Args) -> Outcome {
    let store = &server.context.store;
    match store.height_of(&Hash(args.hash("hash")?))? {
        Some(height) => {
            let answer = json::block_with_id(store.head(height)?.block_id, &store.block(height)?);
            Ok(Answer::new(answer, true))
        }
        None => Ok(json!({ "block_id": json::block_id(None), "block": null }).into()),
    }
}

/// Returns a header by its height.
///
/// Errors: a bad argument, a height that is unknown or pruned, an unreadable row.
pub fn header(server: &Server, args: &Args) -> Outcome {
    let (height, given) = server.block_height(args)?;
    Ok(Answer::new(json!({ "header": json::header(&server.context.store.header(height)?) }), given))
}

/// Returns a header by its hash; null if there is none, as in CometBFT.
///
/// Errors: a bad argument or an unreadable row.
pub fn header_by_hash(server: &Server, args: &Args) -> Outcome {
    let store = &server.context.store;
    let header = match store.height_of(&Hash(args.hash("hash")?))? {
        Some(height) => json::header(&store.header(height)?),
        None => serde_json::Value::Null,
    };
    Ok(json!({ "header": header }).into())
}

/// Returns the last headers of a range of heights, in descending order.
///
/// Errors: a bad or empty range, a range that is pruned, an unreadable row.
pub fn blockchain(server: &Server, args: &Args) -> Outcome {
    let store = &server.context.store;
    let (tip, earliest) = (server.tip()?.height, store.earliest());
    let bound = |name, absent: Height| match args.number(name)? {
        None | Some(0) => Ok(absent),
        Some(given) => u64::try_from(given).map(Height).map_err(|_| {
            Error::refused(format_args!("{name} is {given}: heights are positive; leave it out for no bound"))
        }),
    };
    let high = bound("maxHeight", tip)?.min(tip);
    let low = bound("minHeight", earliest)?.max(earliest).max(Height(high.0.saturating_sub(HEADERS_MAX - 1)));
    if high < earliest && high < tip {
        return Err(StoreError::Pruned { got: high, earliest }.into());
    }
    if low > high && high < tip {
        return Err(Error::refused(format_args!(
            "min height {low} can't be greater than max height {high}: exchange them"
        )));
    }
    let mut metas = Vec::new();
    for height in (low.0..=high.0).rev() {
        metas.push(json::block_meta(&store.head(Height(height))?));
    }
    Ok(json!({ "last_height": tip.to_string(), "block_metas": metas }).into())
}

/// Returns the results of executing a block.
///
/// Errors: a bad argument, a height that is unknown or pruned, an unreadable row.
pub fn block_results(server: &Server, args: &Args) -> Outcome {
    let (height, given) = server.block_height(args)?;
    Ok(Answer::new(json::block_results(height, &server.context.store.results(height)?), given))
}

/// Returns a header with the commit that decided it: from the next block, or at the tip the one that this node saw,
/// which may differ.
///
/// Errors: a bad argument, a height that is unknown or pruned, an unreadable row.
pub fn commit(server: &Server, args: &Args) -> Outcome {
    let (height, given) = server.block_height(args)?;
    let store = &server.context.store;
    let canonical = height < server.tip()?.height;
    let (header, commit) = (store.header(height)?, store.commit(height)?);
    let signed_header = json!({ "header": json::header(&header), "commit": json::commit(&commit) });
    Ok(Answer::new(json!({ "signed_header": signed_header, "canonical": canonical }), given && canonical))
}
