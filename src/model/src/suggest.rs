//! "Did you mean": the nearest of the names that exist.

/// The candidate nearest to `name`, if one is near enough to be a likely slip of the finger.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= limit
                || (name.len() > 3 && (candidate.starts_with(name) || candidate.ends_with(name)))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn a_slip_is_mended_and_a_stranger_is_not() {
        assert_eq!(did_you_mean("imgae", ["image", "genrule"]), Some("image"));
        assert_eq!(did_you_mean("web", ["base", "worker"]), None);
        assert_eq!(did_you_mean("ubuntu", ["ubuntu-base", "debian"]), Some("ubuntu-base"));
    }
}
