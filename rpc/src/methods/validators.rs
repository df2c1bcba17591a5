//! Methods that return validator sets and consensus parameters.

use serde_json::json;

use super::shared::{Answer, Outcome, Server};
use crate::{args::Args, error::Error, json};

/// Default number of entries per page.
pub const PER_PAGE: i64 = 30;

/// Maximum number of entries per page.
pub const PER_PAGE_MAX: i64 = 100;

/// Returns one page of the validators of a height, at most one above the tip.
///
/// Errors: a bad argument, a height that is unknown or pruned, an unreadable row.
pub fn validators(server: &Server, args: &Args) -> Outcome {
    let (height, given) = server.height_up_to(server.tip()?.height.next(), args)?;
    let set = server.context.store.validators(height)?;
    let (skip, take) = page(args, set.len())?;
    let members = set.iter().skip(skip).take(take).map(json::validator).collect::<Vec<_>>();
    let answer = json!({
        "block_height": height.to_string(),
        "count": members.len().to_string(),
        "total": set.len().to_string(),
        "validators": members,
    });
    Ok(Answer::new(answer, given))
}

/// Returns the number of entries to skip and the number to take.
///
/// Errors: the page is out of range, or an argument is not an integer.
pub fn page(args: &Args, total: usize) -> Result<(usize, usize), Error> {
    let per_page = match args.number("per_page")? {
        Some(given) if given > 0 => given.min(PER_PAGE_MAX) as usize,
        _ => PER_PAGE as usize,
    };
    let pages = total.div_ceil(per_page).max(1);
    let page = match args.number("page")? {
        None => 1,
        Some(given) => usize::try_from(given)
            .ok()
            .filter(|page| (1..=pages).contains(page))
            .ok_or_else(|| Error::refused(format_args!("page should be within [1, {pages}] range, given {given}")))?,
    };
    Ok(((page - 1) * per_page, per_page))
}

/// Returns the consensus parameters of a height, at most one above the tip.
///
/// Errors: a bad argument, a height that is unknown or pruned, an unreadable row.
pub fn consensus_params(server: &Server, args: &Args) -> Outcome {
    let (height, given) = server.height_up_to(server.tip()?.height.next(), args)?;
    let params = server.context.store.params(height)?;
    let answer = json!({ "block_height": height.to_string(), "consensus_params": genesis::params_json(&params) });
    Ok(Answer::new(answer, given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{Form, Param};

    const PARAMS: &[Param] =
        &[Param::required("page", Form::Number, "Page."), Param::required("per_page", Form::Number, "Entries.")];

    #[test]
    fn pages_cover_everything_once() {
        let page = |page: serde_json::Value, per_page: serde_json::Value, total| {
            super::page(&Args::of_json(&json!([page, per_page]).to_string(), PARAMS).unwrap(), total)
        };
        assert_eq!(page(json!(null), json!(null), 70), Ok((0, 30)));
        assert_eq!(page(json!("3"), json!(null), 70), Ok((60, 30)));
        assert_eq!(page(json!(2), json!("1000"), 150), Ok((100, 100)));
        assert_eq!(page(json!(1), json!(0), 5), Ok((0, 30)));
        for bad in [json!(0), json!(-1), json!("4"), json!(i64::MAX)] {
            let error = page(bad, json!(null), 70).unwrap_err();
            assert!(error.data.starts_with("page should be within [1, 3] range"), "{error:?}");
        }
        assert!(page(json!("x"), json!(null), 5).is_err());
    }
}
