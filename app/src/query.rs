//! Queries of the state. The node formats the answers.

use types::{Address, Params, Reader};

use crate::{error::Refusal, state::Account, view::View};

/// All query paths, each with a description of its data.
pub const QUERY_PATHS: &[(&str, &str)] = &[
    ("/account", "address, 20 bytes or 40 hexadecimal digits: balance and next nonce"),
    ("/params", "no data: the parameters of the next height"),
    ("/supply", "no data: total supply and collected fees"),
    ("/store", "raw key: the value under it, for proofs"),
];

/// Maximum bytes of a raw key in a query.
const KEY_BYTES_MAX: usize = 1024;

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer to `/account`. An unused address has balance 0 and next nonce 0.
    Account {
        /// The address that was queried.
        address: Address,
        /// Balance and next nonce of the address.
        account: Account,
    },
    /// Answer to `/params`: the parameters of the next height.
    Params(Box<Params>),
    /// Answer to `/supply`: the total supply and the fees.
    Supply {
        /// Total supply, including the fee pool.
        total: u64,
        /// Collected fees, which are part of the total.
        fee_pool: u64,
    },
    /// Answer to `/store`: a raw key and its value.
    Store {
        /// The raw key of the query.
        key: Vec<u8>,
        /// The bytes of its value; `None` if the key does not exist.
        value: Option<Vec<u8>>,
    },
}

/// Answers a query about the state of `reader`.
///
/// Errors: `E_UNKNOWN_PATH` with the existing paths, `E_BAD_QUERY` with a description of the expected data.
pub fn query<R: Reader + ?Sized>(reader: &R, path: &str, data: &[u8]) -> Result<Answer, Refusal> {
    let mut view = View::of_state(reader);
    match path {
        "/account" => {
            let address = address(data)?;
            Ok(Answer::Account { address, account: view.account(&address) })
        }
        "/params" => Ok(Answer::Params(Box::new(view.params()))),
        "/supply" => Ok(Answer::Supply { total: view.supply(), fee_pool: view.fee_pool() }),
        "/store" if data.len() <= KEY_BYTES_MAX => {
            Ok(Answer::Store { key: data.to_vec(), value: view.get(data).map(<[u8]>::to_vec) })
        }
        "/store" => {
            let reason = format!("a key of {} bytes, at most {KEY_BYTES_MAX} are possible", data.len());
            Err(Refusal::BadQuery { path: "/store", reason })
        }
        _ => {
            let paths: Vec<String> = QUERY_PATHS.iter().map(|(path, data)| format!("{path} ({data})")).collect();
            Err(Refusal::UnknownPath { path: path.chars().take(80).collect(), paths: paths.join(", ") })
        }
    }
}

fn address(data: &[u8]) -> Result<Address, Refusal> {
    if let Ok(bytes) = data.try_into() {
        return Ok(Address(bytes));
    }
    std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).ok_or_else(|| Refusal::BadQuery {
        path: "/account",
        reason: format!("{} bytes, expected an address: 20 bytes or 40 hexadecimal digits", data.len()),
    })
}
