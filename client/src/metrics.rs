//! Access to the series of a metrics page, which is text in the format of Prometheus.

/// Returns the sum of all series with this name; `None` if the page has none.
pub fn sum(page: &str, name: &str) -> Option<f64> {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = page.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_name_are_summed_and_no_other() {
        let page = "# TYPE a counter\na{step=\"x\"} 2\na{step=\"y\"} 3\na_total 7\nab 9\nb 1.5\n";
        assert_eq!((sum(page, "a"), sum(page, "a_total"), sum(page, "b")), (Some(5.0), Some(7.0), Some(1.5)));
        assert_eq!(sum(page, "c"), None);
    }
}
