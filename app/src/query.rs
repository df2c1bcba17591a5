//! Questions about the state. How answers look to people is the node's business.

use types::{Address, Params, Reader};

use crate::{error::Refusal, state::Account, view::View};

/// Every path, with what its data is.
pub const QUERY_PATHS: &[(&str, &str)] = &[
    ("/account", "address, 20 bytes or 40 hexadecimal digits: balance and next nonce"),
    ("/params", "no data: the parameters of the next height"),
    ("/supply", "no data: total supply and collected fees"),
    ("/store", "raw key: the value under it, for proofs"),
];

/// Longest raw key that can be asked for, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `/account`. An address that nobody used has nothing, and next nonce 0.
    Account {
        /// Which.
        address: Address,
        /// What it has.
        account: Account,
    },
    /// To `/params`.
    Params(Box<Params>),
    /// To `/supply`.
    Supply {
        /// All money that there is.
        total: u64,
        /// The fees collected, part of the total.
        fee_pool: u64,
    },
    /// To `/store`.
    Store {
        /// The raw key.
        key: Vec<u8>,
        /// Its value's bytes; `None` when there is no such key.
        value: Option<Vec<u8>>,
    },
}

/// Answers a question about the state of `reader`.
///
/// Errors: `E_UNKNOWN_PATH` with the paths there are, `E_BAD_QUERY` with what the data should be.
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
